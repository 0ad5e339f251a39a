using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Which operation moves which time, <c>utimensat(2)</c>, and nanoseconds.</summary>
public abstract class TimeChecks(ITestTarget target) : PosixChecks(target)
{
    private const long Second = 1_000_000_000;

    [Theory, MemberData(nameof(EveryKind))]
    public void BothTimesCanBeSetToTheNanosecond(Kind kind)
    {
        Make("f", kind);
        Statx before = Stat(P("f"));
        WaitForTick(before);
        Ok(Native.Utimens(P("f"), new Timespec(1_234_567_890, 123_456_789), new Timespec(987_654_321, 999_999_999), Native.AT_SYMLINK_NOFOLLOW));
        Statx after = Stat(P("f"));
        Assert.Equal((1_234_567_890L, 123_456_789u), (after.Access.Seconds, after.Access.Fraction));
        Assert.Equal((987_654_321L, 999_999_999u), (after.Modify.Seconds, after.Modify.Fraction));
        Assert.True(after.Change.Nanoseconds > before.Change.Nanoseconds, "ctime did not move");
        Assert.Equal(before.Birth.Nanoseconds, after.Birth.Nanoseconds);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(-2_000_000_000)]
    [InlineData(4_102_444_800)] // 2100
    [InlineData(9_000_000_000)] // 2255
    public void TimesBefore1970AndAfter2038Survive(long seconds)
    {
        MakeFile("f", "x");
        Ok(Native.Utimens(P("f"), new Timespec(seconds, 1), new Timespec(seconds, 2)));
        Statx stat = Stat(P("f"));
        Assert.Equal((seconds, 1u, seconds, 2u), (stat.Access.Seconds, stat.Access.Fraction, stat.Modify.Seconds, stat.Modify.Fraction));
    }

    [Fact]
    public void ATimeTooFarAwayIsKeptOrHeldAtTheLastOneButDoesNotWrapAround()
    {
        // tmpfs keeps it; file systems with a smaller range hold it at the end of that, as ext4 does in 2446.
        MakeFile("f", "x");
        Ok(Native.Utimens(P("f"), new Timespec(100_000_000_000, 1), new Timespec(100_000_000_000, 2)));
        Assert.InRange(Stat(P("f")).Modify.Seconds, 9_000_000_000, 100_000_000_000);
        Assert.InRange(Stat(P("f")).Access.Seconds, 9_000_000_000, 100_000_000_000);
    }

    [Fact]
    public void OmittedTimesStay()
    {
        MakeFile("f", "x");
        Ok(Native.Utimens(P("f"), new Timespec(100, 1), new Timespec(200, 2)));
        Ok(Native.Utimens(P("f"), Timespec.Omit, new Timespec(300, 3)));
        Assert.Equal(((100 * Second) + 1, (300 * Second) + 3), (Stat(P("f")).Access.Nanoseconds, Stat(P("f")).Modify.Nanoseconds));
        Ok(Native.Utimens(P("f"), new Timespec(400, 4), Timespec.Omit));
        Assert.Equal(((400 * Second) + 4, (300 * Second) + 3), (Stat(P("f")).Access.Nanoseconds, Stat(P("f")).Modify.Nanoseconds));
        Touches(Touch.Nothing, P("f"), () => Ok(Native.Utimens(P("f"), Timespec.Omit, Timespec.Omit)));
    }

    [Fact]
    public void NowIsNow()
    {
        MakeFile("f", "x");
        foreach (Func<long> touch in new Func<long>[] { () => Native.Utimens(P("f"), Timespec.Now, Timespec.Now), () => Native.UtimensNow(P("f")) })
        {
            Ok(Native.Utimens(P("f"), new Timespec(100, 1), new Timespec(200, 2)));
            long before = Native.CoarseNow();
            Ok(touch());
            Statx stat = Stat(P("f"));
            Assert.InRange(stat.Access.Nanoseconds, before, before + (60 * Second));
            Assert.InRange(stat.Modify.Nanoseconds, before, before + (60 * Second));
        }
        Ok(Native.Utimens(P("f"), new Timespec(100, 1), Timespec.Now));
        Assert.Equal((100 * Second) + 1, Stat(P("f")).Access.Nanoseconds);
        Assert.True(Stat(P("f")).Modify.Nanoseconds > 1000 * Second);
    }

    [Fact]
    public void WhoMaySetTimes()
    {
        MakeFile("f", "x", 644, User.Alice);
        User.Alice.Do(() =>
        {
            Ok(Native.Utimens(P("f"), new Timespec(1, 0), new Timespec(2, 0)));
            Ok(Native.UtimensNow(P("f")));
        });
        User.Bob.Do(() =>
        {
            Fails(Errno.EPERM, Native.Utimens(P("f"), new Timespec(1, 0), new Timespec(2, 0)));
            Fails(Errno.EPERM, Native.Utimens(P("f"), Timespec.Now, Timespec.Omit));
            Fails(Errno.EACCES, Native.UtimensNow(P("f")));
        });
        Ok(Native.Chmod(P("f"), O(646)));
        User.Bob.Do(() =>
        {
            Ok(Native.UtimensNow(P("f"))); // whoever may write may set both to now
            Fails(Errno.EPERM, Native.Utimens(P("f"), new Timespec(1, 0), new Timespec(2, 0)));
        });
        Ok(Native.Chmod(P("f"), O(0)));
        User.Alice.Do(() => Ok(Native.UtimensNow(P("f"))));
    }

    [Fact]
    public void ImpossibleNanosecondsAreEINVAL()
    {
        MakeFile("f", "x");
        Fails(Errno.EINVAL, Native.Utimens(P("f"), new Timespec(1, Second), new Timespec(1, 0)));
        Fails(Errno.EINVAL, Native.Utimens(P("f"), new Timespec(1, 0), new Timespec(1, -5)));
    }

    [Fact]
    public void TimesAreSetThroughDescriptorsAndLinks()
    {
        MakeFile("f", "x");
        int fd = Open(P("f"), Native.O_RDONLY);
        Ok(Native.Futimens(fd, new Timespec(5, 6), new Timespec(7, 8)));
        Assert.Equal((7 * Second) + 8, Stat(P("f")).Modify.Nanoseconds);
        Ok(Native.Symlink("f", P("s")));
        Ok(Native.Utimens(P("s"), new Timespec(9, 0), new Timespec(9, 0)));
        Assert.Equal(9 * Second, Stat(P("f")).Modify.Nanoseconds);
        Assert.NotEqual(9 * Second, Stat(P("s")).Modify.Nanoseconds);
    }

    [Fact]
    public void WritingMovesMtimeAndCtime()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDWR);
        Touches(Touch.Modify | Touch.Change, P("f"), () => WriteAll(fd, "X"u8, 0));
        Touches(Touch.Modify | Touch.Change, P("f"), () => WriteAll(fd, "longer"u8, 100));
        Touches(Touch.Nothing, P("f"), () => Assert.Equal(0, Ok(Native.Pwrite(fd, [], 0))));
    }

    [Fact]
    public void FstatOfAnOpenFileSeesTheTimesOfItsWrites()
    {
        MakeFile("f", "content");
        int writer = Open(P("f"), Native.O_RDWR);
        int watcher = Open(P("f"), Native.O_RDONLY);
        Statx before = Fstat(watcher);
        WaitForTick(before);
        WriteAll(writer, "X"u8, 0);
        Assert.Equal(Touch.Modify | Touch.Change, Difference(before, Fstat(watcher)));
        Statx open = Fstat(watcher);
        Close(writer);
        Assert.Equal(open.Modify.Nanoseconds, Stat(P("f")).Modify.Nanoseconds); // closing moves nothing
    }

    [Fact]
    public void TruncatingMovesMtimeAndCtimeAlsoToTheSameSize()
    {
        MakeFile("f", "content");
        Touches(Touch.Modify | Touch.Change, P("f"), () => Ok(Native.Truncate(P("f"), 3)));
        Touches(Touch.Modify | Touch.Change, P("f"), () => Ok(Native.Truncate(P("f"), 3)));
        int fd = Open(P("f"), Native.O_RDWR);
        Touches(Touch.Modify | Touch.Change, P("f"), () => Ok(Native.Ftruncate(fd, 8192)));
        Touches(Touch.Modify | Touch.Change, P("f"), () => Ok(Native.Ftruncate(fd, 8192)));
        MakeFile("empty", "");
        Touches(Touch.Nothing, P("empty"), () => Ok(Native.Truncate(P("empty"), 0)));
        // The same through a descriptor does move them.
        int empty = Open(P("empty"), Native.O_RDWR);
        Touches(Touch.Modify | Touch.Change, P("empty"), () => Ok(Native.Ftruncate(empty, 0)));
        Touches(Touch.Modify | Touch.Change, P("empty"), () => Ok(Native.Truncate(P("empty"), 1)));
    }

    [Fact]
    public void ATimeSetByHandSurvivesTheCloseOfAWriter()
    {
        // What tar, cp -p and rsync do: write, set the time, close.
        MakeFile("f", "");
        int fd = Open(P("f"), Native.O_WRONLY);
        WriteAll(fd, Pattern(300_000), 0);
        Ok(Native.Futimens(fd, new Timespec(1_000_000_000, 5), new Timespec(1_000_000_001, 7)));
        Close(fd);
        Assert.Equal((1_000_000_001 * Second) + 7, Stat(P("f")).Modify.Nanoseconds);
        int again = Open(P("f"), Native.O_RDWR);
        Ok(Native.Fsync(again));
        Close(again);
        Assert.Equal((1_000_000_001 * Second) + 7, Stat(P("f")).Modify.Nanoseconds);
    }

    [Fact]
    public void AWriteTakesATimeInTheFutureBack()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Futimens(fd, new Timespec(4_500_000_000, 1), new Timespec(4_500_000_000, 2)));
        WriteAll(fd, "X"u8, 0);
        // A little later than the coarse clock is possible: file systems with multigrain times read the fine one.
        Assert.InRange(Fstat(fd).Modify.Nanoseconds, 1, Native.CoarseNow() + Second);
        Close(fd);
        Assert.InRange(Stat(P("f")).Modify.Nanoseconds, 1, Native.CoarseNow() + Second);
    }

    [Fact]
    public void LookingMovesNothing()
    {
        MakeDirectory("d");
        MakeFile("d/f", "x");
        Touches(Touch.Nothing, P("d/f"), () =>
        {
            Stat(P("d/f"));
            Ok(Native.Access(P("d/f"), Native.R_OK));
            Close(Open(P("d/f"), Native.O_RDWR));
            int fd = Open(P("d/f"), Native.O_RDWR);
            Ok(Native.Fsync(fd));
            Ok(Native.Lseek(fd, 0, Native.SEEK_END));
            Ok(Native.Flock(fd, Native.LOCK_EX));
            Close(fd);
        });
        Touches(Touch.Nothing, P("d"), () => Stat(P("d/f")));
    }

    [Fact]
    public void ReadingMovesAtimeWhenItIsOlderThanMtime()
    {
        // What every mount does by default ("relatime"): the first read after a change is recorded. One that says noatime records none.
        Ok(Native.StatFileSystem(Scratch, out Statvfs space));
        Touch read = (space.Flags & Native.ST_NOATIME) != 0 ? Touch.Nothing : Touch.Access;
        MakeFile("f", "content");
        Ok(Native.Utimens(P("f"), new Timespec(1000, 0), new Timespec(2000, 0)));
        Touches(read, P("f"), () => ReadAll(P("f")));
        MakeDirectory("d");
        MakeFile("d/entry", "x");
        Ok(Native.Utimens(P("d"), new Timespec(1000, 0), new Timespec(2000, 0)));
        Touches(read, P("d"), () => Entries(P("d")));
        Ok(Native.Symlink("content", P("s")));
        Ok(Native.Utimens(P("s"), new Timespec(1000, 0), new Timespec(2000, 0), Native.AT_SYMLINK_NOFOLLOW));
        Touches(read, P("s"), () => Readlink(P("s")));
    }

    [Fact]
    public void ReadingWithNoatimeMovesNothing()
    {
        MakeFile("f", "content");
        Ok(Native.Utimens(P("f"), new Timespec(1000, 0), new Timespec(2000, 0)));
        int fd = Open(P("f"), Native.O_RDONLY | Native.O_NOATIME);
        Touches(Touch.Nothing, P("f"), () => ReadAll(fd));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void TheBirthTimeIsTheTimeOfMakingAndNeverMoves(Kind kind)
    {
        long before = Native.CoarseNow();
        Make("f", kind);
        Statx made = Stat(P("f"));
        Assert.True((made.Mask & Native.STATX_BTIME) != 0, "statx gives no birth time");
        Assert.InRange(made.Birth.Nanoseconds, before, before + (60 * Second));
        WaitForTick(made);
        Ok(Native.Utimens(P("f"), new Timespec(1, 0), new Timespec(1, 0), Native.AT_SYMLINK_NOFOLLOW));
        Ok(Native.Rename(P("f"), P("g")));
        Assert.Equal(made.Birth.Nanoseconds, Stat(P("g")).Birth.Nanoseconds);
    }
}
