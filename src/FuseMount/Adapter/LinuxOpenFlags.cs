using EphemeralFs.Client.State;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>Flags of open(2) as the kernel passes them (x86-64 and arm64 agree on these).</summary>
internal static class LinuxOpenFlags
{
    private const uint O_ACCMODE = 3;
    private const uint O_EXCL = 0x80;
    private const uint O_TRUNC = 0x200;
    private const uint O_APPEND = 0x400;
    private const uint O_DSYNC = 0x1000;

    public static HandleFlags ToHandle(uint flags) =>
        ((flags & O_ACCMODE) != 0 ? HandleFlags.Write : HandleFlags.None)
        | ((flags & O_APPEND) != 0 ? HandleFlags.Append : HandleFlags.None)
        | ((flags & O_DSYNC) != 0 ? HandleFlags.Sync : HandleFlags.None);

    public static OpenFlags ToOpen(uint flags, bool killSuidgid) =>
        ((flags & O_ACCMODE) != 0 ? OpenFlags.Write : OpenFlags.None)
        | ((flags & O_TRUNC) != 0 ? OpenFlags.Truncate : OpenFlags.None)
        | ((flags & O_EXCL) != 0 ? OpenFlags.Exclusive : OpenFlags.None)
        | (killSuidgid ? OpenFlags.KillSuidgid : OpenFlags.None);
}
