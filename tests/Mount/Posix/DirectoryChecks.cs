using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>mkdir(2)</c> and <c>rmdir(2)</c>, link counts of directories, setgid and sticky directories.</summary>
public abstract class DirectoryChecks(ITestTarget target) : PosixChecks(target)
{
    [Theory]
    [InlineData(755, 0, 755)]
    [InlineData(777, 22, 755)]
    [InlineData(151, 77, 100)]
    [InlineData(1777, 0, 1777)]
    [InlineData(0, 0, 0)]
    public void ANewDirectoryGetsItsModeLessTheUmask(int mode, int umask, int expected)
    {
        User.Root.Do(() => Ok(Native.Mkdir(P("d"), O(mode))), O(umask));
        Assert.Equal(Native.S_IFDIR | O(expected), Stat(P("d")).Mode);
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void MkdirFailsOnEverythingThatExists(Kind kind)
    {
        Make("d", kind);
        Fails(Errno.EEXIST, Native.Mkdir(P("d"), O(755)));
    }

    [Fact]
    public void ANewDirectoryBelongsToItsMaker()
    {
        MakeDirectory("parent", 777);
        User.Alice.Do(() => Ok(Native.Mkdir(P("parent/d"), O(755))));
        Statx stat = Stat(P("parent/d"));
        Assert.Equal((User.Alice.Id, User.Alice.Group, 2u), (stat.User, stat.Group, stat.Links));
    }

    [Fact]
    public void SubdirectoriesCountAsLinksOfTheirParent()
    {
        MakeDirectory("d");
        Assert.Equal(2u, Stat(P("d")).Links);
        MakeDirectory("d/one");
        MakeDirectory("d/two");
        MakeFile("d/file", "x");
        Assert.Equal(4u, Stat(P("d")).Links);
        Ok(Native.Rmdir(P("d/one")));
        Assert.Equal(3u, Stat(P("d")).Links);
        Ok(Native.Rename(P("d/two"), P("two")));
        Assert.Equal(2u, Stat(P("d")).Links);
    }

    [Fact]
    public void MkdirAndRmdirStampTheParent()
    {
        MakeDirectory("d");
        Touches(Touch.Modify | Touch.Change, P("d"), () => Ok(Native.Mkdir(P("d/new"), O(755))));
        Touches(Touch.Modify | Touch.Change, P("d"), () => Ok(Native.Rmdir(P("d/new"))));
        Touches(Touch.Nothing, P("d"), () => Fails(Errno.ENOENT, Native.Rmdir(P("d/new"))));
    }

    [Fact]
    public void ANewDirectoryHasEqualTimesThatAreNow()
    {
        long before = Native.CoarseNow();
        MakeDirectory("d");
        Statx stat = Stat(P("d"));
        Assert.Equal(stat.Modify.Nanoseconds, stat.Access.Nanoseconds);
        Assert.True(stat.Modify.Nanoseconds >= before, "mtime lies before the call");
        Assert.True(stat.Modify.Nanoseconds <= Native.CoarseNow() + 1_000_000_000, "mtime lies in the future");
    }

    [Theory, MemberData(nameof(EveryKindButDirectory))]
    public void RmdirOfAnythingElseIsENOTDIR(Kind kind)
    {
        Make("f", kind);
        Fails(Errno.ENOTDIR, Native.Rmdir(P("f")));
        Assert.True(Exists(P("f")));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void RmdirOfADirectoryWithSomethingInItIsENOTEMPTY(Kind kind)
    {
        MakeDirectory("d");
        Make("d/inside", kind);
        Fails(Errno.ENOTEMPTY, Native.Rmdir(P("d")));
        Ok(kind == Kind.Directory ? Native.Rmdir(P("d/inside")) : Native.Unlink(P("d/inside")));
        Ok(Native.Rmdir(P("d")));
        Fails(Errno.ENOENT, Native.Stat(P("d"), out _));
    }

    [Fact]
    public void RmdirThroughALinkIsENOTDIR()
    {
        MakeDirectory("d");
        Ok(Native.Symlink("d", P("link")));
        Fails(Errno.ENOTDIR, Native.Rmdir(P("link")));
    }

    [Fact]
    public void RmdirNeedsWriteAndSearchOnTheParent()
    {
        MakeDirectory("parent", 755, User.Bob);
        MakeDirectory("parent/d", 755, User.Alice);
        User.Alice.Do(() => Fails(Errno.EACCES, Native.Rmdir(P("parent/d"))));
        Ok(Native.Chmod(P("parent"), O(757)));
        User.Alice.Do(() => Ok(Native.Rmdir(P("parent/d"))));
    }

    [Fact]
    public void AMountPointIsEBUSY()
    {
        string place = MakeDirectory("place");
        Ok(Native.Mount("tmpfs", place, "tmpfs", 0, null));
        try
        {
            Fails(Errno.EBUSY, Native.Rmdir(place));
            Fails(Errno.EBUSY, Native.Rename(place, P("other")));
        }
        finally
        {
            Ok(Native.Unmount(place, 0));
        }
        Ok(Native.Rmdir(place));
    }

    [Fact]
    public void ARemovedDirectoryThatIsOpenIsEmptyAndTakesNoNewNames()
    {
        MakeDirectory("d");
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        Ok(Native.Rmdir(P("d")));
        Assert.Equal(0u, Fstat(fd).Links);
        Fails(Errno.ENOENT, Native.OpenAt(fd, "new", Native.O_CREAT | Native.O_RDWR, O(644)));
        Fails(Errno.ENOENT, Native.MkdirAt(fd, "new", O(755)));
        Fails(Errno.ENOENT, Native.StatAt(fd, "missing", out _));
    }

    [Fact]
    public void ARemovedWorkingDirectoryHasNoName()
    {
        MakeDirectory("d");
        User.Root.Do(() =>
        {
            Ok(Native.Chdir(P("d")));
            Ok(Native.Rmdir(P("d")));
            Assert.Equal("", Native.Getcwd());
            Fails(Errno.ENOENT, Native.Mkdir("below", O(755)));
        });
    }

    [Fact]
    public void InASetgidDirectoryNewThingsGetItsGroupAndDirectoriesTheBit()
    {
        MakeDirectory("d", 2777, new User(0, 61007));
        User.Alice.Do(() =>
        {
            Ok(Native.Close(Ok(Native.Open(P("d/file"), Native.O_CREAT | Native.O_WRONLY, Expect.Octal(644)))));
            Ok(Native.Mkdir(P("d/dir"), Expect.Octal(755)));
            Ok(Native.Mknod(P("d/fifo"), Native.S_IFIFO | Expect.Octal(644)));
            Ok(Native.Symlink("x", P("d/link")));
        });
        foreach (string name in new[] { "file", "dir", "fifo", "link" })
        {
            Assert.Equal((User.Alice.Id, 61007u), (Stat(P("d/" + name)).User, Stat(P("d/" + name)).Group));
        }
        Assert.Equal(O(2755), Stat(P("d/dir")).Permissions);
        Assert.Equal(O(644), Stat(P("d/file")).Permissions);
    }

    [Fact]
    public void AnOutsiderCannotMakeASetgidProgramInASetgidDirectory()
    {
        MakeDirectory("d", 2777, new User(0, 61007));
        User.Alice.Do(() => Ok(Native.Close(Ok(Native.Open(P("d/file"), Native.O_CREAT | Native.O_WRONLY, Expect.Octal(2755))))));
        Assert.Equal(O(755), Stat(P("d/file")).Permissions);
    }

    [Fact]
    public void TheSizeAndBlocksOfADirectoryAreNotNegative()
    {
        MakeDirectory("d");
        Assert.InRange(Stat(P("d")).Size, 0u, 1u << 20);
        Assert.InRange(Stat(P("d")).BlockSize, 512u, 1u << 24);
    }
}
