using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>F_GETLK.</summary>
public static class GetLock
{
    /// <summary>ESTALE for an unknown inode.</summary>
    public static Status Apply(VolumeState v, OpContext c, in GetLockRequest q, out GetLockReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out _);
        if (status == Status.OK)
        {
            v.Locks.TryGetConflict(q.Ino, new Locks.LockOwner(c.Session.Id, q.Owner), q.Lock, out _, out var conflict);
            r = new GetLockReply(conflict);
        }

        return status;
    }
}
