using System.Text;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>What every class of checks starts from: a scratch directory on the target, and short words for what checks do all the time.</summary>
public abstract class PosixChecks : IDisposable
{
    private static int count;

    private readonly List<int> descriptors = [];

    protected PosixChecks(ITestTarget target)
    {
        Assert.True(Native.EffectiveUser() == 0, "these checks switch users: run them as root");
        Scratch = $"{target.Path}/posix-{Environment.ProcessId}-{Interlocked.Increment(ref count)}";
        Expect.Ok(Native.Mkdir(Scratch, Expect.Octal(755)));
        Expect.Ok(Native.Chmod(Scratch, Expect.Octal(755)));
    }

    /// <summary>The absolute path of the scratch directory: owned by root, mode 0755.</summary>
    protected string Scratch { get; }

    /// <summary>The path of a name in the scratch directory.</summary>
    protected string P(string name) => $"{Scratch}/{name}";

    private protected static uint O(int digits) => Expect.Octal(digits);

    private protected static long Ok(long result) => Expect.Ok(result);

    private protected static void Fails(Errno expected, long result) => Expect.Fails(expected, result);

    // ---- making things ----

    /// <summary>The kinds of file that a name can stand for.</summary>
    public enum Kind { Regular, Directory, Fifo, Socket, CharDevice, BlockDevice, Symlink }

    public static TheoryData<Kind> EveryKind => [.. Enum.GetValues<Kind>()];

    public static TheoryData<Kind> EveryKindButDirectory => [.. Enum.GetValues<Kind>().Where(k => k != Kind.Directory)];

    public static TheoryData<Kind> EveryKindButSymlink => [.. Enum.GetValues<Kind>().Where(k => k != Kind.Symlink)];

    /// <summary>Makes a file of the kind with exactly this mode and owner; a symbolic link has no mode and points nowhere.</summary>
    private protected string Make(string name, Kind kind = Kind.Regular, int mode = 644, User? owner = null)
    {
        string path = P(name);
        switch (kind)
        {
            case Kind.Directory:
                Ok(Native.Mkdir(path, O(700)));
                break;
            case Kind.Symlink:
                Ok(Native.Symlink("nowhere", path));
                break;
            default:
                (uint type, ulong device) = kind switch
                {
                    Kind.Fifo => (Native.S_IFIFO, 0ul),
                    Kind.Socket => (Native.S_IFSOCK, 0ul),
                    Kind.CharDevice => (Native.S_IFCHR, Native.Device(1, 3)),
                    Kind.BlockDevice => (Native.S_IFBLK, Native.Device(7, 0)),
                    _ => (Native.S_IFREG, 0ul),
                };
                Ok(Native.Mknod(path, type | O(600), device));
                break;
        }
        if (owner is not null)
        {
            Ok(Native.Chown(path, owner.Id, owner.Group, Native.AT_SYMLINK_NOFOLLOW));
        }
        if (kind != Kind.Symlink)
        {
            Ok(Native.Chmod(path, O(mode)));
        }
        return path;
    }

    private protected string MakeDirectory(string name, int mode = 755, User? owner = null) => Make(name, Kind.Directory, mode, owner);

    /// <summary>Makes a regular file with this content.</summary>
    private protected string MakeFile(string name, ReadOnlySpan<byte> content, int mode = 644, User? owner = null)
    {
        string path = Make(name, Kind.Regular, mode, owner);
        int fd = Open(path, Native.O_WRONLY);
        WriteAll(fd, content, 0);
        Close(fd);
        return path;
    }

    private protected string MakeFile(string name, string content, int mode = 644, User? owner = null) =>
        MakeFile(name, Encoding.Latin1.GetBytes(content), mode, owner);

    /// <summary>Opens, and closes at the end of the check if the check does not.</summary>
    private protected int Open(string path, int flags, int mode = 644)
    {
        int fd = Expect.Fd(Native.Open(path, flags, O(mode)));
        descriptors.Add(fd);
        return fd;
    }

    private protected void Close(int fd)
    {
        descriptors.Remove(fd);
        Ok(Native.Close(fd));
    }

    // ---- looking ----

    private protected static Statx Stat(string path)
    {
        Ok(Native.Stat(path, out Statx stat, Native.AT_SYMLINK_NOFOLLOW));
        return stat;
    }

    private protected static Statx Fstat(int fd)
    {
        Ok(Native.Fstat(fd, out Statx stat));
        return stat;
    }

    private protected static bool Exists(string path)
    {
        long result = Native.Stat(path, out _, Native.AT_SYMLINK_NOFOLLOW);
        Assert.True(result == 0 || Native.ErrnoOf(result) == Errno.ENOENT, $"stat: {Native.ErrnoOf(result)}");
        return result == 0;
    }

    private protected static void WriteAll(int fd, ReadOnlySpan<byte> content, long offset)
    {
        while (content.Length > 0)
        {
            int written = (int)Ok(Native.Pwrite(fd, content, offset));
            Assert.True(written > 0, "pwrite wrote nothing");
            content = content[written..];
            offset += written;
        }
    }

    private protected static byte[] ReadAll(int fd)
    {
        var content = new byte[(int)Fstat(fd).Size];
        int have = 0;
        while (have < content.Length)
        {
            int read = (int)Ok(Native.Pread(fd, content.AsSpan(have), have));
            Assert.True(read > 0, $"end of file at {have}, although the size is {content.Length}");
            have += read;
        }
        Assert.Equal(0, Native.Pread(fd, new byte[16], content.Length));
        return content;
    }

    private protected byte[] ReadAll(string path)
    {
        int fd = Open(path, Native.O_RDONLY);
        byte[] content = ReadAll(fd);
        Close(fd);
        return content;
    }

    private protected string ReadText(string path) => Encoding.Latin1.GetString(ReadAll(path));

    private protected static string Readlink(string path)
    {
        Span<byte> buffer = new byte[8192];
        return Encoding.Latin1.GetString(buffer[..(int)Ok(Native.Readlink(path, buffer))]);
    }

    /// <summary>Every entry but <c>.</c> and <c>..</c>, in the order in which the file system gives them.</summary>
    private protected List<DirectoryEntry> Entries(string path, int bufferBytes = 32768)
    {
        int fd = Open(path, Native.O_RDONLY | Native.O_DIRECTORY);
        var all = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, bufferBytes, all)) > 0)
        {
        }
        Close(fd);
        all.RemoveAll(e => e.Name is "." or "..");
        return all;
    }

    /// <summary>The names in a directory, sorted by byte.</summary>
    private protected string[] Names(string path) => [.. Entries(path).Select(e => e.Name).Order(StringComparer.Ordinal)];

    /// <summary>Deterministic bytes that differ by seed and position.</summary>
    private protected static byte[] Pattern(int length, int seed = 1)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    // ---- times ----

    /// <summary>Which times of a file an operation changes.</summary>
    [Flags]
    public enum Touch { Nothing = 0, Access = 1, Modify = 2, Change = 4 }

    /// <summary>
    /// Returns once a time stamp taken now differs from every time of the file. Nothing announces a tick of the clock, so this polls it;
    /// a clock that stands still for ten seconds fails the check.
    /// </summary>
    private protected static void WaitForTick(Statx stat)
    {
        long newest = Math.Max(stat.Access.Nanoseconds, Math.Max(stat.Modify.Nanoseconds, stat.Change.Nanoseconds));
        long start = Environment.TickCount64;
        while (Native.CoarseNow() <= newest)
        {
            Assert.True(Environment.TickCount64 - start < 10_000, "the file's times lie in the future");
            Thread.Yield();
        }
    }

    /// <summary>The operation moves exactly these times of the path forward and leaves the others to the nanosecond.</summary>
    private protected static void Touches(Touch expected, string path, Action operation)
    {
        Statx before = Stat(path);
        WaitForTick(before);
        operation();
        Statx after = Stat(path);
        Assert.Equal(expected, Difference(before, after));
    }

    /// <summary>The times that moved; one that moved backwards fails the check.</summary>
    private protected static Touch Difference(Statx before, Statx after)
    {
        Assert.True(after.Modify.Nanoseconds >= before.Modify.Nanoseconds, "mtime went backwards");
        Assert.True(after.Change.Nanoseconds >= before.Change.Nanoseconds, "ctime went backwards");
        return (after.Access.Nanoseconds != before.Access.Nanoseconds ? Touch.Access : 0)
            | (after.Modify.Nanoseconds != before.Modify.Nanoseconds ? Touch.Modify : 0)
            | (after.Change.Nanoseconds != before.Change.Nanoseconds ? Touch.Change : 0);
    }

    // ---- the end ----

    public void Dispose()
    {
        foreach (int fd in descriptors)
        {
            _ = Native.Close(fd);
        }
        RemoveTree(Scratch);
        GC.SuppressFinalize(this);
    }

    private void RemoveTree(string directory)
    {
        foreach (DirectoryEntry entry in Entries(directory))
        {
            string path = $"{directory}/{entry.Name}";
            if (Native.ErrnoOf(Native.Unlink(path)) == Errno.EISDIR)
            {
                RemoveTree(path);
            }
        }
        Ok(Native.Rmdir(directory));
    }
}
