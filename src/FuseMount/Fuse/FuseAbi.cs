using System.Runtime.CompilerServices;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Numbers of the kernel protocol that are neither flags nor operations.</summary>
public static class FuseAbi
{
    /// <summary>The only major version there is to speak.</summary>
    public const uint KernelVersion = 7;

    /// <summary>Newest minor version that this code knows (Linux 6.18).</summary>
    public const uint NewestMinor = 45;

    /// <summary>Oldest minor version that is accepted (Linux 5.4): below it structures have other sizes.</summary>
    public const uint OldestMinor = 31;

    /// <summary>Node id of the root directory.</summary>
    public const ulong RootId = 1;

    /// <summary>In place of the caller's user and group where the kernel does not say them (<c>FUSE_INVALID_UIDGID</c>).</summary>
    public const uint NoUser = uint.MaxValue;

    /// <summary>Smallest buffer with which the kernel lets itself be read, bytes.</summary>
    public const int MinReadBuffer = 8192;

    /// <summary>Bit of <c>unique</c> that marks a request sent again after <see cref="FuseNotifyCode.RESEND"/>.</summary>
    public const ulong UniqueResend = 1UL << 63;

    /// <summary>Bit of <c>unique</c> that marks an INTERRUPT (<c>FUSE_INT_REQ_BIT</c> of fs/fuse/dev.c).</summary>
    public const ulong UniqueInterrupt = 1UL;

    /// <summary><c>FUSE_DEV_IOC_CLONE</c>: attaches a fresh descriptor of /dev/fuse to an existing connection.</summary>
    public const uint IocClone = 0x8004E500;

    /// <summary><c>FUSE_DEV_IOC_BACKING_OPEN</c>: registers a backing file, argument <see cref="FuseBackingMap"/>, result its id.</summary>
    public const uint IocBackingOpen = 0x4010E501;

    /// <summary><c>FUSE_DEV_IOC_BACKING_CLOSE</c>: argument the backing id as uint32.</summary>
    public const uint IocBackingClose = 0x4004E502;

    /// <summary>Rounds a record length up to 8 bytes (<c>FUSE_REC_ALIGN</c>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RecordAlign(int length) => (length + 7) & ~7;
}
