using System.Runtime.InteropServices;
using System.Text;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Calls that take a path.</summary>
internal static unsafe partial class Native
{
    public const int AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_EACCESS = 0x200, AT_REMOVEDIR = 0x200, AT_SYMLINK_FOLLOW = 0x400, AT_EMPTY_PATH = 0x1000;
    public const int O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0x40, O_EXCL = 0x80, O_TRUNC = 0x200, O_APPEND = 0x400, O_NONBLOCK = 0x800,
        O_DSYNC = 0x1000, O_NOATIME = 0x40000, ST_NOATIME = 1024, O_CLOEXEC = 0x80000, O_SYNC = 0x101000, O_PATH = 0x200000;
    public static readonly int O_DIRECT = Arm ? 0x10000 : 0x4000;
    public static readonly int O_DIRECTORY = Arm ? 0x4000 : 0x10000;
    public static readonly int O_NOFOLLOW = Arm ? 0x8000 : 0x20000;
    public static readonly int O_TMPFILE = 0x400000 | O_DIRECTORY;
    public const uint S_IFSOCK = 0xC000, S_IFLNK = 0xA000, S_IFREG = 0x8000, S_IFBLK = 0x6000, S_IFDIR = 0x4000, S_IFCHR = 0x2000, S_IFIFO = 0x1000;
    public const uint RENAME_NOREPLACE = 1, RENAME_EXCHANGE = 2, RENAME_WHITEOUT = 4;
    public const int F_OK = 0, X_OK = 1, W_OK = 2, R_OK = 4;
    public const int XATTR_CREATE = 1, XATTR_REPLACE = 2;
    public const uint STATX_BASIC_STATS = 0x7ff, STATX_BTIME = 0x800;

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int OpenCall(int directory, string path, int flags, uint mode);

    public static long OpenAt(int directory, string path, int flags, uint mode = 0) => Result(OpenCall(directory, path, flags | O_CLOEXEC, mode));
    public static long Open(string path, int flags, uint mode = 0) => OpenAt(AT_FDCWD, path, flags, mode);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int MkdirCall(int directory, string path, uint mode);

    public static long Mkdir(string path, uint mode) => Result(MkdirCall(AT_FDCWD, path, mode));
    public static long MkdirAt(int directory, string path, uint mode) => Result(MkdirCall(directory, path, mode));

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int MknodCall(int directory, string path, uint mode, ulong device);

    public static long Mknod(string path, uint mode, ulong device = 0) => Result(MknodCall(AT_FDCWD, path, mode, device));

    /// <summary><c>makedev(3)</c>.</summary>
    public static ulong Device(uint major, uint minor) =>
        ((ulong)(major & 0xfffff000) << 32) | ((major & 0xfff) << 8) | ((ulong)(minor & 0xffffff00) << 12) | (minor & 0xff);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int SymlinkCall(string content, int directory, string path);

    public static long Symlink(string content, string path) => Result(SymlinkCall(content, AT_FDCWD, path));

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial nint ReadlinkCall(int directory, string path, byte* buffer, nuint size);

    public static long Readlink(string path, Span<byte> buffer)
    {
        fixed (byte* p = buffer)
        {
            return Result(ReadlinkCall(AT_FDCWD, path, p, (nuint)buffer.Length));
        }
    }

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int LinkCall(int fromDirectory, string from, int toDirectory, string to, int flags);

    public static long Link(string from, string to, int flags = 0) => Result(LinkCall(AT_FDCWD, from, AT_FDCWD, to, flags));
    public static long LinkDescriptor(int fd, string to) => Result(LinkCall(fd, "", AT_FDCWD, to, AT_EMPTY_PATH));

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int UnlinkCall(int directory, string path, int flags);

    public static long Unlink(string path) => Result(UnlinkCall(AT_FDCWD, path, 0));
    public static long Rmdir(string path) => Result(UnlinkCall(AT_FDCWD, path, AT_REMOVEDIR));
    public static long UnlinkAt(int directory, string path, int flags = 0) => Result(UnlinkCall(directory, path, flags));

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int RenameCall(int fromDirectory, string from, int toDirectory, string to, uint flags);

    public static long Rename(string from, string to, uint flags = 0) => Result(RenameCall(AT_FDCWD, from, AT_FDCWD, to, flags));

    [LibraryImport("libc", EntryPoint = "fchmodat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int ChmodCall(int directory, string path, uint mode, int flags);

    public static long Chmod(string path, uint mode) => Result(ChmodCall(AT_FDCWD, path, mode, 0));

    /// <summary>An id that <c>chown(2)</c> leaves as it is.</summary>
    public const uint KeepId = uint.MaxValue;

    [LibraryImport("libc", EntryPoint = "fchownat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int ChownCall(int directory, string path, uint user, uint group, int flags);

    public static long Chown(string path, uint user, uint group, int flags = 0) => Result(ChownCall(AT_FDCWD, path, user, group, flags));

    [LibraryImport("libc", EntryPoint = "utimensat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int UtimensCall(int directory, string? path, Timespec* times, int flags);

    public static long Utimens(string path, Timespec access, Timespec modify, int flags = 0)
    {
        Timespec* times = stackalloc Timespec[2] { access, modify };
        return Result(UtimensCall(AT_FDCWD, path, times, flags));
    }

    /// <summary><c>utimensat</c> with a null pointer for the times: both become now.</summary>
    public static long UtimensNow(string path) => Result(UtimensCall(AT_FDCWD, path, null, 0));

    [LibraryImport("libc", EntryPoint = "futimens", SetLastError = true)]
    private static partial int FutimensCall(int fd, Timespec* times);

    public static long Futimens(int fd, Timespec access, Timespec modify)
    {
        Timespec* times = stackalloc Timespec[2] { access, modify };
        return Result(FutimensCall(fd, times));
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int StatxCall(int directory, string path, int flags, uint mask, out Statx stat);

    public static long Stat(string path, out Statx stat, int flags = 0) => Result(StatxCall(AT_FDCWD, path, flags, STATX_BASIC_STATS | STATX_BTIME, out stat));
    public static long StatAt(int directory, string path, out Statx stat, int flags = 0) =>
        Result(StatxCall(directory, path, flags, STATX_BASIC_STATS | STATX_BTIME, out stat));

    [LibraryImport("libc", EntryPoint = "truncate", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int TruncateCall(string path, long size);

    public static long Truncate(string path, long size) => Result(TruncateCall(path, size));

    [LibraryImport("libc", EntryPoint = "faccessat", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int AccessCall(int directory, string path, int mode, int flags);

    public static long Access(string path, int mode) => Result(AccessCall(AT_FDCWD, path, mode, 0));

    [LibraryImport("libc", EntryPoint = "statvfs", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int StatvfsCall(string path, out Statvfs result);

    public static long StatFileSystem(string path, out Statvfs result) => Result(StatvfsCall(path, out result));

    // ---- extended attributes; the l… forms, which do not follow a symbolic link at the end ----

    [LibraryImport("libc", EntryPoint = "lsetxattr", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int SetXattrCall(string path, string name, byte* value, nuint size, int flags);

    public static long SetXattr(string path, string name, ReadOnlySpan<byte> value, int flags = 0)
    {
        fixed (byte* p = value)
        {
            return Result(SetXattrCall(path, name, p, (nuint)value.Length, flags));
        }
    }

    [LibraryImport("libc", EntryPoint = "lgetxattr", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial nint GetXattrCall(string path, string name, byte* value, nuint size);

    public static long GetXattr(string path, string name, Span<byte> value)
    {
        fixed (byte* p = value)
        {
            return Result(GetXattrCall(path, name, p, (nuint)value.Length));
        }
    }

    [LibraryImport("libc", EntryPoint = "llistxattr", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial nint ListXattrCall(string path, byte* list, nuint size);

    public static long ListXattr(string path, Span<byte> list)
    {
        fixed (byte* p = list)
        {
            return Result(ListXattrCall(path, p, (nuint)list.Length));
        }
    }

    [LibraryImport("libc", EntryPoint = "lremovexattr", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int RemoveXattrCall(string path, string name);

    public static long RemoveXattr(string path, string name) => Result(RemoveXattrCall(path, name));

    /// <summary>The names in a directory with their cookies, from where the descriptor stands: one call of <c>getdents64(2)</c>.</summary>
    /// <returns>The bytes that the kernel filled, 0 at the end, or <c>-errno</c>.</returns>
    public static long ReadEntries(int fd, int bufferBytes, List<DirectoryEntry> entries)
    {
        byte[] buffer = new byte[bufferBytes];
        fixed (byte* p = buffer)
        {
            long read = Result(SystemCall(Arm ? 61 : 217, fd, (nint)p, bufferBytes));
            for (long at = 0; at < read;)
            {
                ushort length = *(ushort*)(p + at + 16);
                ReadOnlySpan<byte> name = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(p + at + 19);
                entries.Add(new DirectoryEntry(*(ulong*)(p + at), *(long*)(p + at + 8), p[at + 18], Encoding.Latin1.GetString(name)));
                at += length;
            }
            return read;
        }
    }
}
