using System.Runtime.InteropServices;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>struct timespec</c> of 64-bit Linux.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct Timespec(long Seconds, long Fraction)
{
    private const long PerSecond = 1_000_000_000;

    /// <summary><c>UTIME_NOW</c>: the time of the call.</summary>
    public static readonly Timespec Now = new(0, (1L << 30) - 1);

    /// <summary><c>UTIME_OMIT</c>: leave this time alone.</summary>
    public static readonly Timespec Omit = new(0, (1L << 30) - 2);

    public long Nanoseconds => (Seconds * PerSecond) + Fraction;

    public static Timespec FromNanoseconds(long value) => new(Math.DivRem(value, PerSecond, out long rest) - (rest < 0 ? 1 : 0), rest < 0 ? rest + PerSecond : rest);
}

/// <summary>One time in <c>struct statx</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StatxTime
{
    private long seconds;
    private uint fraction;
    private readonly int reserved;

    /// <summary>Nanoseconds since 1970.</summary>
    public readonly long Nanoseconds => (seconds * 1_000_000_000) + fraction;

    public readonly long Seconds => seconds;
    public readonly uint Fraction => fraction;
}

/// <summary><c>struct statx</c>, <c>statx(2)</c>: the same on every architecture.</summary>
[StructLayout(LayoutKind.Sequential, Size = 256)]
internal struct Statx
{
    public uint Mask;
    public uint BlockSize;
    public ulong Attributes;
    public uint Links;
    public uint User;
    public uint Group;
    public ushort Mode;
    private readonly ushort pad;
    public ulong Ino;
    public ulong Size;

    /// <summary>Units of 512 bytes.</summary>
    public ulong Blocks;
    public ulong AttributesMask;
    public StatxTime Access;
    public StatxTime Birth;
    public StatxTime Change;
    public StatxTime Modify;
    public uint DeviceMajor;
    public uint DeviceMinor;
    public uint FileSystemMajor;
    public uint FileSystemMinor;

    public readonly uint Type => Mode & 0xF000u;
    public readonly uint Permissions => Mode & 0xFFFu;
}

/// <summary><c>struct flock</c> of 64-bit Linux.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct FileLock(short Type, short Whence, long Start, long Length)
{
    public int Process;

    public static FileLock Read(long start, long length) => new(Native.F_RDLCK, 0, start, length);
    public static FileLock Write(long start, long length) => new(Native.F_WRLCK, 0, start, length);
    public static FileLock Unlock(long start, long length) => new(Native.F_UNLCK, 0, start, length);
}

/// <summary><c>struct statvfs</c> of 64-bit Linux.</summary>
[StructLayout(LayoutKind.Sequential, Size = 112)]
internal struct Statvfs
{
    public ulong BlockSize;
    public ulong FragmentSize;
    public ulong Blocks;
    public ulong FreeBlocks;
    public ulong AvailableBlocks;
    public ulong Files;
    public ulong FreeFiles;
    public ulong AvailableFiles;
    public ulong Id;
    public ulong Flags;
    public ulong NameLimit;
}

/// <summary>An entry as <c>getdents64(2)</c> gives it; <paramref name="Cookie"/> is where the next entry starts.</summary>
internal readonly record struct DirectoryEntry(ulong Ino, long Cookie, byte Type, string Name);
