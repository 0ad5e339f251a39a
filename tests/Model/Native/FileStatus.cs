using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Native;

/// <summary>A time as the kernel keeps it: seconds since 1970 (may be negative) and nanoseconds (or UTIME_NOW, UTIME_OMIT).</summary>
public readonly record struct Time(long Seconds, long Nanoseconds)
{
    /// <summary>
    /// Whether a test set it: tests set only times before September 2001 or after 2096, which no clock gives.
    /// So "was set and stays" and "was moved by a write" can be told apart without knowing the history.
    /// </summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public bool IsExplicit => Seconds is < 1_000_000_000 or > 4_000_000_000;

    /// <summary>The exact time if a test set it, otherwise only that the clock did.</summary>
    public override string ToString() => IsExplicit ? $"{Seconds}.{Nanoseconds:d9}" : "clock";
}

/// <summary>What statx(2) tells and the model looks at.</summary>
public readonly record struct FileStatus
{
    internal FileStatus(in RawStatx raw)
    {
        Ino = raw.Ino;
        FileSystem = ((ulong)raw.FileSystemMajor << 32) | raw.FileSystemMinor;
        Mode = raw.Mode;
        Links = raw.Links;
        Uid = raw.Uid;
        Gid = raw.Gid;
        Size = raw.Size;
        Blocks = raw.Blocks;
        DeviceMajor = raw.DeviceMajor;
        DeviceMinor = raw.DeviceMinor;
        Access = new Time(raw.AccessSeconds, raw.AccessNanoseconds);
        // Bytes that go through a fifo stay in the kernel, and for FUSE it leaves the times alone then (S_NOCMTIME): not compared.
        Modify = (raw.Mode & S_IFMT) == S_IFIFO ? default : new Time(raw.ModifySeconds, raw.ModifyNanoseconds);
        Change = new Time(raw.ChangeSeconds, raw.ChangeNanoseconds);
    }

    public ulong Ino { get; init; }

    public ulong FileSystem { get; init; }

    /// <summary>Type and permission bits, st_mode.</summary>
    public uint Mode { get; init; }

    public uint Links { get; init; }

    public uint Uid { get; init; }

    public uint Gid { get; init; }

    public long Size { get; init; }

    /// <summary>Allocated units of 512 bytes.</summary>
    public ulong Blocks { get; init; }

    public uint DeviceMajor { get; init; }

    public uint DeviceMinor { get; init; }

    public Time Access { get; init; }

    public Time Modify { get; init; }

    public Time Change { get; init; }

    public bool IsDirectory => (Mode & S_IFMT) == S_IFDIR;

    public bool IsFile => (Mode & S_IFMT) == S_IFREG;

    public bool IsSymlink => (Mode & S_IFMT) == S_IFLNK;

    public bool IsDevice => (Mode & S_IFMT) is S_IFCHR or S_IFBLK;

    /// <summary>The type as <c>ls</c> shows it: one of <c>- d l p s c b</c>.</summary>
    public char Type => (Mode & S_IFMT) switch
    {
        S_IFREG => '-',
        S_IFDIR => 'd',
        S_IFLNK => 'l',
        S_IFIFO => 'p',
        S_IFSOCK => 's',
        S_IFCHR => 'c',
        S_IFBLK => 'b',
        _ => '?',
    };
}

/// <summary>A directory entry as getdents64(2) gives it.</summary>
public readonly record struct DirectoryEntry(string Name, ulong Ino, long Cookie, byte Type);

/// <summary>What statvfs(3) tells.</summary>
public readonly record struct FileSystemStatus(
    ulong BlockSize, ulong FragmentSize, ulong Blocks, ulong BlocksFree, ulong BlocksAvailable, ulong Files, ulong FilesFree, ulong NameMax);
