using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>open(2)</c>: creating, flags and their errors.</summary>
public abstract class OpenChecks(ITestTarget target) : PosixChecks(target)
{
    private const int Create = Native.O_CREAT | Native.O_RDWR;

    [Theory]
    [InlineData(755, 0, 755)]
    [InlineData(777, 22, 755)]
    [InlineData(666, 77, 600)]
    [InlineData(0, 0, 0)]
    [InlineData(4755, 0, 4755)]
    [InlineData(1777, 0, 1777)]
    [InlineData(7777, 777, 7000)]
    public void ANewFileGetsItsModeLessTheUmask(int mode, int umask, int expected)
    {
        User.Root.Do(() => Ok(Native.Close(Ok(Native.Open(P("f"), Create, O(mode))))), O(umask));
        Statx stat = Stat(P("f"));
        Assert.Equal(Native.S_IFREG, stat.Type);
        Assert.Equal(O(expected), stat.Permissions);
        Assert.Equal((0ul, 1u), (stat.Size, stat.Links));
    }

    [Fact]
    public void ANewFileBelongsToItsMaker()
    {
        MakeDirectory("d", 777);
        User.Alice.Do(() => Ok(Native.Close(Ok(Native.Open(P("d/f"), Create, O(644))))));
        Statx stat = Stat(P("d/f"));
        Assert.Equal((User.Alice.Id, User.Alice.Group), (stat.User, stat.Group));
    }

    [Fact]
    public void TheModeOfANewFileDoesNotBindItsMakersDescriptor()
    {
        MakeDirectory("d", 777);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("d/f"), Create, 0));
            Assert.Equal(1, Ok(Native.Pwrite(fd, "x"u8, 0)));
            Assert.Equal(1, Ok(Native.Pread(fd, new byte[4], 0)));
            Ok(Native.Close(fd));
            Fails(Errno.EACCES, Native.Open(P("d/f"), Native.O_RDONLY));
        });
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void ExclusiveCreationFailsOnEverythingThatExists(Kind kind)
    {
        Make("f", kind);
        Fails(Errno.EEXIST, Native.Open(P("f"), Create | Native.O_EXCL, O(644)));
    }

    [Fact]
    public void CreationThroughADanglingLinkMakesItsTarget()
    {
        Ok(Native.Symlink("target", P("link")));
        Ok(Native.Close(Ok(Native.Open(P("link"), Create, O(644)))));
        Assert.Equal(Native.S_IFREG, Stat(P("target")).Type);
        Fails(Errno.EEXIST, Native.Open(P("link"), Create | Native.O_EXCL, O(644)));
    }

    [Fact]
    public void OnlyOneOfManyMakersWinsTheExclusiveCreation()
    {
        for (int round = 0; round < 20; round++)
        {
            string path = P($"race{round}");
            int winners = 0;
            Parallel.For(0, 8, _ =>
            {
                long fd = Native.Open(path, Create | Native.O_EXCL, Expect.Octal(644));
                if (fd >= 0)
                {
                    Interlocked.Increment(ref winners);
                    Ok(Native.Close(fd));
                }
                else
                {
                    Fails(Errno.EEXIST, fd);
                }
            });
            Assert.Equal(1, winners);
        }
    }

    [Fact]
    public void ODirectoryAcceptsDirectoriesOnly()
    {
        MakeDirectory("d");
        MakeFile("f", "x");
        Ok(Native.Symlink("d", P("link")));
        Ok(Native.Close(Ok(Native.Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY))));
        Ok(Native.Close(Ok(Native.Open(P("link"), Native.O_RDONLY | Native.O_DIRECTORY))));
        Fails(Errno.ENOTDIR, Native.Open(P("f"), Native.O_RDONLY | Native.O_DIRECTORY));
        Fails(Errno.ENOTDIR, Native.Open(P("link"), Native.O_RDONLY | Native.O_DIRECTORY | Native.O_NOFOLLOW));
    }

    [Fact]
    public void ONofollowRefusesALinkAtTheEndOnly()
    {
        MakeDirectory("d");
        MakeFile("d/f", "x");
        Ok(Native.Symlink("d/f", P("file")));
        Ok(Native.Symlink("d", P("dir")));
        Fails(Errno.ELOOP, Native.Open(P("file"), Native.O_RDONLY | Native.O_NOFOLLOW));
        Fails(Errno.ELOOP, Native.Open(P("file"), Create | Native.O_NOFOLLOW, O(644)));
        Ok(Native.Close(Ok(Native.Open(P("dir/f"), Native.O_RDONLY | Native.O_NOFOLLOW))));
    }

    [Fact]
    public void ADirectoryCannotBeOpenedForWritingOrCreation()
    {
        MakeDirectory("d");
        Fails(Errno.EISDIR, Native.Open(P("d"), Native.O_WRONLY));
        Fails(Errno.EISDIR, Native.Open(P("d"), Native.O_RDWR));
        Fails(Errno.EISDIR, Native.Open(P("d"), Native.O_RDONLY | Native.O_TRUNC));
        Fails(Errno.EISDIR, Native.Open(P("d"), Native.O_CREAT, O(644)));
        int fd = Open(P("d"), Native.O_RDONLY);
        Fails(Errno.EISDIR, Native.Read(fd, new byte[8]));
        Fails(Errno.EBADF, Native.Write(fd, [1]));
    }

    [Fact]
    public void TruncationOnOpeningEmptiesTheFileAndStampsIt()
    {
        MakeFile("f", "content");
        Touches(Touch.Modify | Touch.Change, P("f"), () => Close(Open(P("f"), Native.O_WRONLY | Native.O_TRUNC)));
        Assert.Equal(0u, Stat(P("f")).Size);
        MakeFile("g", "content");
        Close(Open(P("g"), Create | Native.O_TRUNC));
        Assert.Equal(0u, Stat(P("g")).Size);
    }

    [Fact]
    public void TruncationOnOpeningIsSeenByOtherDescriptors()
    {
        MakeFile("f", "content");
        int reader = Open(P("f"), Native.O_RDONLY);
        Assert.Equal(7, Ok(Native.Pread(reader, new byte[16], 0)));
        Close(Open(P("f"), Native.O_WRONLY | Native.O_TRUNC));
        Assert.Equal(0, Ok(Native.Pread(reader, new byte[16], 0)));
        Assert.Equal(0u, Fstat(reader).Size);
    }

    [Fact]
    public void OpeningAnExistingFileWithOCreatChangesNothing()
    {
        MakeFile("f", "content", 640, User.Alice);
        Touches(Touch.Nothing, P("f"), () => Close(Open(P("f"), Create, 777)));
        Touches(Touch.Nothing, Scratch, () => Close(Open(P("f"), Create, 777)));
        Statx stat = Stat(P("f"));
        Assert.Equal((O(640), User.Alice.Id, 7ul), (stat.Permissions, stat.User, stat.Size));
    }

    [Fact]
    public void CreatingStampsTheFileAndItsDirectory()
    {
        Touches(Touch.Modify | Touch.Change, Scratch, () => Close(Open(P("f"), Create)));
        Statx stat = Stat(P("f"));
        Assert.Equal(stat.Modify.Nanoseconds, stat.Change.Nanoseconds);
        Assert.Equal(stat.Modify.Nanoseconds, stat.Access.Nanoseconds);
    }

    [Theory]
    [InlineData(400, true, false)]
    [InlineData(200, false, true)]
    [InlineData(600, true, true)]
    [InlineData(100, false, false)]
    [InlineData(77, false, false)]
    public void ThePermissionsOfTheOwnerCount(int mode, bool read, bool write)
    {
        MakeFile("f", "x", mode, User.Alice);
        CheckAccess(User.Alice, read, write);
    }

    [Theory]
    [InlineData(40, true, false)]
    [InlineData(20, false, true)]
    [InlineData(707, false, false)]
    public void ThePermissionsOfTheGroupCount(int mode, bool read, bool write)
    {
        MakeFile("f", "x", mode, new User(User.Alice.Id, 61009));
        CheckAccess(new User(User.Bob.Id, 61009), read, write);
        CheckAccess(User.Bob with { Supplementary = [61009] }, read, write);
    }

    [Theory]
    [InlineData(4, true, false)]
    [InlineData(2, false, true)]
    [InlineData(770, false, false)]
    public void ThePermissionsOfTheOthersCount(int mode, bool read, bool write)
    {
        MakeFile("f", "x", mode, User.Alice);
        CheckAccess(User.Bob, read, write);
    }

    private void CheckAccess(User user, bool read, bool write) => user.Do(() =>
    {
        CheckOpen(Native.O_RDONLY, read);
        CheckOpen(Native.O_WRONLY, write);
        CheckOpen(Native.O_RDWR, read && write);
        CheckOpen(Native.O_RDONLY | Native.O_TRUNC, read && write);
        Assert.Equal(read ? Errno.OK : Errno.EACCES, Native.ErrnoOf(Native.Access(P("f"), Native.R_OK)));
        Assert.Equal(write ? Errno.OK : Errno.EACCES, Native.ErrnoOf(Native.Access(P("f"), Native.W_OK)));
    });

    private void CheckOpen(int flags, bool allowed)
    {
        long fd = Native.Open(P("f"), flags);
        if (allowed)
        {
            Ok(Native.Close(Ok(fd)));
        }
        else
        {
            Fails(Errno.EACCES, fd);
        }
    }

    [Fact]
    public void RootReadsAndWritesWhateverTheMode()
    {
        MakeFile("f", "x", 0, User.Alice);
        CheckOpen(Native.O_RDWR, true);
        Ok(Native.Access(P("f"), Native.R_OK | Native.W_OK));
        Fails(Errno.EACCES, Native.Access(P("f"), Native.X_OK)); // no execute bit at all
    }

    [Fact]
    public void PermissionIsCheckedAtOpeningAndNotLater()
    {
        MakeFile("f", "content", 644, User.Alice);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_RDWR));
            Ok(Native.Chmod(P("f"), 0));
            Assert.Equal(7, Ok(Native.Pread(fd, new byte[16], 0)));
            Assert.Equal(1, Ok(Native.Pwrite(fd, "x"u8, 0)));
            Ok(Native.Close(fd));
        });
    }

    [Fact]
    public void NoatimeIsForTheOwner()
    {
        MakeFile("f", "x", 666, User.Alice);
        User.Bob.Do(() => Fails(Errno.EPERM, Native.Open(P("f"), Native.O_RDONLY | Native.O_NOATIME)));
        User.Alice.Do(() => Ok(Native.Close(Ok(Native.Open(P("f"), Native.O_RDONLY | Native.O_NOATIME)))));
    }

    [Fact]
    public void ReadingNeedsAReadableDescriptorAndWritingAWritableOne()
    {
        MakeFile("f", "x");
        Fails(Errno.EBADF, Native.Read(Open(P("f"), Native.O_WRONLY), new byte[1]));
        Fails(Errno.EBADF, Native.Write(Open(P("f"), Native.O_RDONLY), [1]));
        Fails(Errno.EINVAL, Native.Ftruncate(Open(P("f"), Native.O_RDONLY), 0));
    }

    [Fact]
    public void OPathOpensWithoutAnyPermissionOnTheFile()
    {
        MakeFile("f", "x", 0);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_PATH));
            Ok(Native.Fstat(fd, out Statx stat));
            Assert.Equal(1u, stat.Size);
            Fails(Errno.EBADF, Native.Read(fd, new byte[1]));
            Ok(Native.Close(fd));
        });
    }

    [Fact]
    public void AFifoWithoutAReaderIsENXIOForANonblockingWriter()
    {
        Make("fifo", Kind.Fifo);
        Fails(Errno.ENXIO, Native.Open(P("fifo"), Native.O_WRONLY | Native.O_NONBLOCK));
        int reader = Open(P("fifo"), Native.O_RDONLY | Native.O_NONBLOCK);
        int writer = Open(P("fifo"), Native.O_WRONLY | Native.O_NONBLOCK);
        Assert.Equal(5, Ok(Native.Write(writer, "hello"u8)));
        Assert.Equal(5, Ok(Native.Read(reader, new byte[16])));
    }

    [Fact]
    public void ASocketInTheFileSystemIsENXIOAndADeviceIsTheDevice()
    {
        Make("socket", Kind.Socket);
        Fails(Errno.ENXIO, Native.Open(P("socket"), Native.O_RDONLY));
        Make("null", Kind.CharDevice, 666);
        int fd = Open(P("null"), Native.O_RDWR);
        Assert.Equal(3, Ok(Native.Write(fd, "abc"u8)));
        Assert.Equal(0, Ok(Native.Read(fd, new byte[8])));
    }
}
