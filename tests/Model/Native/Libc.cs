using System.Runtime.InteropServices;

namespace EphemeralFs.Tests.Model.Native;

/// <summary>The libc functions that the model calls directly, so that error numbers are the kernel's own (man pages, section 2).</summary>
/// <remarks>Apart from the program's own Interop on purpose: what judges must not share code with what is judged.</remarks>
internal static unsafe partial class Libc
{
    private const string Library = "libc";

    [LibraryImport(Library, SetLastError = true)] internal static partial int open(byte[] path, int flags, uint mode);
    [LibraryImport(Library, SetLastError = true)] internal static partial int openat(int directory, byte[] path, int flags, uint mode);
    [LibraryImport(Library, SetLastError = true)] internal static partial int close(int fd);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint read(int fd, byte* buffer, nuint count);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint write(int fd, byte* buffer, nuint count);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint pread(int fd, byte* buffer, nuint count, long offset);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint pwrite(int fd, byte* buffer, nuint count, long offset);
    [LibraryImport(Library, SetLastError = true)] internal static partial long lseek(int fd, long offset, int whence);
    [LibraryImport(Library, SetLastError = true)] internal static partial int ftruncate(int fd, long length);
    [LibraryImport(Library, SetLastError = true)] internal static partial int truncate(byte[] path, long length);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fallocate(int fd, int mode, long offset, long length);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint copy_file_range(int input, long* inputOffset, int output, long* outputOffset, nuint length, uint flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fsync(int fd);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fdatasync(int fd);
    [LibraryImport(Library, SetLastError = true)] internal static partial int syncfs(int fd);
    [LibraryImport(Library)] internal static partial int posix_fadvise(int fd, long offset, long length, int advice);
    [LibraryImport(Library, SetLastError = true)] internal static partial int flock(int fd, int operation);

    [LibraryImport(Library, SetLastError = true)] internal static partial int mkdirat(int directory, byte[] path, uint mode);
    [LibraryImport(Library, SetLastError = true)] internal static partial int mknodat(int directory, byte[] path, uint mode, ulong device);
    [LibraryImport(Library, SetLastError = true)] internal static partial int unlinkat(int directory, byte[] path, int flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial int rename(byte[] from, byte[] to);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int renameat2(int fromDirectory, byte[] from, int toDirectory, byte[] to, uint flags);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int linkat(int fromDirectory, byte[] from, int toDirectory, byte[] to, int flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial int symlink(byte[] target, byte[] path);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint readlink(byte[] path, byte* buffer, nuint size);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int statx(int directory, byte[] path, int flags, uint mask, RawStatx* buffer);
    [LibraryImport(Library, SetLastError = true)] internal static partial int faccessat(int directory, byte[] path, int mode, int flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial int chmod(byte[] path, uint mode);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fchmod(int fd, uint mode);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fchownat(int directory, byte[] path, uint uid, uint gid, int flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fchown(int fd, uint uid, uint gid);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int utimensat(int directory, byte[] path, RawTimespec* times, int flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial int futimens(int fd, RawTimespec* times);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int lsetxattr(byte[] path, byte[] name, byte* value, nuint size, int flags);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fsetxattr(int fd, byte[] name, byte* value, nuint size, int flags);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint lgetxattr(byte[] path, byte[] name, byte* value, nuint size);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint fgetxattr(int fd, byte[] name, byte* value, nuint size);
    [LibraryImport(Library, SetLastError = true)] internal static partial nint llistxattr(byte[] path, byte* list, nuint size);
    [LibraryImport(Library, SetLastError = true)] internal static partial int lremovexattr(byte[] path, byte[] name);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fremovexattr(int fd, byte[] name);

    [LibraryImport(Library, SetLastError = true)] internal static partial nint getdents64(int fd, byte* buffer, nuint size);
    [LibraryImport(Library, SetLastError = true)] internal static partial int fstatvfs(int fd, RawStatvfs* buffer);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial byte* mmap(byte* address, nuint length, int protection, int flags, int fd, long offset);
    [LibraryImport(Library, SetLastError = true)] internal static partial int munmap(byte* address, nuint length);
    [LibraryImport(Library, SetLastError = true)] internal static partial int msync(byte* address, nuint length, int flags);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint process_vm_readv(int pid, RawIovec* local, nuint localCount, RawIovec* remote, nuint remoteCount, nuint flags);
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint process_vm_writev(int pid, RawIovec* local, nuint localCount, RawIovec* remote, nuint remoteCount, nuint flags);

    [LibraryImport(Library)] internal static partial int setfsuid(uint uid);
    [LibraryImport(Library)] internal static partial int setfsgid(uint gid);
    [LibraryImport(Library)] internal static partial uint geteuid();
}

[StructLayout(LayoutKind.Sequential)]
internal struct RawTimespec
{
    internal long Seconds;
    internal long Nanoseconds;
}

[StructLayout(LayoutKind.Sequential)]
internal struct RawIovec
{
    internal nint Base;
    internal nuint Length;
}

/// <summary><c>struct statx</c>, 256 bytes, the same on every architecture (linux/stat.h).</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct RawStatx
{
    [FieldOffset(0)] internal uint Mask;
    [FieldOffset(4)] internal uint BlockSize;
    [FieldOffset(16)] internal uint Links;
    [FieldOffset(20)] internal uint Uid;
    [FieldOffset(24)] internal uint Gid;
    [FieldOffset(28)] internal ushort Mode;
    [FieldOffset(32)] internal ulong Ino;
    [FieldOffset(40)] internal long Size;
    [FieldOffset(48)] internal ulong Blocks;
    [FieldOffset(64)] internal long AccessSeconds;
    [FieldOffset(72)] internal uint AccessNanoseconds;
    [FieldOffset(96)] internal long ChangeSeconds;
    [FieldOffset(104)] internal uint ChangeNanoseconds;
    [FieldOffset(112)] internal long ModifySeconds;
    [FieldOffset(120)] internal uint ModifyNanoseconds;
    [FieldOffset(128)] internal uint DeviceMajor;
    [FieldOffset(132)] internal uint DeviceMinor;
    [FieldOffset(136)] internal uint FileSystemMajor;
    [FieldOffset(140)] internal uint FileSystemMinor;
}

/// <summary><c>struct statvfs</c> of 64-bit glibc.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RawStatvfs
{
    internal ulong BlockSize;
    internal ulong FragmentSize;
    internal ulong Blocks;
    internal ulong BlocksFree;
    internal ulong BlocksAvailable;
    internal ulong Files;
    internal ulong FilesFree;
    internal ulong FilesAvailable;
    internal ulong FileSystemId;
    internal ulong Flags;
    internal ulong NameMax;
    internal fixed int Spare[6];
}
