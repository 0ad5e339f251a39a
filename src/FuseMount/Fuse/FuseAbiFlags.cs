namespace EphemeralFs.FuseMount.Fuse;

/// <summary>INIT flags; bits 32 to 63 travel in <c>flags2</c>.</summary>
[Flags]
public enum FuseInitFlags : ulong
{
    None = 0,
    ASYNC_READ = 1UL << 0,
    POSIX_LOCKS = 1UL << 1,
    FILE_OPS = 1UL << 2,
    ATOMIC_O_TRUNC = 1UL << 3,
    EXPORT_SUPPORT = 1UL << 4,
    BIG_WRITES = 1UL << 5,
    DONT_MASK = 1UL << 6,
    SPLICE_WRITE = 1UL << 7,
    SPLICE_MOVE = 1UL << 8,
    SPLICE_READ = 1UL << 9,
    FLOCK_LOCKS = 1UL << 10,
    HAS_IOCTL_DIR = 1UL << 11,
    AUTO_INVAL_DATA = 1UL << 12,
    DO_READDIRPLUS = 1UL << 13,
    READDIRPLUS_AUTO = 1UL << 14,
    ASYNC_DIO = 1UL << 15,
    WRITEBACK_CACHE = 1UL << 16,
    NO_OPEN_SUPPORT = 1UL << 17,
    PARALLEL_DIROPS = 1UL << 18,
    HANDLE_KILLPRIV = 1UL << 19,
    POSIX_ACL = 1UL << 20,
    ABORT_ERROR = 1UL << 21,
    MAX_PAGES = 1UL << 22,
    CACHE_SYMLINKS = 1UL << 23,
    NO_OPENDIR_SUPPORT = 1UL << 24,
    EXPLICIT_INVAL_DATA = 1UL << 25,
    MAP_ALIGNMENT = 1UL << 26,
    SUBMOUNTS = 1UL << 27,
    HANDLE_KILLPRIV_V2 = 1UL << 28,
    SETXATTR_EXT = 1UL << 29,
    INIT_EXT = 1UL << 30,
    INIT_RESERVED = 1UL << 31,
    SECURITY_CTX = 1UL << 32,
    HAS_INODE_DAX = 1UL << 33,
    CREATE_SUPP_GROUP = 1UL << 34,
    HAS_EXPIRE_ONLY = 1UL << 35,
    DIRECT_IO_ALLOW_MMAP = 1UL << 36,
    PASSTHROUGH = 1UL << 37,
    NO_EXPORT_SUPPORT = 1UL << 38,
    HAS_RESEND = 1UL << 39,
    ALLOW_IDMAP = 1UL << 40,
    OVER_IO_URING = 1UL << 41,
    REQUEST_TIMEOUT = 1UL << 42,
}

/// <summary><c>FOPEN_*</c>: what the answer to OPEN, OPENDIR or CREATE asks of the kernel.</summary>
[Flags]
public enum FuseOpenFlags : uint
{
    None = 0,
    DIRECT_IO = 1 << 0,
    KEEP_CACHE = 1 << 1,
    NONSEEKABLE = 1 << 2,
    CACHE_DIR = 1 << 3,
    STREAM = 1 << 4,
    NOFLUSH = 1 << 5,
    PARALLEL_DIRECT_WRITES = 1 << 6,
    PASSTHROUGH = 1 << 7,
}

/// <summary><c>FUSE_OPEN_*</c>: what the kernel says with OPEN and CREATE.</summary>
[Flags]
public enum FuseOpenInFlags : uint
{
    None = 0,

    /// <summary>Drop setuid and setgid if the file is executable (with O_TRUNC under HANDLE_KILLPRIV_V2).</summary>
    KILL_SUIDGID = 1 << 0,
}

/// <summary><c>FATTR_*</c>: which fields of SETATTR count.</summary>
[Flags]
public enum FuseSetattrValid : uint
{
    None = 0,
    MODE = 1 << 0,
    UID = 1 << 1,
    GID = 1 << 2,
    SIZE = 1 << 3,
    ATIME = 1 << 4,
    MTIME = 1 << 5,
    FH = 1 << 6,
    ATIME_NOW = 1 << 7,
    MTIME_NOW = 1 << 8,
    LOCKOWNER = 1 << 9,
    CTIME = 1 << 10,
    KILL_SUIDGID = 1 << 11,
}

/// <summary><c>FUSE_GETATTR_*</c>.</summary>
[Flags]
public enum FuseGetattrFlags : uint
{
    None = 0,

    /// <summary>The file handle field is valid.</summary>
    FH = 1 << 0,
}

/// <summary><c>FUSE_ATTR_*</c> in <see cref="FuseAttr.Flags"/>.</summary>
[Flags]
public enum FuseAttrFlags : uint
{
    None = 0,
    SUBMOUNT = 1 << 0,
    DAX = 1 << 1,
}

/// <summary><c>FUSE_RELEASE_*</c>.</summary>
[Flags]
public enum FuseReleaseFlags : uint
{
    None = 0,
    FLUSH = 1 << 0,
    FLOCK_UNLOCK = 1 << 1,
}

/// <summary><c>FUSE_WRITE_*</c>.</summary>
[Flags]
public enum FuseWriteFlags : uint
{
    None = 0,

    /// <summary>Written back from the page cache; the file handle is guessed.</summary>
    CACHE = 1 << 0,
    LOCKOWNER = 1 << 1,
    KILL_SUIDGID = 1 << 2,
}

/// <summary><c>FUSE_READ_*</c>.</summary>
[Flags]
public enum FuseReadFlags : uint
{
    None = 0,
    LOCKOWNER = 1 << 1,
}

/// <summary><c>FUSE_FSYNC_*</c>.</summary>
[Flags]
public enum FuseFsyncFlags : uint
{
    None = 0,

    /// <summary>Data only, as fdatasync(2).</summary>
    FDATASYNC = 1 << 0,
}

/// <summary><c>FUSE_LK_*</c>.</summary>
[Flags]
public enum FuseLkFlags : uint
{
    None = 0,

    /// <summary>A flock(2) lock of the whole file; the owner is the open file.</summary>
    FLOCK = 1 << 0,
}

/// <summary><c>FUSE_IOCTL_*</c>.</summary>
[Flags]
public enum FuseIoctlFlags : uint
{
    None = 0,
    COMPAT = 1 << 0,
    UNRESTRICTED = 1 << 1,
    RETRY = 1 << 2,
    IS_32BIT = 1 << 3,
    DIR = 1 << 4,
    COMPAT_X32 = 1 << 5,
}

/// <summary><c>FUSE_POLL_*</c>.</summary>
[Flags]
public enum FusePollFlags : uint
{
    None = 0,
    SCHEDULE_NOTIFY = 1 << 0,
}

/// <summary><c>RENAME_*</c> of renameat2(2).</summary>
[Flags]
public enum FuseRenameFlags : uint
{
    None = 0,
    NOREPLACE = 1 << 0,
    EXCHANGE = 1 << 1,
    WHITEOUT = 1 << 2,
}

/// <summary>Flags of an INVAL_ENTRY notification.</summary>
[Flags]
public enum FuseExpireFlags : uint
{
    None = 0,

    /// <summary>Only let the cached name expire: nothing mounted below is unmounted, open directories stay.</summary>
    EXPIRE_ONLY = 1 << 0,
}
