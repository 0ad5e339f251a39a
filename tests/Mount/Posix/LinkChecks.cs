using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>link(2)</c>, <c>unlink(2)</c>, <c>symlink(2)</c>, <c>mknod(2)</c> and files that are open without a name.</summary>
public abstract class LinkChecks(ITestTarget target) : PosixChecks(target)
{
    [Theory, MemberData(nameof(EveryKindButDirectory))]
    public void ALinkIsTheSameFile(Kind kind)
    {
        Make("one", kind, 640, User.Alice);
        Ok(Native.Link(P("one"), P("two")));
        Assert.Equal(2u, Stat(P("one")).Links);
        Assert.Equal(Stat(P("one")), Stat(P("two")));
        Ok(Native.Chown(P("two"), 1, 2, Native.AT_SYMLINK_NOFOLLOW));
        Assert.Equal((1u, 2u), (Stat(P("one")).User, Stat(P("one")).Group));
        MakeDirectory("d");
        Ok(Native.Link(P("two"), P("d/three")));
        Ok(Native.Unlink(P("one")));
        Ok(Native.Unlink(P("two")));
        Assert.Equal(1u, Stat(P("d/three")).Links);
    }

    [Theory, MemberData(nameof(EveryKindButDirectory))]
    public void LinkingAndUnlinkingStampTheFileAndTheDirectory(Kind kind)
    {
        MakeDirectory("d");
        Make("d/f", kind);
        Touches(Touch.Change, P("d/f"), () => Ok(Native.Link(P("d/f"), P("d/g"))));
        Touches(Touch.Modify | Touch.Change, P("d"), () => Ok(Native.Link(P("d/f"), P("d/h"))));
        Touches(Touch.Change, P("d/f"), () => Ok(Native.Unlink(P("d/g"))));
        Touches(Touch.Modify | Touch.Change, P("d"), () => Ok(Native.Unlink(P("d/h"))));
        Touches(Touch.Nothing, P("d"), () => Fails(Errno.EEXIST, Native.Link(P("d/f"), P("d/f"))));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void LinkingOntoAnythingIsEEXIST(Kind kind)
    {
        MakeFile("f", "x");
        Make("there", kind);
        Fails(Errno.EEXIST, Native.Link(P("f"), P("there")));
        Assert.Equal(1u, Stat(P("f")).Links);
    }

    [Fact]
    public void ADirectoryCannotBeLinkedOrUnlinked()
    {
        MakeDirectory("d");
        Fails(Errno.EPERM, Native.Link(P("d"), P("e")));
        Fails(Errno.EISDIR, Native.Unlink(P("d")));
    }

    [Fact]
    public void ALinkOfASymbolicLinkIsTheLinkUnlessToldToFollow()
    {
        MakeFile("f", "x");
        Ok(Native.Symlink("f", P("s")));
        Ok(Native.Link(P("s"), P("same")));
        Assert.Equal("f", Readlink(P("same")));
        Ok(Native.Link(P("s"), P("followed"), Native.AT_SYMLINK_FOLLOW));
        Assert.Equal(Stat(P("f")).Ino, Stat(P("followed")).Ino);
    }

    [Fact]
    public void LinkingNeedsWriteOnTheDirectoryOfTheNewName()
    {
        MakeDirectory("locked", 755);
        MakeDirectory("home", 755, User.Alice);
        MakeFile("home/f", "x", 644, User.Alice);
        User.Alice.Do(() => Fails(Errno.EACCES, Native.Link(P("home/f"), P("locked/f"))));
    }

    [Fact]
    public void UnlinkingNeedsWriteOnTheDirectoryAndNothingOnTheFile()
    {
        MakeDirectory("home", 755, User.Alice);
        MakeFile("home/f", "x", 0);
        User.Bob.Do(() => Fails(Errno.EACCES, Native.Unlink(P("home/f"))));
        User.Alice.Do(() => Ok(Native.Unlink(P("home/f"))));
    }

    [Fact]
    public void AThousandLinksOfOneFileCountToAThousand()
    {
        MakeFile("f0", "x");
        for (int i = 1; i < 1000; i++)
        {
            Ok(Native.Link(P("f0"), P($"f{i}")));
        }
        Assert.Equal(1000u, Stat(P("f500")).Links);
    }

    // ---- unlinked while open ----

    [Fact]
    public void AnUnlinkedOpenFileKeepsWorking()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDWR);
        ulong ino = Fstat(fd).Ino;
        Ok(Native.Unlink(P("f")));
        Assert.Equal((0u, 7ul, ino), (Fstat(fd).Links, Fstat(fd).Size, Fstat(fd).Ino));
        WriteAll(fd, "more than before"u8, 4);
        Assert.Equal("contmore than before", System.Text.Encoding.ASCII.GetString(ReadAll(fd)));
        Ok(Native.Ftruncate(fd, 4));
        Ok(Native.Fchmod(fd, O(600)));
        Ok(Native.Fchown(fd, 5, 6));
        Ok(Native.Fallocate(fd, 0, 0, 8192));
        Ok(Native.Futimens(fd, new Timespec(1, 2), new Timespec(3, 4)));
        Ok(Native.Fsync(fd));
        Statx stat = Fstat(fd);
        Assert.Equal((O(600), 5u, 6u, 8192ul, 3_000_000_004L), (stat.Permissions, stat.User, stat.Group, stat.Size, stat.Modify.Nanoseconds));
        Fails(Errno.ENOENT, Native.Stat(P("f"), out _));
    }

    [Fact]
    public void UnlinkingAnOpenFileMovesItsCtime()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDONLY);
        Statx before = Fstat(fd);
        WaitForTick(before);
        Ok(Native.Unlink(P("f")));
        Assert.Equal(Touch.Change, Difference(before, Fstat(fd)));
    }

    [Fact]
    public void ANewFileUnderTheNameOfAnOpenOneIsAnother()
    {
        MakeFile("f", "old");
        int old = Open(P("f"), Native.O_RDWR);
        Ok(Native.Unlink(P("f")));
        MakeFile("f", "new one");
        WriteAll(old, "OLD"u8, 0);
        Assert.Equal("new one", ReadText(P("f")));
        Assert.NotEqual(Fstat(old).Ino, Stat(P("f")).Ino);
        Ok(Native.Unlink(P("f")));
        Assert.Equal("OLD"u8.ToArray(), ReadAll(old));
    }

    [Fact]
    public void AnOpenFileReplacedByRenameKeepsItsContent()
    {
        MakeFile("f", "old");
        MakeFile("g", "new");
        int old = Open(P("f"), Native.O_RDONLY);
        Ok(Native.Rename(P("g"), P("f")));
        Assert.Equal("old"u8.ToArray(), ReadAll(old));
        Assert.Equal(0u, Fstat(old).Links);
        Assert.Equal("new", ReadText(P("f")));
    }

    [Fact]
    public void AFileWithoutNameCanBeMadeAndGivenOneLater()
    {
        int fd = Open(Scratch, Native.O_TMPFILE | Native.O_RDWR, 640);
        Assert.Equal(0u, Fstat(fd).Links);
        Assert.Empty(Names(Scratch));
        WriteAll(fd, "content"u8, 0);
        Ok(Native.LinkDescriptor(fd, P("named")));
        Assert.Equal((1u, 7ul), (Stat(P("named")).Links, Stat(P("named")).Size));
        Assert.Equal("content", ReadText(P("named")));
    }

    [Fact]
    public void AFileMadeWithoutNameExclusivelyNeverGetsOne()
    {
        int fd = Open(Scratch, Native.O_TMPFILE | Native.O_RDWR | Native.O_EXCL, 640);
        Fails(Errno.ENOENT, Native.LinkDescriptor(fd, P("named")));
        Fails(Errno.EINVAL, Native.Open(Scratch, Native.O_TMPFILE | Native.O_RDONLY, O(600)));
        MakeFile("file", "x");
        Fails(Errno.ENOTDIR, Native.Open(P("file"), Native.O_TMPFILE | Native.O_RDWR, O(600)));
    }

    // ---- symbolic links ----

    [Theory]
    [InlineData(1)]
    [InlineData(255)]
    [InlineData(256)]
    [InlineData(4095)]
    public void ASymbolicLinkKeepsItsContent(int length)
    {
        string content = new('c', length);
        Ok(Native.Symlink(content, P("s")));
        Assert.Equal(content, Readlink(P("s")));
        Statx stat = Stat(P("s"));
        Assert.Equal((Native.S_IFLNK | O(777), (ulong)length, 1u), (stat.Mode, stat.Size, stat.Links));
    }

    [Fact]
    public void ASymbolicLinkIsNeitherEmptyNorLongerThanAPath()
    {
        Fails(Errno.ENOENT, Native.Symlink("", P("s")));
        Fails(Errno.ENAMETOOLONG, Native.Symlink(new string('c', 4096), P("s")));
    }

    [Fact]
    public void ReadlinkCutsAtTheBufferAndRefusesOtherKinds()
    {
        Ok(Native.Symlink("0123456789", P("s")));
        byte[] small = new byte[4];
        Assert.Equal(4, Ok(Native.Readlink(P("s"), small)));
        Assert.Equal("0123"u8.ToArray(), small);
        MakeFile("f", "x");
        Fails(Errno.EINVAL, Native.Readlink(P("f"), small));
        MakeDirectory("d");
        Fails(Errno.EINVAL, Native.Readlink(P("d"), small));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void SymlinkOntoAnythingIsEEXIST(Kind kind)
    {
        Make("f", kind);
        Fails(Errno.EEXIST, Native.Symlink("x", P("f")));
        Fails(Errno.EEXIST, Native.Mknod(P("f"), Native.S_IFIFO | O(644)));
        Fails(Errno.EEXIST, Native.Mknod(P("f"), Native.S_IFREG | O(644)));
    }

    // ---- special files ----

    [Fact]
    public void DevicesKeepTheirNumbers()
    {
        Ok(Native.Mknod(P("char"), Native.S_IFCHR | O(600), Native.Device(4095, 1048575)));
        Ok(Native.Mknod(P("block"), Native.S_IFBLK | O(600), Native.Device(259, 300)));
        Assert.Equal((4095u, 1048575u), (Stat(P("char")).DeviceMajor, Stat(P("char")).DeviceMinor));
        Assert.Equal((259u, 300u), (Stat(P("block")).DeviceMajor, Stat(P("block")).DeviceMinor));
        Assert.Equal((Native.S_IFCHR, Native.S_IFBLK), (Stat(P("char")).Type, Stat(P("block")).Type));
    }

    [Fact]
    public void DevicesAreForRoot()
    {
        MakeDirectory("d", 777);
        User.Alice.Do(() =>
        {
            Fails(Errno.EPERM, Native.Mknod(P("d/c"), Native.S_IFCHR | Expect.Octal(600), Native.Device(1, 3)));
            Fails(Errno.EPERM, Native.Mknod(P("d/b"), Native.S_IFBLK | Expect.Octal(600), Native.Device(7, 0)));
            Ok(Native.Mknod(P("d/fifo"), Native.S_IFIFO | Expect.Octal(600)));
            Ok(Native.Mknod(P("d/socket"), Native.S_IFSOCK | Expect.Octal(600)));
            Ok(Native.Mknod(P("d/file"), Native.S_IFREG | Expect.Octal(600)));
        });
        Fails(Errno.EPERM, Native.Mknod(P("d/dir"), Native.S_IFDIR | O(755)));
    }

    [Fact]
    public void AUnixSocketCanBeBoundAndConnectedTo()
    {
        // A socket address holds 107 bytes: bind by a short path.
        string path = $"{Scratch}/s";
        using var listener = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, 0);
        listener.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        Assert.Equal(Native.S_IFSOCK, Stat(path).Type);
        using var client = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, 0);
        client.Connect(new System.Net.Sockets.UnixDomainSocketEndPoint(path));
        using System.Net.Sockets.Socket server = listener.Accept();
        Assert.Equal(2, client.Send("hi"u8));
        Assert.Equal(2, server.Receive(new byte[8]));
        Ok(Native.Unlink(path));
    }
}
