using System.Collections.Concurrent;
using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Locks;

/// <summary>fcntl(2) and flock(2) locks; they live at the metadata server.</summary>
/// <param name="session">The session.</param>
/// <param name="inherited">Whether a predecessor may have taken locks that this object does not know of.</param>
public sealed class VolumeLocks(MetadataSession session, bool inherited)
{
    private readonly ConcurrentDictionary<(ulong Ino, ulong Owner), bool> _posixOwners = new();

    /// <summary>The first conflicting lock, of type Unlock if there is none.</summary>
    public async ValueTask<(Status Status, LockRange Lock)> GetAsync(ulong ino, ulong owner, LockRange range)
    {
        var result = await session.QueryAsync<GetLockRequest, GetLockReply>(new(ino, owner, range));
        return (result.Status, result.Value.Lock);
    }

    /// <summary>Sets, changes or drops a lock; waits for it if told to, until <see cref="Operation.Interrupted"/>.</summary>
    public async ValueTask<Status> SetAsync(Operation operation, ulong ino, ulong owner, bool flock, bool wait, LockRange range)
    {
        if (!flock && range.Type != LockType.Unlock)
        {
            _posixOwners[(ino, owner)] = true;
        }

        var request = new SetLockRequest(ino, owner, flock, wait, range);
        if (!wait)
        {
            return (await session.MutateAsync<SetLockRequest, Empty>(operation, request)).Status;
        }

        // A lock is waited for as long as the program wants it, over restarts of the server too.
        var waiting = session.MutateAsync<SetLockRequest, Empty>(operation, request, timeoutMs: int.MaxValue);
        await using var registration = operation.Interrupted.Register(
            () => _ = session.QueryAsync<CancelLockRequest, Empty>(new(operation.Last.Slot, operation.Last.Sequence)).AsTask());
        return (await waiting).Status;
    }

    /// <summary>close(2): the owner's fcntl locks on the inode are dropped.</summary>
    public async ValueTask<Status> ReleaseOwnerAsync(Operation operation, ulong ino, ulong owner)
    {
        if (!_posixOwners.TryRemove((ino, owner), out _) && !inherited)
        {
            return Status.OK;
        }

        return await SetAsync(operation, ino, owner, flock: false, wait: false, new LockRange(LockType.Unlock, 0, long.MaxValue, 0));
    }
}
