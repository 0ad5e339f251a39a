using System.Runtime.InteropServices;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Calls that take a descriptor.</summary>
internal static unsafe partial class Native
{
    public const int SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2, SEEK_DATA = 3, SEEK_HOLE = 4;
    public const int FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2, FALLOC_FL_COLLAPSE_RANGE = 8, FALLOC_FL_ZERO_RANGE = 16, FALLOC_FL_INSERT_RANGE = 32;
    public const short F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2;
    public const int F_GETLK = 5, F_SETLK = 6, F_SETLKW = 7, F_OFD_GETLK = 36, F_OFD_SETLK = 37, F_OFD_SETLKW = 38, F_GETFL = 3, F_SETFL = 4;
    public const int LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8;
    public const int PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1, MAP_PRIVATE = 2, MS_ASYNC = 1, MS_INVALIDATE = 2, MS_SYNC = 4;

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int CloseCall(int fd);

    public static long Close(long fd) => Result(CloseCall((int)fd));

    [LibraryImport("libc", EntryPoint = "dup", SetLastError = true)]
    private static partial int DupCall(int fd);

    public static long Dup(int fd) => Result(DupCall(fd));

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadCall(int fd, byte* buffer, nuint size);

    public static long Read(int fd, Span<byte> buffer)
    {
        fixed (byte* p = buffer)
        {
            return Result(ReadCall(fd, p, (nuint)buffer.Length));
        }
    }

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteCall(int fd, byte* buffer, nuint size);

    public static long Write(int fd, ReadOnlySpan<byte> buffer)
    {
        fixed (byte* p = buffer)
        {
            return Result(WriteCall(fd, p, (nuint)buffer.Length));
        }
    }

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    private static partial nint PreadCall(int fd, byte* buffer, nuint size, long offset);

    public static long Pread(int fd, Span<byte> buffer, long offset)
    {
        fixed (byte* p = buffer)
        {
            return Result(PreadCall(fd, p, (nuint)buffer.Length, offset));
        }
    }

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    private static partial nint PwriteCall(int fd, byte* buffer, nuint size, long offset);

    public static long Pwrite(int fd, ReadOnlySpan<byte> buffer, long offset)
    {
        fixed (byte* p = buffer)
        {
            return Result(PwriteCall(fd, p, (nuint)buffer.Length, offset));
        }
    }

    /// <summary><c>pread(2)</c> into unmanaged memory, for buffers that have to be aligned.</summary>
    public static long Pread(int fd, nint buffer, int size, long offset) => Result(PreadCall(fd, (byte*)buffer, (nuint)size, offset));

    public static long Pwrite(int fd, nint buffer, int size, long offset) => Result(PwriteCall(fd, (byte*)buffer, (nuint)size, offset));

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int FtruncateCall(int fd, long size);

    public static long Ftruncate(int fd, long size) => Result(FtruncateCall(fd, size));

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int FallocateCall(int fd, int mode, long offset, long length);

    public static long Fallocate(int fd, int mode, long offset, long length) => Result(FallocateCall(fd, mode, offset, length));

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long LseekCall(int fd, long offset, int whence);

    public static long Lseek(int fd, long offset, int whence) => Result(LseekCall(fd, offset, whence));

    [LibraryImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    private static partial nint CopyFileRangeCall(int from, long* fromOffset, int to, long* toOffset, nuint length, uint flags);

    public static long CopyFileRange(int from, long fromOffset, int to, long toOffset, long length, uint flags = 0) =>
        Result(CopyFileRangeCall(from, &fromOffset, to, &toOffset, (nuint)length, flags));

    /// <summary><c>copy_file_range(2)</c> that moves both descriptors' own positions.</summary>
    public static long CopyFileRangeHere(int from, int to, long length) => Result(CopyFileRangeCall(from, null, to, null, (nuint)length, 0));

    [LibraryImport("libc", EntryPoint = "sendfile", SetLastError = true)]
    private static partial nint SendfileCall(int to, int from, long* offset, nuint length);

    /// <summary><c>sendfile(2)</c> that moves the position of what is read.</summary>
    public static long Sendfile(int to, int from, long length) => Result(SendfileCall(to, from, null, (nuint)length));

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FsyncCall(int fd);

    public static long Fsync(int fd) => Result(FsyncCall(fd));

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FdatasyncCall(int fd);

    public static long Fdatasync(int fd) => Result(FdatasyncCall(fd));

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    private static partial int SyncfsCall(int fd);

    public static long Syncfs(int fd) => Result(SyncfsCall(fd));

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    private static partial int FchmodCall(int fd, uint mode);

    public static long Fchmod(int fd, uint mode) => Result(FchmodCall(fd, mode));

    [LibraryImport("libc", EntryPoint = "fchown", SetLastError = true)]
    private static partial int FchownCall(int fd, uint user, uint group);

    public static long Fchown(int fd, uint user, uint group) => Result(FchownCall(fd, user, group));

    public static long Fstat(int fd, out Statx stat) => StatAt(fd, "", out stat, AT_EMPTY_PATH);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlCall(int fd, nuint request, nint argument);

    public static long Ioctl(int fd, nuint request, nint argument) => Result(IoctlCall(fd, request, argument));

    [LibraryImport("libc", EntryPoint = "posix_fadvise", SetLastError = true)]
    private static partial int FadviseCall(int fd, long offset, long length, int advice);

    /// <summary><c>posix_fadvise(2)</c>, which returns its error rather than setting <c>errno</c>.</summary>
    public static long Fadvise(int fd, long offset, long length, int advice) => -FadviseCall(fd, offset, length, advice);

    // ---- locks ----

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FcntlLockCall(int fd, int command, FileLock* argument);

    /// <summary><c>F_SETLK</c> and its kin.</summary>
    public static long Lock(int fd, int command, FileLock wanted) => Result(FcntlLockCall(fd, command, &wanted));

    /// <summary><c>F_GETLK</c> and <c>F_OFD_GETLK</c>: the lock in the way, or <see cref="F_UNLCK"/> as its type.</summary>
    public static long TestLock(int fd, int command, ref FileLock tested)
    {
        fixed (FileLock* p = &tested)
        {
            return Result(FcntlLockCall(fd, command, p));
        }
    }

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FcntlCall(int fd, int command, nint argument);

    public static long Fcntl(int fd, int command, int argument = 0) => Result(FcntlCall(fd, command, argument));

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FlockCall(int fd, int operation);

    public static long Flock(int fd, int operation) => Result(FlockCall(fd, operation));

    // ---- memory ----

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MmapCall(nint address, nuint length, int protection, int flags, int fd, long offset);

    /// <summary>The address of the mapping, or <c>-errno</c>.</summary>
    public static long Mmap(int fd, long length, int protection, int flags, long offset = 0) =>
        Result(MmapCall(0, (nuint)length, protection, flags, fd, offset));

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MunmapCall(nint address, nuint length);

    public static long Munmap(nint address, long length) => Result(MunmapCall(address, (nuint)length));

    [LibraryImport("libc", EntryPoint = "msync", SetLastError = true)]
    private static partial int MsyncCall(nint address, nuint length, int flags);

    public static long Msync(nint address, long length, int flags) => Result(MsyncCall(address, (nuint)length, flags));
}
