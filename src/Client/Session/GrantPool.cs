using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Session;

/// <summary>What the node may hand out without asking: inode numbers, block numbers and quota bytes.</summary>
public sealed class GrantPool(MetadataSession session, NodeMemory memory)
{
    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _refill = new(1);
    private ulong _life = memory.Header.Life;

    /// <summary>Quota bytes in hand.</summary>
    public long UnusedBytes => Volatile.Read(ref memory.Header.UnusedGrantBytes);

    /// <summary>The next inode number.</summary>
    public async ValueTask<(Status Status, ulong Ino)> TakeInodeAsync()
    {
        while (true)
        {
            lock (_lock)
            {
                if (memory.Header.NextInode < memory.Header.EndInode)
                {
                    return (Status.OK, memory.Header.NextInode++);
                }
            }

            var status = await RefillAsync(() => memory.Header.NextInode < memory.Header.EndInode, 0, Limits.GrantInodes, 0);
            if (status != Status.OK)
            {
                return (status, 0);
            }
        }
    }

    /// <summary>The next block id.</summary>
    public async ValueTask<(Status Status, ulong BlockId)> TakeBlockAsync()
    {
        while (true)
        {
            lock (_lock)
            {
                if (memory.Header.NextBlock < memory.Header.EndBlock)
                {
                    return (Status.OK, memory.Header.NextBlock++);
                }
            }

            var status = await RefillAsync(() => memory.Header.NextBlock < memory.Header.EndBlock, 0, 0, Limits.GrantBlocks);
            if (status != Status.OK)
            {
                return (status, 0);
            }
        }
    }

    /// <summary>Reserves quota if it is in hand.</summary>
    public bool TryReserve(long bytes)
    {
        lock (_lock)
        {
            if (memory.Header.UnusedGrantBytes < bytes)
            {
                return false;
            }

            memory.Header.UnusedGrantBytes -= bytes;
            return true;
        }
    }

    /// <summary>Makes at least <paramref name="bytes"/> available for <see cref="TryReserve"/>; ENOSPC when the volume has no more.</summary>
    public async ValueTask<Status> AcquireAsync(long bytes)
    {
        var asked = Math.Max(bytes, Limits.GrantQuantumBytes);
        var status = await RefillAsync(() => UnusedBytes >= bytes, (ulong)asked, 0, 0);
        return status != Status.OK ? status : UnusedBytes >= bytes ? Status.OK : Errno.ENOSPC.ToStatus();
    }

    /// <summary>Quota that was reserved and not needed.</summary>
    public void Return(long bytes)
    {
        lock (_lock)
        {
            memory.Header.UnusedGrantBytes += bytes;
        }
    }

    /// <summary>The same, of a life of the session: what an ended one had is the server's again.</summary>
    public void Return(long bytes, ulong life)
    {
        lock (_lock)
        {
            if (life == _life)
            {
                memory.Header.UnusedGrantBytes += bytes;
            }
        }
    }

    /// <summary>
    /// A daemon takes the session over from one that died. What that one had in hand may be wrong by what it was about to note: answers that it did not live to hear,
    /// reservations that it made or gave back. The server knows what is granted, and nothing is under way.
    /// </summary>
    /// <param name="grantedBytes">What the server has granted and no commit has used.</param>
    /// <param name="reservedBytes">What of it is reserved for unflushed bytes.</param>
    internal void TakeOver(ulong grantedBytes, long reservedBytes)
    {
        lock (_lock)
        {
            memory.Header.UnusedGrantBytes = (long)grantedBytes - reservedBytes;
        }
    }

    /// <summary>The session has ended, and its grants with it.</summary>
    internal void EndSession()
    {
        lock (_lock)
        {
            _life = memory.Header.Life + 1;
            ref var header = ref memory.Header;
            (header.NextInode, header.EndInode, header.NextBlock, header.EndBlock, header.UnusedGrantBytes) = (0, 0, 0, 0, 0);
        }
    }

    /// <summary>Gives up all unused quota, for the server that is short of it.</summary>
    public long Surrender()
    {
        lock (_lock)
        {
            var bytes = Math.Max(0, memory.Header.UnusedGrantBytes);
            memory.Header.UnusedGrantBytes -= bytes;
            return bytes;
        }
    }

    private async ValueTask<Status> RefillAsync(Func<bool> enough, ulong bytes, uint inodes, uint blocks)
    {
        await _refill.WaitAsync();
        var operation = session.Begin();
        try
        {
            if (enough())
            {
                return Status.OK;
            }

            var result = await session.MutateAsync<AcquireGrantRequest, AcquireGrantReply>(operation, new(bytes, inodes, blocks));
            if (!result.IsOk)
            {
                return result.Status;
            }

            lock (_lock)
            {
                if (operation.Life != _life)
                {
                    return Status.StaleEpoch;
                }

                memory.Header.UnusedGrantBytes += (long)result.Value.Bytes;
                if (result.Value.Inodes > 0)
                {
                    memory.Header.NextInode = result.Value.FirstInode;
                    memory.Header.EndInode = result.Value.FirstInode + result.Value.Inodes;
                }

                if (result.Value.Blocks > 0)
                {
                    memory.Header.NextBlock = result.Value.FirstBlock;
                    memory.Header.EndBlock = result.Value.FirstBlock + result.Value.Blocks;
                }
            }

            return Status.OK;
        }
        finally
        {
            operation.Complete();
            _refill.Release();
        }
    }
}
