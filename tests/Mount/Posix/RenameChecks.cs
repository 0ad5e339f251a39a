using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>rename(2)</c> and <c>renameat2(2)</c>.</summary>
public abstract class RenameChecks(ITestTarget target) : PosixChecks(target)
{
    public static TheoryData<Kind, Kind> EveryPair
    {
        get
        {
            var pairs = new TheoryData<Kind, Kind>();
            foreach (Kind from in Enum.GetValues<Kind>())
            {
                foreach (Kind to in Enum.GetValues<Kind>())
                {
                    pairs.Add(from, to);
                }
            }
            return pairs;
        }
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void AMovedFileIsTheSameFile(Kind kind)
    {
        MakeDirectory("d");
        Make("f", kind, 640, User.Alice);
        Statx before = Stat(P("f"));
        Ok(Native.Rename(P("f"), P("g")));
        Ok(Native.Rename(P("g"), P("d/h")));
        Statx after = Stat(P("d/h"));
        Assert.Equal((before.Ino, before.Mode, before.User, before.Links), (after.Ino, after.Mode, after.User, after.Links));
        Assert.False(Exists(P("f")) || Exists(P("g")));
    }

    [Theory, MemberData(nameof(EveryPair))]
    public void ReplacingFollowsTheRulesOfKinds(Kind from, Kind to)
    {
        Make("from", from);
        Make("to", to);
        ulong ino = Stat(P("from")).Ino;
        long result = Native.Rename(P("from"), P("to"));
        if (from == Kind.Directory && to != Kind.Directory)
        {
            Fails(Errno.ENOTDIR, result);
            Assert.True(Exists(P("from")) && Exists(P("to")));
        }
        else if (from != Kind.Directory && to == Kind.Directory)
        {
            Fails(Errno.EISDIR, result);
            Assert.True(Exists(P("from")) && Exists(P("to")));
        }
        else
        {
            Ok(result);
            Assert.Equal(ino, Stat(P("to")).Ino);
            Assert.Equal(["to"], Names(Scratch));
        }
    }

    [Theory, MemberData(nameof(EveryPair))]
    public void ExchangingWorksForEveryPair(Kind from, Kind to)
    {
        MakeDirectory("d");
        Make("from", from);
        Make("d/to", to);
        (ulong first, ulong second) = (Stat(P("from")).Ino, Stat(P("d/to")).Ino);
        Ok(Native.Rename(P("from"), P("d/to"), Native.RENAME_EXCHANGE));
        Assert.Equal((second, first), (Stat(P("from")).Ino, Stat(P("d/to")).Ino));
        Assert.Equal(from == Kind.Directory ? 3u : 2u, Stat(P("d")).Links);
    }

    [Theory, MemberData(nameof(EveryPair))]
    public void NoReplaceReplacesNothing(Kind from, Kind to)
    {
        Make("from", from);
        Make("to", to);
        ulong ino = Stat(P("to")).Ino;
        Fails(Errno.EEXIST, Native.Rename(P("from"), P("to"), Native.RENAME_NOREPLACE));
        Assert.Equal(ino, Stat(P("to")).Ino);
        Ok(Native.Rename(P("from"), P("free"), Native.RENAME_NOREPLACE));
        Assert.Equal(["free", "to"], Names(Scratch));
    }

    [Fact]
    public void ImpossibleFlagsAreEINVAL()
    {
        MakeFile("f", "x");
        MakeFile("g", "y");
        Fails(Errno.EINVAL, Native.Rename(P("f"), P("g"), Native.RENAME_EXCHANGE | Native.RENAME_NOREPLACE));
        Fails(Errno.EINVAL, Native.Rename(P("f"), P("g"), Native.RENAME_EXCHANGE | Native.RENAME_WHITEOUT));
        Fails(Errno.EINVAL, Native.Rename(P("f"), P("g"), 1u << 20));
    }

    [Fact]
    public void AnExchangeNeedsBothNamesToExist()
    {
        MakeFile("f", "x");
        Fails(Errno.ENOENT, Native.Rename(P("f"), P("missing"), Native.RENAME_EXCHANGE));
        Fails(Errno.ENOENT, Native.Rename(P("missing"), P("f"), Native.RENAME_EXCHANGE));
    }

    [Fact]
    public void AnEmptyDirectoryCanBeReplacedAndAFullOneNot()
    {
        MakeDirectory("from");
        MakeFile("from/keep", "x");
        MakeDirectory("empty");
        MakeDirectory("full");
        MakeFile("full/file", "x");
        Fails(Errno.ENOTEMPTY, Native.Rename(P("from"), P("full")));
        uint links = Stat(Scratch).Links;
        Ok(Native.Rename(P("from"), P("empty")));
        Assert.Equal(["keep"], Names(P("empty")));
        Assert.Equal(links - 1, Stat(Scratch).Links);
    }

    [Fact]
    public void AReplacedDirectoryThatIsOpenHasNoLinksLeft()
    {
        MakeDirectory("from");
        MakeDirectory("to");
        int fd = Open(P("to"), Native.O_RDONLY | Native.O_DIRECTORY);
        Ok(Native.Rename(P("from"), P("to")));
        Assert.Equal(0u, Fstat(fd).Links);
        Fails(Errno.ENOENT, Native.OpenAt(fd, "new", Native.O_CREAT | Native.O_WRONLY, O(644)));
    }

    [Fact]
    public void ADirectoryCannotMoveBelowItself()
    {
        MakeDirectory("d");
        MakeDirectory("d/e");
        MakeDirectory("d/e/f");
        Fails(Errno.EINVAL, Native.Rename(P("d"), P("d/new")));
        Fails(Errno.EINVAL, Native.Rename(P("d"), P("d/e/f/new")));
        Fails(Errno.EINVAL, Native.Rename(P("d"), P("d/e/f")));
        Fails(Errno.ENOTEMPTY, Native.Rename(P("d/e/f"), P("d")));
        Fails(Errno.EINVAL, Native.Rename(P("d"), P("d/e"), Native.RENAME_EXCHANGE));
        Fails(Errno.EINVAL, Native.Rename(P("d/e"), P("d"), Native.RENAME_EXCHANGE));
        Assert.Equal(["e"], Names(P("d")));
    }

    [Fact]
    public void RenamingOntoItselfOrAnotherLinkDoesNothing()
    {
        MakeFile("f", "x");
        Ok(Native.Link(P("f"), P("g")));
        MakeDirectory("d");
        Ok(Native.Link(P("f"), P("d/h")));
        Touches(Touch.Nothing, P("f"), () =>
        {
            Ok(Native.Rename(P("f"), P("f")));
            Ok(Native.Rename(P("f"), P("g")));
            Ok(Native.Rename(P("f"), P("d/h")));
        });
        Assert.Equal(["d", "f", "g"], Names(Scratch));
        Assert.Equal(3u, Stat(P("f")).Links);
        Ok(Native.Rename(P("d"), P("d")));
    }

    [Fact]
    public void AReplacedFileLosesOneLink()
    {
        MakeFile("f", "new");
        MakeFile("g", "old");
        Ok(Native.Link(P("g"), P("other")));
        Touches(Touch.Change, P("other"), () => Ok(Native.Rename(P("f"), P("g"))));
        Assert.Equal(1u, Stat(P("other")).Links);
        Assert.Equal("old", ReadText(P("other")));
        Assert.Equal("new", ReadText(P("g")));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void RenamingStampsTheFileAndBothDirectories(Kind kind)
    {
        MakeDirectory("a");
        MakeDirectory("b");
        Make("a/f", kind);
        Statx file = Stat(P("a/f"));
        WaitForTick(file);
        Touches(Touch.Modify | Touch.Change, P("a"), () => Touches(Touch.Modify | Touch.Change, P("b"), () => Ok(Native.Rename(P("a/f"), P("b/f")))));
        Assert.Equal(Touch.Change, Difference(file, Stat(P("b/f"))));
        Touches(Touch.Nothing, P("b"), () => Fails(Errno.ENOENT, Native.Rename(P("b/missing"), P("b/x"))));
    }

    [Fact]
    public void LinkCountsFollowAMovedDirectory()
    {
        MakeDirectory("a");
        MakeDirectory("b");
        MakeDirectory("a/d");
        MakeDirectory("b/e");
        Assert.Equal((3u, 3u), (Stat(P("a")).Links, Stat(P("b")).Links));
        Ok(Native.Rename(P("a/d"), P("b/d")));
        Assert.Equal((2u, 4u), (Stat(P("a")).Links, Stat(P("b")).Links));
        Ok(Native.Rename(P("b/d"), P("b/e")));
        Assert.Equal((2u, 3u), (Stat(P("a")).Links, Stat(P("b")).Links));
        Assert.Equal(Stat(P("b")).Ino, Stat(P("b/e/..")).Ino);
    }

    [Fact]
    public void BothDirectoriesNeedWritePermission()
    {
        MakeDirectory("mine", 755, User.Alice);
        MakeDirectory("theirs", 755, User.Bob);
        MakeFile("mine/f", "x", 644, User.Alice);
        MakeFile("theirs/g", "x", 644, User.Alice);
        User.Alice.Do(() =>
        {
            Fails(Errno.EACCES, Native.Rename(P("mine/f"), P("theirs/f")));
            Fails(Errno.EACCES, Native.Rename(P("theirs/g"), P("mine/g")));
            Ok(Native.Rename(P("mine/f"), P("mine/renamed")));
        });
    }

    [Fact]
    public void MovingADirectoryOfSomebodyElseNeedsWriteOnItselfToo()
    {
        // Its ".." changes: without write permission on the directory that is refused when the parent changes.
        MakeDirectory("a", 777);
        MakeDirectory("b", 777);
        MakeDirectory("a/d", 755, User.Bob);
        User.Alice.Do(() => Fails(Errno.EACCES, Native.Rename(P("a/d"), P("b/d"))));
        User.Alice.Do(() => Ok(Native.Rename(P("a/d"), P("a/e"))));
        User.Bob.Do(() => Ok(Native.Rename(P("a/e"), P("b/d"))));
    }

    [Fact]
    public void BetweenFileSystemsItIsEXDEV()
    {
        string place = MakeDirectory("place");
        Ok(Native.Mount("tmpfs", place, "tmpfs", 0, null));
        try
        {
            MakeFile("f", "x");
            Fails(Errno.EXDEV, Native.Rename(P("f"), place + "/f"));
            Fails(Errno.EXDEV, Native.Link(P("f"), place + "/f"));
        }
        finally
        {
            Ok(Native.Unmount(place, 0));
        }
    }

    [Fact]
    public void AnOpenFileFollowsItsName()
    {
        MakeFile("f", "one");
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Rename(P("f"), P("g")));
        WriteAll(fd, "two"u8, 0);
        Assert.Equal("two", ReadText(P("g")));
        Assert.Equal(1u, Fstat(fd).Links);
    }

    [Fact]
    public void WhileNamesAreReplacedOneOfThemIsAlwaysThere()
    {
        MakeFile("name", "a");
        bool stop = false;
        int misses = 0;
        var reader = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                if (Native.ErrnoOf(Native.Stat(P("name"), out _)) != Errno.OK)
                {
                    misses++;
                }
            }
        });
        reader.Start();
        for (int i = 0; i < 500; i++)
        {
            MakeFile("next", "b");
            Ok(Native.Rename(P("next"), P("name")));
        }
        Volatile.Write(ref stop, true);
        reader.Join();
        Assert.Equal(0, misses);
    }

    [Fact]
    public void CrosswiseMovesOfDirectoriesNeverMakeALoop()
    {
        MakeDirectory("a");
        MakeDirectory("b");
        for (int i = 0; i < 200; i++)
        {
            Parallel.Invoke(
                () => CheckCrosswise(Native.Rename(P("a"), P("b/a"))),
                () => CheckCrosswise(Native.Rename(P("b"), P("a/b"))));
            Assert.True(Exists(P("a")) != Exists(P("b")), "exactly one of the two stayed at the top");
            Ok(Exists(P("a")) ? Native.Rename(P("a/b"), P("b")) : Native.Rename(P("b/a"), P("a")));
        }
    }

    private static void CheckCrosswise(long result) =>
        Assert.True(Native.ErrnoOf(result) is Errno.OK or Errno.EINVAL or Errno.ENOENT, $"{Native.ErrnoOf(result)}");
}
