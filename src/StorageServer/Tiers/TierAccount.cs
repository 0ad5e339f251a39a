namespace EphemeralFs.StorageServer.Tiers;

/// <summary>Exact book of a tier's capacity, without a lock.</summary>
internal sealed class TierAccount(long capacityBytes)
{
    private long _used;
    private long _blocks;

    public long CapacityBytes { get; } = capacityBytes;

    public long UsedBytes => Volatile.Read(ref _used);

    public long Blocks => Volatile.Read(ref _blocks);

    /// <summary>Takes room for one block; false when it does not fit.</summary>
    public bool TryTake(long bytes)
    {
        var used = Volatile.Read(ref _used);
        while (used + bytes <= CapacityBytes)
        {
            var seen = Interlocked.CompareExchange(ref _used, used + bytes, used);
            if (seen == used)
            {
                Interlocked.Increment(ref _blocks);
                return true;
            }

            used = seen;
        }

        return false;
    }

    /// <summary>Counts a block that is there already, also beyond the capacity: the capacity may have been lowered between two starts.</summary>
    public void Count(long bytes)
    {
        Interlocked.Add(ref _used, bytes);
        Interlocked.Increment(ref _blocks);
    }

    /// <summary>Gives the room of blocks back.</summary>
    public void Return(long bytes, long blocks = 1)
    {
        Interlocked.Add(ref _used, -bytes);
        Interlocked.Add(ref _blocks, -blocks);
    }
}
