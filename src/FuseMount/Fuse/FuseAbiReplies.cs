using System.Runtime.InteropServices;

namespace EphemeralFs.FuseMount.Fuse;

// What follows the header of each reply, as uapi linux/fuse.h 7.45 has them: explicit offsets, sizes asserted by FuseAbiTests.

/// <summary><c>struct fuse_entry_out</c>, 128 bytes. Answer to whatever makes a name. The kernel counts one reference (nlookup) for each; node id 0 is a cached absence, without a reference.</summary>
[StructLayout(LayoutKind.Explicit, Size = 128)]
public struct FuseEntryOut
{
    [FieldOffset(0)] public ulong NodeId;
    [FieldOffset(8)] public ulong Generation;
    [FieldOffset(16)] public ulong EntryValid;
    [FieldOffset(24)] public ulong AttrValid;
    [FieldOffset(32)] public uint EntryValidNsec;
    [FieldOffset(36)] public uint AttrValidNsec;
    [FieldOffset(40)] public FuseAttr Attr;
}

/// <summary><c>struct fuse_attr_out</c>, 104 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 104)]
public struct FuseAttrOut
{
    [FieldOffset(0)] public ulong AttrValid;
    [FieldOffset(8)] public uint AttrValidNsec;
    [FieldOffset(12)] public uint Dummy;
    [FieldOffset(16)] public FuseAttr Attr;
}

/// <summary><c>struct fuse_statx_out</c>, 288 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 288)]
public struct FuseStatxOut
{
    [FieldOffset(0)] public ulong AttrValid;
    [FieldOffset(8)] public uint AttrValidNsec;
    [FieldOffset(12)] public uint Flags;
    [FieldOffset(16)] public ulong Spare0;
    [FieldOffset(24)] public ulong Spare1;
    [FieldOffset(32)] public FuseStatx Stat;
}

/// <summary><c>struct fuse_open_out</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseOpenOut
{
    [FieldOffset(0)] public ulong Fh;
    [FieldOffset(8)] public FuseOpenFlags OpenFlags;
    [FieldOffset(12)] public int BackingId;
}

/// <summary><c>struct fuse_write_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseWriteOut
{
    [FieldOffset(0)] public uint Size;
    [FieldOffset(4)] public uint Padding;
}

/// <summary><c>struct fuse_getxattr_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseGetxattrOut
{
    [FieldOffset(0)] public uint Size;
    [FieldOffset(4)] public uint Padding;
}

/// <summary><c>struct fuse_lk_out</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseLkOut
{
    [FieldOffset(0)] public FuseFileLock Lock;
}

/// <summary><c>struct fuse_bmap_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseBmapOut
{
    [FieldOffset(0)] public ulong Block;
}

/// <summary><c>struct fuse_ioctl_out</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseIoctlOut
{
    [FieldOffset(0)] public int Result;
    [FieldOffset(4)] public FuseIoctlFlags Flags;
    [FieldOffset(8)] public uint InIovs;
    [FieldOffset(12)] public uint OutIovs;
}

/// <summary><c>struct fuse_poll_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FusePollOut
{
    [FieldOffset(0)] public uint Revents;
    [FieldOffset(4)] public uint Padding;
}

/// <summary><c>struct fuse_lseek_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseLseekOut
{
    [FieldOffset(0)] public ulong Offset;
}

/// <summary><c>struct fuse_copy_file_range_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseCopyFileRangeOut
{
    [FieldOffset(0)] public ulong BytesCopied;
}

/// <summary><c>struct fuse_dirent</c>, 24 bytes. The name follows, padded to 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseDirent
{
    [FieldOffset(0)] public ulong Ino;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint NameLength;
    [FieldOffset(20)] public uint Type;
}

/// <summary><c>struct fuse_direntplus</c>, 152 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
public struct FuseDirentPlus
{
    [FieldOffset(0)] public FuseEntryOut Entry;
    [FieldOffset(128)] public FuseDirent Dirent;
}
