using System.Runtime.InteropServices;

namespace EphemeralFs.FuseMount.Fuse;

// What follows the header of each request, as uapi linux/fuse.h 7.45 has them: explicit offsets, sizes asserted by FuseAbiTests.

/// <summary><c>struct fuse_forget_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseForgetIn
{
    [FieldOffset(0)] public ulong Nlookup;
}

/// <summary><c>struct fuse_batch_forget_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseBatchForgetIn
{
    [FieldOffset(0)] public uint Count;
    [FieldOffset(4)] public uint Dummy;
}

/// <summary><c>struct fuse_getattr_in</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseGetattrIn
{
    [FieldOffset(0)] public FuseGetattrFlags Flags;
    [FieldOffset(4)] public uint Dummy;
    [FieldOffset(8)] public ulong Fh;
}

/// <summary><c>struct fuse_statx_in</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseStatxIn
{
    [FieldOffset(0)] public FuseGetattrFlags Flags;
    [FieldOffset(4)] public uint Reserved;
    [FieldOffset(8)] public ulong Fh;
    [FieldOffset(16)] public uint SxFlags;
    [FieldOffset(20)] public uint SxMask;
}

/// <summary><c>struct fuse_mknod_in</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseMknodIn
{
    [FieldOffset(0)] public uint Mode;
    [FieldOffset(4)] public uint Rdev;
    [FieldOffset(8)] public uint Umask;
    [FieldOffset(12)] public uint Padding;
}

/// <summary><c>struct fuse_mkdir_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseMkdirIn
{
    [FieldOffset(0)] public uint Mode;
    [FieldOffset(4)] public uint Umask;
}

/// <summary><c>struct fuse_rename_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseRenameIn
{
    [FieldOffset(0)] public ulong NewDir;
}

/// <summary><c>struct fuse_rename2_in</c>, 16 bytes. Also read from a plain RENAME: its flags are 0.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseRename2In
{
    [FieldOffset(0)] public ulong NewDir;
    [FieldOffset(8)] public FuseRenameFlags Flags;
    [FieldOffset(12)] public uint Padding;
}

/// <summary><c>struct fuse_link_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseLinkIn
{
    [FieldOffset(0)] public ulong OldNodeId;
}

/// <summary><c>struct fuse_setattr_in</c>, 88 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 88)]
public struct FuseSetattrIn
{
    [FieldOffset(0)] public FuseSetattrValid Valid;
    [FieldOffset(4)] public uint Padding;
    [FieldOffset(8)] public ulong Fh;
    [FieldOffset(16)] public ulong Size;
    [FieldOffset(24)] public ulong LockOwner;
    [FieldOffset(32)] public ulong Atime;
    [FieldOffset(40)] public ulong Mtime;
    [FieldOffset(48)] public ulong Ctime;
    [FieldOffset(56)] public uint AtimeNsec;
    [FieldOffset(60)] public uint MtimeNsec;
    [FieldOffset(64)] public uint CtimeNsec;
    [FieldOffset(68)] public uint Mode;
    [FieldOffset(72)] public uint Unused4;
    [FieldOffset(76)] public uint Uid;
    [FieldOffset(80)] public uint Gid;
    [FieldOffset(84)] public uint Unused5;
}

/// <summary><c>struct fuse_open_in</c>, 8 bytes. OPEN and OPENDIR. <c>Flags</c> are those of open(2), without O_CREAT, O_EXCL, O_NOCTTY.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseOpenIn
{
    [FieldOffset(0)] public uint Flags;
    [FieldOffset(4)] public FuseOpenInFlags OpenFlags;
}

/// <summary><c>struct fuse_create_in</c>, 16 bytes. CREATE and TMPFILE.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseCreateIn
{
    [FieldOffset(0)] public uint Flags;
    [FieldOffset(4)] public uint Mode;
    [FieldOffset(8)] public uint Umask;
    [FieldOffset(12)] public FuseOpenInFlags OpenFlags;
}

/// <summary><c>struct fuse_release_in</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseReleaseIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public uint Flags;
    [FieldOffset(12)] public FuseReleaseFlags ReleaseFlags;
    [FieldOffset(16)] public ulong LockOwner;
}

/// <summary><c>struct fuse_flush_in</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseFlushIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public uint Unused;
    [FieldOffset(12)] public uint Padding;
    [FieldOffset(16)] public ulong LockOwner;
}

/// <summary><c>struct fuse_read_in</c>, 40 bytes. READ, READDIR and READDIRPLUS. <c>Size</c> bounds the reply, bytes; <c>Flags</c> are those of open(2).</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct FuseReadIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint Size;
    [FieldOffset(20)] public FuseReadFlags ReadFlags;
    [FieldOffset(24)] public ulong LockOwner;
    [FieldOffset(32)] public uint Flags;
    [FieldOffset(36)] public uint Padding;
}

/// <summary><c>struct fuse_write_in</c>, 40 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct FuseWriteIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint Size;
    [FieldOffset(20)] public FuseWriteFlags WriteFlags;
    [FieldOffset(24)] public ulong LockOwner;
    [FieldOffset(32)] public uint Flags;
    [FieldOffset(36)] public uint Padding;
}

/// <summary><c>struct fuse_fsync_in</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseFsyncIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public FuseFsyncFlags FsyncFlags;
    [FieldOffset(12)] public uint Padding;
}

/// <summary><c>struct fuse_setxattr_in</c>, 16 bytes. <c>Flags</c> XATTR_CREATE 1, XATTR_REPLACE 2; <c>SetxattrFlags</c> bit 0 FUSE_SETXATTR_ACL_KILL_SGID.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseSetxattrIn
{
    [FieldOffset(0)] public uint Size;
    [FieldOffset(4)] public uint Flags;
    [FieldOffset(8)] public uint SetxattrFlags;
    [FieldOffset(12)] public uint Padding;
}

/// <summary><c>struct fuse_getxattr_in</c>, 8 bytes. GETXATTR and LISTXATTR. Size 0 asks for the size only.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseGetxattrIn
{
    [FieldOffset(0)] public uint Size;
    [FieldOffset(4)] public uint Padding;
}

/// <summary><c>struct fuse_lk_in</c>, 48 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
public struct FuseLkIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public ulong Owner;
    [FieldOffset(16)] public FuseFileLock Lock;
    [FieldOffset(40)] public FuseLkFlags LkFlags;
    [FieldOffset(44)] public uint Padding;
}

/// <summary><c>struct fuse_access_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseAccessIn
{
    [FieldOffset(0)] public uint Mask;
    [FieldOffset(4)] public uint Padding;
}

/// <summary><c>struct fuse_interrupt_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseInterruptIn
{
    [FieldOffset(0)] public ulong Unique;
}

/// <summary><c>struct fuse_bmap_in</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseBmapIn
{
    [FieldOffset(0)] public ulong Block;
    [FieldOffset(8)] public uint BlockSize;
    [FieldOffset(12)] public uint Padding;
}

/// <summary><c>struct fuse_ioctl_in</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct FuseIoctlIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public FuseIoctlFlags Flags;
    [FieldOffset(12)] public uint Command;
    [FieldOffset(16)] public ulong Argument;
    [FieldOffset(24)] public uint InSize;
    [FieldOffset(28)] public uint OutSize;
}

/// <summary><c>struct fuse_poll_in</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FusePollIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public ulong Kh;
    [FieldOffset(16)] public FusePollFlags Flags;
    [FieldOffset(20)] public uint Events;
}

/// <summary><c>struct fuse_fallocate_in</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct FuseFallocateIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public ulong Length;
    [FieldOffset(24)] public uint Mode;
    [FieldOffset(28)] public uint Padding;
}

/// <summary><c>struct fuse_lseek_in</c>, 24 bytes. <c>Whence</c> SEEK_DATA 3, SEEK_HOLE 4.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseLseekIn
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint Whence;
    [FieldOffset(20)] public uint Padding;
}

/// <summary><c>struct fuse_copy_file_range_in</c>, 56 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 56)]
public struct FuseCopyFileRangeIn
{
    [FieldOffset(0)] public ulong FhIn;
    [FieldOffset(8)] public ulong OffsetIn;
    [FieldOffset(16)] public ulong NodeIdOut;
    [FieldOffset(24)] public ulong FhOut;
    [FieldOffset(32)] public ulong OffsetOut;
    [FieldOffset(40)] public ulong Length;
    [FieldOffset(48)] public ulong Flags;
}

/// <summary><c>struct fuse_syncfs_in</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseSyncfsIn
{
    [FieldOffset(0)] public ulong Padding;
}

/// <summary><c>struct fuse_notify_retrieve_in</c>, 40 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct FuseNotifyRetrieveIn
{
    [FieldOffset(0)] public ulong Dummy1;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint Size;
    [FieldOffset(20)] public uint Dummy2;
    [FieldOffset(24)] public ulong Dummy3;
    [FieldOffset(32)] public ulong Dummy4;
}

/// <summary><c>struct fuse_forget_one</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseForgetOne
{
    [FieldOffset(0)] public ulong NodeId;
    [FieldOffset(8)] public ulong Nlookup;
}
