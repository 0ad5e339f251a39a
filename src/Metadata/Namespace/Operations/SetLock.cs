using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>F_SETLK, F_SETLKW and flock.</summary>
public static class SetLock
{
    /// <summary>The status of a request that waits: it goes to nobody, the service answers when the lock is granted.</summary>
    public const Status Waits = (Status)115;

    /// <summary>EAGAIN, EDEADLK, EINVAL; ESTALE for an unknown inode, where dropping a lock is success.</summary>
    public static Status Apply(VolumeState v, OpContext c, in SetLockRequest q, out Rpc.Empty r)
    {
        r = default;
        var status = v.Find(q.Ino, out _);
        if (status != Status.OK)
        {
            return q.Lock.Type == LockType.Unlock ? Status.OK : status;
        }

        var outcome = v.Locks.Set(
            q.Ino, new Locks.LockOwner(c.Session.Id, q.Owner), q.Flock, q.Lock, q.Wait && !c.IsReplay, out var ticket, c.Granted);
        c.Ticket = ticket;
        return outcome switch
        {
            Locks.LockOutcome.Granted => Status.OK,
            Locks.LockOutcome.Conflict => Errno.EAGAIN.ToStatus(),
            Locks.LockOutcome.Deadlock => Errno.EDEADLK.ToStatus(),
            Locks.LockOutcome.Queued => Waits,
            _ => Errno.EINVAL.ToStatus(),
        };
    }
}
