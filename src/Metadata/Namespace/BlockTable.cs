using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>How many extents refer to each block of a volume, and which blocks storage servers shall delete.</summary>
public sealed class BlockTable
{
    private readonly Dictionary<ulong, int> _references = [];

    /// <summary>Blocks that nobody refers to any more, by storage server, in the order in which they were dropped.</summary>
    public SortedDictionary<uint, DeleteQueue> DeleteQueues { get; } = [];

    /// <summary>Number of blocks in use.</summary>
    public int Count => _references.Count;

    /// <summary>Blocks in use with their number of extents, in no particular order.</summary>
    public IEnumerable<KeyValuePair<ulong, int>> References => _references;

    /// <summary>Extents that refer to a block.</summary>
    public int ReferencesTo(ulong blockId) => _references.GetValueOrDefault(blockId);

    /// <summary>One more extent of a block.</summary>
    public void AddReference(in Extent extent)
    {
        if (!extent.IsUnwritten)
        {
            CollectionsMarshal.GetValueRefOrAddDefault(_references, extent.BlockId, out _)++;
        }
    }

    /// <summary>One extent of a block less; after the last one the block is queued for deletion.</summary>
    public void DropReference(in Extent extent)
    {
        if (extent.IsUnwritten)
        {
            return;
        }

        ref var count = ref CollectionsMarshal.GetValueRefOrNullRef(_references, extent.BlockId);
        if (--count == 0)
        {
            _references.Remove(extent.BlockId);
            QueueFor(extent.Server).Add(extent.BlockId);
        }
    }

    /// <summary>The delete queue of a storage server, made if there was none.</summary>
    public DeleteQueue QueueFor(uint server)
    {
        if (!DeleteQueues.TryGetValue(server, out var queue))
        {
            DeleteQueues.Add(server, queue = new DeleteQueue());
        }

        return queue;
    }

    /// <summary>A storage server has deleted the first <paramref name="count"/> blocks of its queue. False when the queue is shorter.</summary>
    public bool Deleted(uint server, int count)
    {
        if (!DeleteQueues.TryGetValue(server, out var queue) || count < 0 || queue.Count < count)
        {
            return false;
        }

        queue.RemoveFirst(count);
        if (queue.Count == 0)
        {
            DeleteQueues.Remove(server);
        }

        return true;
    }
}

/// <summary>Block ids in the order in which they came.</summary>
public sealed class DeleteQueue
{
    private ulong[] _ids = new ulong[4];
    private int _first;
    private int _end;

    /// <summary>Number of ids.</summary>
    public int Count => _end - _first;

    /// <summary>The ids, oldest first.</summary>
    public ReadOnlySpan<ulong> Ids => _ids.AsSpan(_first, Count);

    public void Add(ulong id)
    {
        if (_end == _ids.Length)
        {
            var ids = Count > _ids.Length / 2 ? new ulong[_ids.Length * 2] : _ids;
            Array.Copy(_ids, _first, ids, 0, Count);
            (_ids, _first, _end) = (ids, 0, Count);
        }

        _ids[_end++] = id;
    }

    public void RemoveFirst(int count) => _first += count;
}
