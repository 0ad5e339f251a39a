using System.Runtime.InteropServices;

namespace EphemeralFs.FuseMount.Fuse;

// Headers, attributes and negotiation, as uapi linux/fuse.h 7.45 has them: explicit offsets, sizes asserted by FuseAbiTests.

/// <summary><c>struct fuse_in_header</c>, 40 bytes. Starts every request. <c>TotalExtLength</c> counts units of 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct FuseInHeader
{
    [FieldOffset(0)] public uint Length;
    [FieldOffset(4)] public FuseOpcode Opcode;
    [FieldOffset(8)] public ulong Unique;
    [FieldOffset(16)] public ulong NodeId;
    [FieldOffset(24)] public uint Uid;
    [FieldOffset(28)] public uint Gid;
    [FieldOffset(32)] public uint Pid;
    [FieldOffset(36)] public ushort TotalExtLength;
    [FieldOffset(38)] public ushort Padding;
}

/// <summary><c>struct fuse_out_header</c>, 16 bytes. Starts every reply (error = -errno) and notification (error = code, unique 0).</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseOutHeader
{
    [FieldOffset(0)] public uint Length;
    [FieldOffset(4)] public int Error;
    [FieldOffset(8)] public ulong Unique;
}

/// <summary><c>struct fuse_attr</c>, 88 bytes. Attributes. <c>Blocks</c> counts 512 bytes, <c>Rdev</c> is <c>new_encode_dev</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 88)]
public struct FuseAttr
{
    [FieldOffset(0)] public ulong Ino;
    [FieldOffset(8)] public ulong Size;
    [FieldOffset(16)] public ulong Blocks;
    [FieldOffset(24)] public ulong Atime;
    [FieldOffset(32)] public ulong Mtime;
    [FieldOffset(40)] public ulong Ctime;
    [FieldOffset(48)] public uint AtimeNsec;
    [FieldOffset(52)] public uint MtimeNsec;
    [FieldOffset(56)] public uint CtimeNsec;
    [FieldOffset(60)] public uint Mode;
    [FieldOffset(64)] public uint Nlink;
    [FieldOffset(68)] public uint Uid;
    [FieldOffset(72)] public uint Gid;
    [FieldOffset(76)] public uint Rdev;
    [FieldOffset(80)] public uint BlockSize;
    [FieldOffset(84)] public FuseAttrFlags Flags;
}

/// <summary><c>struct fuse_kstatfs</c>, 80 bytes. statfs(2): counts are in units of <c>FragmentSize</c> bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 80)]
public struct FuseKstatfs
{
    [FieldOffset(0)] public ulong Blocks;
    [FieldOffset(8)] public ulong BlocksFree;
    [FieldOffset(16)] public ulong BlocksAvailable;
    [FieldOffset(24)] public ulong Files;
    [FieldOffset(32)] public ulong FilesFree;
    [FieldOffset(40)] public uint BlockSize;
    [FieldOffset(44)] public uint NameLength;
    [FieldOffset(48)] public uint FragmentSize;
}

/// <summary><c>struct fuse_file_lock</c>, 24 bytes. A POSIX lock: <c>End</c> is the last byte, <c>Type</c> F_RDLCK 0, F_WRLCK 1, F_UNLCK 2.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseFileLock
{
    [FieldOffset(0)] public ulong Start;
    [FieldOffset(8)] public ulong End;
    [FieldOffset(16)] public uint Type;
    [FieldOffset(20)] public uint Pid;
}

/// <summary><c>struct fuse_sx_time</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseSxTime
{
    [FieldOffset(0)] public long Seconds;
    [FieldOffset(8)] public uint Nanoseconds;
    [FieldOffset(12)] public int Reserved;
}

/// <summary><c>struct fuse_statx</c>, 256 bytes. As <c>struct statx</c> of statx(2).</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
public struct FuseStatx
{
    [FieldOffset(0)] public uint Mask;
    [FieldOffset(4)] public uint BlockSize;
    [FieldOffset(8)] public ulong Attributes;
    [FieldOffset(16)] public uint Nlink;
    [FieldOffset(20)] public uint Uid;
    [FieldOffset(24)] public uint Gid;
    [FieldOffset(28)] public ushort Mode;
    [FieldOffset(30)] public ushort Spare0;
    [FieldOffset(32)] public ulong Ino;
    [FieldOffset(40)] public ulong Size;
    [FieldOffset(48)] public ulong Blocks;
    [FieldOffset(56)] public ulong AttributesMask;
    [FieldOffset(64)] public FuseSxTime Atime;
    [FieldOffset(80)] public FuseSxTime Btime;
    [FieldOffset(96)] public FuseSxTime Ctime;
    [FieldOffset(112)] public FuseSxTime Mtime;
    [FieldOffset(128)] public uint RdevMajor;
    [FieldOffset(132)] public uint RdevMinor;
    [FieldOffset(136)] public uint DevMajor;
    [FieldOffset(140)] public uint DevMinor;
}

/// <summary><c>struct fuse_backing_map</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseBackingMap
{
    [FieldOffset(0)] public int Fd;
    [FieldOffset(4)] public uint Flags;
    [FieldOffset(8)] public ulong Padding;
}

/// <summary><c>struct fuse_init_in</c>, 64 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public struct FuseInitIn
{
    [FieldOffset(0)] public uint Major;
    [FieldOffset(4)] public uint Minor;
    [FieldOffset(8)] public uint MaxReadahead;
    [FieldOffset(12)] public uint Flags;
    [FieldOffset(16)] public uint Flags2;
}

/// <summary><c>struct fuse_init_out</c>, 64 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public struct FuseInitOut
{
    [FieldOffset(0)] public uint Major;
    [FieldOffset(4)] public uint Minor;
    [FieldOffset(8)] public uint MaxReadahead;
    [FieldOffset(12)] public uint Flags;
    [FieldOffset(16)] public ushort MaxBackground;
    [FieldOffset(18)] public ushort CongestionThreshold;
    [FieldOffset(20)] public uint MaxWrite;
    [FieldOffset(24)] public uint TimeGranularity;
    [FieldOffset(28)] public ushort MaxPages;
    [FieldOffset(30)] public ushort MapAlignment;
    [FieldOffset(32)] public uint Flags2;
    [FieldOffset(36)] public uint MaxStackDepth;
    [FieldOffset(40)] public ushort RequestTimeout;
}
