using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Metadata.Service;

/// <summary>Blocks that a volume does not need any more, by storage server. Each is deleted unless another volume refers to it.</summary>
internal interface IUnneededBlocks
{
    /// <summary>Storage servers that have some of them.</summary>
    uint[] ServersWithDeletes();

    /// <summary>The next blocks of a storage server, oldest first. They stay until <see cref="Deleted"/>.</summary>
    ulong[] NextDeletes(uint server, int max);

    /// <summary>The storage server has deleted the first blocks, or others refer to them.</summary>
    void Deleted(uint server, int count);
}

/// <summary>A volume that was deleted and referred to blocks of others, or others refer to its blocks: what it did not share is deleted block by block.</summary>
/// <remarks>Its directory is kept until that is done. A restart begins with the whole list again: deleting twice is nothing.</remarks>
internal sealed class DeletedVolume(SortedDictionary<uint, DeleteQueue> queues) : IUnneededBlocks
{
    private readonly Lock _lock = new();

    /// <summary>Nothing is left to do.</summary>
    public bool IsDone
    {
        get
        {
            lock (_lock)
            {
                return queues.Count == 0;
            }
        }
    }

    public uint[] ServersWithDeletes()
    {
        lock (_lock)
        {
            return [.. queues.Keys];
        }
    }

    public ulong[] NextDeletes(uint server, int max)
    {
        lock (_lock)
        {
            return queues.TryGetValue(server, out var queue) ? queue.Ids[..Math.Min(max, queue.Count)].ToArray() : [];
        }
    }

    public void Deleted(uint server, int count)
    {
        lock (_lock)
        {
            queues[server].RemoveFirst(count);
            if (queues[server].Count == 0)
            {
                queues.Remove(server);
            }
        }
    }
}
