using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Locks;

/// <summary>fcntl(2) and flock(2) locks; they live at the metadata server.</summary>
/// <remarks>
/// The kernel says which owner closes (FLUSH) and which handle is gone (RELEASE), but not whether an owner is a process or an open
/// file description. A process's locks went at FLUSH, so what an owner still holds through a handle at its RELEASE are OFD locks.
/// Locks of a predecessor are not known here; the server drops them with the last handle.
/// </remarks>
/// <param name="session">The session.</param>
/// <param name="inherited">Whether a predecessor may have taken locks that this object does not know of.</param>
public sealed class VolumeLocks(MetadataSession session, bool inherited)
{
    private readonly Lock _lock = new();

    /// <summary>Owners of fcntl locks by inode, each with the handles through which it took them.</summary>
    private readonly Dictionary<ulong, Dictionary<ulong, HashSet<ulong>>> _owners = [];

    /// <summary>The first conflicting lock, of type Unlock if there is none.</summary>
    public async ValueTask<(Status Status, LockRange Lock)> GetAsync(ulong ino, ulong owner, LockRange range)
    {
        var result = await session.QueryAsync<GetLockRequest, GetLockReply>(new(ino, owner, range));
        return (result.Status, result.Value.Lock);
    }

    /// <summary>fcntl: sets, changes or drops a lock through a handle; waits for it if told to, until <see cref="Operation.Interrupted"/>.</summary>
    public ValueTask<Status> SetAsync(Operation operation, ulong ino, ulong handle, ulong owner, bool wait, LockRange range)
    {
        if (range.Type != LockType.Unlock)
        {
            Remember(ino, handle, owner);
        }

        return SendAsync(operation, ino, owner, flock: false, wait, range);
    }

    /// <summary>flock: takes, converts or drops the lock of an open file description.</summary>
    public ValueTask<Status> SetFlockAsync(Operation operation, ulong ino, ulong owner, bool wait, LockType type) =>
        SendAsync(operation, ino, owner, flock: true, wait, WholeFile(type));

    /// <summary>close(2) by a process: its fcntl locks on the inode are dropped.</summary>
    public async ValueTask<Status> ReleaseOwnerAsync(Operation operation, ulong ino, ulong owner) =>
        Forget(ino, owner) || inherited ? await DropAsync(operation, ino, owner) : Status.OK;

    /// <summary>The last reference to an open file description is gone, and its OFD locks with it.</summary>
    public async ValueTask ReleaseHandleAsync(Operation operation, ulong ino, ulong handle)
    {
        foreach (var owner in TakeOwners(ino, handle))
        {
            await DropAsync(operation, ino, owner);
        }
    }

    /// <summary>The session has ended, and all locks with it.</summary>
    internal void EndSession()
    {
        lock (_lock)
        {
            _owners.Clear();
        }
    }

    private ValueTask<Status> DropAsync(Operation operation, ulong ino, ulong owner) =>
        SendAsync(operation, ino, owner, flock: false, wait: false, WholeFile(LockType.Unlock));

    private static LockRange WholeFile(LockType type) => new(type, 0, long.MaxValue, 0);

    private async ValueTask<Status> SendAsync(Operation operation, ulong ino, ulong owner, bool flock, bool wait, LockRange range)
    {
        var request = new SetLockRequest(ino, owner, flock, wait, range);
        if (!wait)
        {
            return (await session.MutateAsync<SetLockRequest, Empty>(operation, request)).Status;
        }

        // The program may be interrupted at any time, which then must know the slot.
        if (await session.SendDeferredAsync(Opcode.SetLock) is not Status.OK and var status)
        {
            return status;
        }

        // A lock is waited for as long as the program wants it, over restarts of the server too.
        var waiting = session.MutatePastDeferredAsync<SetLockRequest, Empty>(operation, request, timeoutMs: int.MaxValue);
        await using var registration = operation.Interrupted.Register(
            () => _ = session.QueryAsync<CancelLockRequest, Empty>(new(operation.Last.Slot, operation.Last.Sequence)).AsTask());
        return (await waiting).Status;
    }

    private void Remember(ulong ino, ulong handle, ulong owner)
    {
        lock (_lock)
        {
            if (!_owners.TryGetValue(ino, out var owners))
            {
                _owners[ino] = owners = [];
            }

            if (!owners.TryGetValue(owner, out var handles))
            {
                owners[owner] = handles = [];
            }

            handles.Add(handle);
        }
    }

    private bool Forget(ulong ino, ulong owner)
    {
        lock (_lock)
        {
            if (!_owners.TryGetValue(ino, out var owners) || !owners.Remove(owner))
            {
                return false;
            }

            if (owners.Count == 0)
            {
                _owners.Remove(ino);
            }

            return true;
        }
    }

    private ulong[] TakeOwners(ulong ino, ulong handle)
    {
        lock (_lock)
        {
            if (!_owners.TryGetValue(ino, out var owners))
            {
                return [];
            }

            ulong[] taken = [.. owners.Where(entry => entry.Value.Contains(handle)).Select(entry => entry.Key)];
            foreach (var owner in taken)
            {
                Forget(ino, owner);
            }

            return taken;
        }
    }
}
