using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Errors that every call with a path shares, <c>path_resolution(7)</c>.</summary>
public abstract class PathChecks(ITestTarget target) : PosixChecks(target)
{
    private static readonly Dictionary<string, Func<string, long>> Lookups = new()
    {
        ["open"] = p => Native.Open(p, Native.O_RDONLY),
        ["open for writing"] = p => Native.Open(p, Native.O_WRONLY),
        ["stat"] = p => Native.Stat(p, out _),
        ["lstat"] = p => Native.Stat(p, out _, Native.AT_SYMLINK_NOFOLLOW),
        ["access"] = p => Native.Access(p, Native.F_OK),
        ["chdir"] = Native.Chdir,
        ["readlink"] = p => Native.Readlink(p, new byte[64]),
        ["chmod"] = p => Native.Chmod(p, Expect.Octal(644)),
        ["chown"] = p => Native.Chown(p, Native.KeepId, Native.KeepId),
        ["lchown"] = p => Native.Chown(p, Native.KeepId, Native.KeepId, Native.AT_SYMLINK_NOFOLLOW),
        ["truncate"] = p => Native.Truncate(p, 0),
        ["utimensat"] = Native.UtimensNow,
        ["unlink"] = Native.Unlink,
        ["rmdir"] = Native.Rmdir,
        ["rename from"] = p => Native.Rename(p, p + ".moved"),
        ["link from"] = p => Native.Link(p, p + ".linked"),
        ["getxattr"] = p => Native.GetXattr(p, "user.a", new byte[8]),
        ["setxattr"] = p => Native.SetXattr(p, "user.a", [1]),
        ["listxattr"] = p => Native.ListXattr(p, new byte[64]),
        ["removexattr"] = p => Native.RemoveXattr(p, "user.a"),
        ["statvfs"] = p => Native.StatFileSystem(p, out _),
    };

    private readonly Dictionary<string, Func<string, string, long>> creations = new()
    {
        ["open with O_CREAT"] = (p, _) => Native.Open(p, Native.O_CREAT | Native.O_RDWR, Expect.Octal(644)),
        ["open with O_CREAT and O_EXCL"] = (p, _) => Native.Open(p, Native.O_CREAT | Native.O_EXCL | Native.O_RDWR, Expect.Octal(644)),
        ["mkdir"] = (p, _) => Native.Mkdir(p, Expect.Octal(755)),
        ["mkfifo"] = (p, _) => Native.Mknod(p, Native.S_IFIFO | Expect.Octal(644)),
        ["mknod of a socket"] = (p, _) => Native.Mknod(p, Native.S_IFSOCK | Expect.Octal(644)),
        ["mknod of a device"] = (p, _) => Native.Mknod(p, Native.S_IFCHR | Expect.Octal(644), Native.Device(1, 3)),
        ["symlink"] = (p, _) => Native.Symlink("nowhere", p),
        ["link to"] = (p, existing) => Native.Link(existing, p),
        ["rename to"] = (p, existing) => Native.Rename(existing, p),
    };

    public static TheoryData<string> LookupNames => [.. Lookups.Keys];

    public static TheoryData<string> CreationNames =>
        ["open with O_CREAT", "open with O_CREAT and O_EXCL", "mkdir", "mkfifo", "mknod of a socket", "mknod of a device", "symlink", "link to", "rename to"];

    private long Create(string call, string path)
    {
        string existing = P("existing");
        if (!Exists(existing))
        {
            MakeFile("existing", "x");
        }
        return creations[call](path, existing);
    }

    [Theory, MemberData(nameof(LookupNames))]
    public void MissingNamesAreENOENT(string call)
    {
        Fails(Errno.ENOENT, Lookups[call](P("missing")));
        Fails(Errno.ENOENT, Lookups[call](P("missing/below")));
        Fails(Errno.ENOENT, Lookups[call](""));
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void CreatingBelowAMissingDirectoryIsENOENT(string call) => Fails(Errno.ENOENT, Create(call, P("missing/new")));

    [Theory, MemberData(nameof(LookupNames))]
    public void AFileInTheMiddleIsENOTDIR(string call)
    {
        MakeFile("file", "x");
        Fails(Errno.ENOTDIR, Lookups[call](P("file/below")));
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void CreatingBelowAFileIsENOTDIR(string call)
    {
        MakeFile("file", "x");
        Fails(Errno.ENOTDIR, Create(call, P("file/below")));
    }

    [Theory, MemberData(nameof(LookupNames))]
    public void ALongNameIsENAMETOOLONG(string call)
    {
        Fails(Errno.ENAMETOOLONG, Lookups[call](P(new string('n', 256))));
        Fails(Errno.ENAMETOOLONG, Lookups[call](P(new string('n', 256) + "/below")));
        Fails(Errno.ENOENT, Lookups[call](P(new string('n', 250))));
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void NamesOf255BytesCanBeMadeAndNoLonger(string call)
    {
        string longest = new('n', 255);
        Fails(Errno.ENAMETOOLONG, Create(call, P(longest + "n")));
        long made = Ok(Create(call, P(longest)));
        Assert.True(Exists(P(longest)));
        Assert.Contains(longest, Names(Scratch));
        if (call.StartsWith("open", StringComparison.Ordinal))
        {
            Ok(Native.Close(made));
        }
    }

    [Theory, MemberData(nameof(LookupNames))]
    public void APathOf4096BytesIsENAMETOOLONG(string call)
    {
        MakeFile("file", "x");
        string longest = PaddedPath("file", 4095);
        Ok(Native.Stat(longest, out _));
        Fails(Errno.ENAMETOOLONG, Lookups[call](PaddedPath("file", 4096)));
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void CreatingAtAPathOf4096BytesIsENAMETOOLONG(string call) => Fails(Errno.ENAMETOOLONG, Create(call, PaddedPath("new", 4096)));

    /// <summary>A path of exactly this many bytes that leads to a name in the scratch directory by many slashes.</summary>
    private string PaddedPath(string name, int length) => Scratch + new string('/', length - Scratch.Length - name.Length) + name;

    [Theory, MemberData(nameof(LookupNames))]
    public void ALoopOfSymbolicLinksIsELOOP(string call)
    {
        Ok(Native.Symlink("two", P("one")));
        Ok(Native.Symlink("one", P("two")));
        Fails(Errno.ELOOP, Lookups[call](P("one/below")));
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void CreatingBelowALoopIsELOOP(string call)
    {
        Ok(Native.Symlink("self", P("self")));
        Fails(Errno.ELOOP, Create(call, P("self/below")));
    }

    [Fact]
    public void FortySymbolicLinksAreFollowedAndNoMore()
    {
        MakeFile("link0", "end");
        for (int i = 1; i <= 41; i++)
        {
            Ok(Native.Symlink($"link{i - 1}", P($"link{i}")));
        }
        Ok(Native.Stat(P("link40"), out Statx stat));
        Assert.Equal(3u, stat.Size);
        Fails(Errno.ELOOP, Native.Stat(P("link41"), out _));
    }

    [Theory, MemberData(nameof(LookupNames))]
    public void WithoutSearchPermissionOnADirectoryItIsEACCES(string call)
    {
        MakeDirectory("open", 777);
        MakeDirectory("open/closed", 666, User.Alice);
        MakeFile("open/closed/file", "x", 666, User.Alice);
        User.Alice.Do(() => Fails(Errno.EACCES, Lookups[call](P("open/closed/file"))));
        Ok(Native.Chmod(P("open/closed"), O(677)));
        User.Alice.Do(() => Fails(Errno.EACCES, Lookups[call](P("open/closed/file")))); // the owner's bits count, not the others'
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void CreatingNeedsSearchAndWritePermission(string call)
    {
        MakeDirectory("home", 755, User.Alice);
        foreach (int mode in new[] { 500, 600, 577, 677 })
        {
            MakeFile("home/existing", "x", 666, User.Alice);
            Ok(Native.Chmod(P("home"), O(mode)));
            User.Alice.Do(() => Fails(Errno.EACCES, creations[call](P("home/new"), P("home/existing"))));
            Ok(Native.Chmod(P("home"), O(755)));
            Ok(Native.Unlink(P("home/existing")));
        }
        MakeFile("home/existing", "x", 666, User.Alice);
        Ok(Native.Chmod(P("home"), O(300)));
        if (call != "mknod of a device")
        {
            User.Alice.Do(() =>
            {
                long made = Ok(creations[call](P("home/new"), P("home/existing")));
                if (call.StartsWith("open", StringComparison.Ordinal))
                {
                    Ok(Native.Close(made));
                }
            });
        }
    }

    [Fact]
    public void TheGroupsOfACallerCount()
    {
        MakeDirectory("shared", 70, new User(0, 61007));
        MakeFile("shared/file", "x", 40, new User(0, 61007));
        new User(61001, 61001, 61005, 61007).Do(() => Ok(Native.Close(Ok(Native.Open(P("shared/file"), Native.O_RDONLY)))));
        new User(61001, 61007).Do(() => Ok(Native.Close(Ok(Native.Open(P("shared/file"), Native.O_RDONLY)))));
        new User(61001, 61001, 61005).Do(() => Fails(Errno.EACCES, Native.Open(P("shared/file"), Native.O_RDONLY)));
    }

    [Fact]
    public void ThirtyTwoSupplementaryGroupsCount()
    {
        // More groups than the 16 of old network protocols.
        MakeDirectory("shared", 70, new User(0, 62031));
        var many = new User(61001, 61001, [.. Enumerable.Range(62000, 32).Select(g => (uint)g)]);
        many.Do(() => Ok(Native.Mkdir(P("shared/made"), O(755))));
    }

    [Theory, MemberData(nameof(CreationNames))]
    public void AReadOnlyMountIsEROFS(string call)
    {
        MakeDirectory("tree");
        MakeFile("tree/existing", "x");
        string view = MakeDirectory("view");
        Ok(Native.Mount(P("tree"), view, "none", Native.MS_BIND, null));
        try
        {
            Ok(Native.Mount("none", view, "none", Native.MS_BIND | Native.MS_REMOUNT | Native.MS_RDONLY, null));
            Fails(Errno.EROFS, creations[call](view + "/new", view + "/existing"));
            Fails(Errno.EROFS, Native.Open(view + "/existing", Native.O_RDWR));
            Fails(Errno.EROFS, Native.Unlink(view + "/existing"));
            Fails(Errno.EROFS, Native.Chmod(view + "/existing", O(600)));
            Fails(Errno.EROFS, Native.Truncate(view + "/existing", 0));
            Fails(Errno.EROFS, Native.UtimensNow(view + "/existing"));
            Fails(Errno.EROFS, Native.SetXattr(view + "/existing", "user.a", [1]));
        }
        finally
        {
            Ok(Native.Unmount(view, Native.MNT_DETACH));
        }
    }

    [Fact]
    public void DotDotLeadsToTheParentAlsoAfterTheDirectoryMoved()
    {
        MakeDirectory("a");
        MakeDirectory("b");
        MakeDirectory("a/child");
        MakeFile("b/here", "x");
        Ok(Native.Rename(P("a/child"), P("b/child")));
        Ok(Native.Stat(P("b/child/../here"), out _));
        Assert.Equal(Stat(P("b")).Ino, Stat(P("b/child/..")).Ino);
    }

    [Fact]
    public void ATrailingSlashDemandsADirectory()
    {
        MakeFile("file", "x");
        MakeDirectory("dir");
        Ok(Native.Symlink("dir", P("link")));
        Fails(Errno.ENOTDIR, Native.Stat(P("file/"), out _));
        Ok(Native.Stat(P("link/"), out Statx stat, Native.AT_SYMLINK_NOFOLLOW));
        Assert.Equal(Native.S_IFDIR, stat.Type);
        Fails(Errno.ENOTDIR, Native.Unlink(P("file/")));
        Fails(Errno.EISDIR, Native.Open(P("new/"), Native.O_CREAT | Native.O_WRONLY, O(644)));
        Ok(Native.Mkdir(P("made/"), O(755)));
        Ok(Native.Rename(P("made/"), P("moved/")));
        Ok(Native.Rmdir(P("moved/")));
    }
}
