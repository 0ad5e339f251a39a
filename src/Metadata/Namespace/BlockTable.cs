using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>How many extents of a volume refer to each block, and which blocks it does not need any more.</summary>
/// <param name="volume">Whose extents. A copy of a volume refers to blocks that carry the number of another one, their owner.</param>
public sealed class BlockTable(uint volume)
{
    private readonly Dictionary<ulong, int> _references = [];
    private readonly Dictionary<uint, int> _others = [];

    /// <summary>Blocks that the volume does not refer to any more, by storage server, in the order in which they were dropped.</summary>
    public SortedDictionary<uint, DeleteQueue> DeleteQueues { get; } = [];

    /// <summary>Number of blocks in use.</summary>
    public int Count => _references.Count;

    /// <summary>How many of them belong to other volumes.</summary>
    public int CountOfOthers => _others.Values.Sum();

    /// <summary>Blocks in use with their number of extents, in no particular order.</summary>
    public IEnumerable<KeyValuePair<ulong, int>> References => _references;

    /// <summary>Extents that refer to a block.</summary>
    public int ReferencesTo(ulong blockId) => _references.GetValueOrDefault(blockId);

    /// <summary>Whether any block in use belongs to that volume.</summary>
    public bool UsesBlocksOf(uint owner) => owner == volume ? _references.Count > CountOfOthers : _others.ContainsKey(owner);

    /// <summary>One more extent of a block.</summary>
    public void AddReference(in Extent extent)
    {
        if (extent.IsUnwritten)
        {
            return;
        }

        ref var count = ref CollectionsMarshal.GetValueRefOrAddDefault(_references, extent.BlockId, out _);
        if (++count == 1 && BlockId.VolumeOf(extent.BlockId) is var owner && owner != volume)
        {
            CollectionsMarshal.GetValueRefOrAddDefault(_others, owner, out _)++;
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
            if (BlockId.VolumeOf(extent.BlockId) is var owner && owner != volume)
            {
                DropOther(owner);
            }
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

    /// <summary>The first <paramref name="count"/> blocks of a storage server's queue are deleted there, or left to other volumes that refer to them. False when the
    /// queue is shorter.</summary>
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

    private void DropOther(uint owner)
    {
        ref var blocks = ref CollectionsMarshal.GetValueRefOrNullRef(_others, owner);
        if (--blocks == 0)
        {
            _others.Remove(owner);
        }
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
