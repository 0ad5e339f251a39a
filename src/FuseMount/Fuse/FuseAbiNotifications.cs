using System.Runtime.InteropServices;

namespace EphemeralFs.FuseMount.Fuse;

// Notifications, as uapi linux/fuse.h 7.45 has them: explicit offsets, sizes asserted by FuseAbiTests.

/// <summary><c>struct fuse_notify_inval_inode_out</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseNotifyInvalInodeOut
{
    [FieldOffset(0)] public ulong Ino;
    [FieldOffset(8)] public long Offset;
    [FieldOffset(16)] public long Length;
}

/// <summary><c>struct fuse_notify_inval_entry_out</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct FuseNotifyInvalEntryOut
{
    [FieldOffset(0)] public ulong Parent;
    [FieldOffset(8)] public uint NameLength;
    [FieldOffset(12)] public FuseExpireFlags Flags;
}

/// <summary><c>struct fuse_notify_delete_out</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct FuseNotifyDeleteOut
{
    [FieldOffset(0)] public ulong Parent;
    [FieldOffset(8)] public ulong Child;
    [FieldOffset(16)] public uint NameLength;
    [FieldOffset(20)] public uint Padding;
}

/// <summary><c>struct fuse_notify_poll_wakeup_out</c>, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct FuseNotifyPollWakeupOut
{
    [FieldOffset(0)] public ulong Kh;
}
