using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Blocks;

/// <summary>Verified pieces of blocks, bounded in bytes, least recently used out first. Blocks never change, so nothing here is ever stale.</summary>
/// <remarks>What counts is the memory of the buffers, which is more than the bytes in them; units of one buffer carry equal shares of it.</remarks>
/// <param name="capacityBytes">Most memory kept, bytes.</param>
public sealed class BlockCache(long capacityBytes)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<Key, LinkedListNode<Entry>> _entries = [];
    private readonly LinkedList<Entry> _order = new();
    private long _bytes;

    /// <summary>Memory kept now, bytes.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Copies a unit's bytes from <paramref name="offset"/> (within the unit) on; false when the unit is not here or shorter.</summary>
    public bool TryCopy(ulong blockId, uint unit, int offset, Span<byte> target)
    {
        PooledBuffer buffer;
        int start;
        lock (_lock)
        {
            if (!_entries.TryGetValue(new Key(blockId, unit), out var node) || node.Value.Length < offset + target.Length)
            {
                return false;
            }

            _order.Remove(node);
            _order.AddFirst(node);
            buffer = node.Value.Buffer.Retain();
            start = node.Value.Start + offset;
        }

        buffer.Span.Slice(start, target.Length).CopyTo(target);
        buffer.Dispose();
        return true;
    }

    /// <summary>Whether a unit is here.</summary>
    public bool Contains(ulong blockId, uint unit)
    {
        lock (_lock)
        {
            return _entries.ContainsKey(new Key(blockId, unit));
        }
    }

    /// <summary>Keeps the units of <paramref name="buffer"/>, whose first byte is the first byte of <paramref name="firstUnit"/>. The caller keeps its ownership.</summary>
    public void Add(ulong blockId, uint firstUnit, PooledBuffer buffer)
    {
        var share = buffer.Capacity / Math.Max(1, (buffer.Length + Limits.ChecksumUnitBytes - 1) / Limits.ChecksumUnitBytes);
        lock (_lock)
        {
            for (var start = 0; start < buffer.Length; start += Limits.ChecksumUnitBytes)
            {
                var key = new Key(blockId, firstUnit + (uint)(start / Limits.ChecksumUnitBytes));
                var length = Math.Min(Limits.ChecksumUnitBytes, buffer.Length - start);
                if (!_entries.ContainsKey(key))
                {
                    _entries[key] = _order.AddFirst(new Entry(key, buffer.Retain(), start, length, share));
                    _bytes += share;
                }
            }

            while (_bytes > capacityBytes && _order.Last is { } last)
            {
                _order.RemoveLast();
                _entries.Remove(last.Value.Key);
                _bytes -= last.Value.Share;
                last.Value.Buffer.Dispose();
            }
        }
    }

    private readonly record struct Key(ulong BlockId, uint Unit);

    private readonly record struct Entry(Key Key, PooledBuffer Buffer, int Start, int Length, int Share);
}
