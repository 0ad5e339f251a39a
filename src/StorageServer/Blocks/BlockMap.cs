using EphemeralFs.Core;

namespace EphemeralFs.StorageServer.Blocks;

/// <summary>Where a block is.</summary>
/// <param name="Tier">Index of the tier in the store.</param>
/// <param name="Length">Bytes of data.</param>
internal readonly record struct BlockPlace(int Tier, int Length);

/// <summary>Block number → place, for one volume. Not thread-safe.</summary>
/// <remarks>
/// Block numbers come in runs, so 256 neighbours share a leaf of 4 bytes each: about 5 bytes for a block where a dictionary takes 40, and listing in order is cheap.
/// </remarks>
internal sealed class BlockMap
{
    private const int LeafShift = 8;
    private const int LeafBlocks = 1 << LeafShift;
    private const int LengthBits = 24;

    private readonly Dictionary<uint, Leaf> _leaves = [];

    /// <summary>Most tiers that an entry can tell apart.</summary>
    public const int TiersMax = 255;

    public bool TryGet(ulong sequence, out BlockPlace place)
    {
        var entry = _leaves.TryGetValue(LeafOf(sequence), out var leaf) ? leaf.Entries[sequence % LeafBlocks] : 0;
        place = new BlockPlace((int)(entry >> LengthBits) - 1, (int)(entry & ((1 << LengthBits) - 1)));
        return entry != 0;
    }

    /// <summary>Adds a block that is not there.</summary>
    public void Add(ulong sequence, BlockPlace place)
    {
        if (!_leaves.TryGetValue(LeafOf(sequence), out var leaf))
        {
            _leaves.Add(LeafOf(sequence), leaf = new Leaf());
        }

        ref var entry = ref leaf.Entries[sequence % LeafBlocks];
        if (entry != 0)
        {
            throw new InvalidOperationException("the block is in the map already");
        }

        entry = ((uint)(place.Tier + 1) << LengthBits) | (uint)place.Length;
        leaf.Count++;
    }

    public void Remove(ulong sequence)
    {
        if (_leaves.TryGetValue(LeafOf(sequence), out var leaf))
        {
            ref var entry = ref leaf.Entries[sequence % LeafBlocks];
            leaf.Count -= entry != 0 ? 1 : 0;
            entry = 0;
            if (leaf.Count == 0)
            {
                _leaves.Remove(LeafOf(sequence));
            }
        }
    }

    public void Clear() => _leaves.Clear();

    /// <summary>Adds the ids of blocks numbered above <paramref name="after"/> in ascending order until the list has <paramref name="max"/>.</summary>
    public void List(uint volume, ulong after, int max, List<ulong> ids)
    {
        if (after == ulong.MaxValue)
        {
            return;
        }

        var first = after + 1;
        foreach (var number in _leaves.Keys.Where(n => n >= LeafOf(first)).Order())
        {
            var entries = _leaves[number].Entries;
            var start = number == LeafOf(first) ? (int)(first % LeafBlocks) : 0;
            for (var i = start; i < LeafBlocks; i++)
            {
                if (ids.Count >= max)
                {
                    return;
                }

                if (entries[i] != 0)
                {
                    ids.Add(BlockId.Make(volume, ((ulong)number << LeafShift) + (ulong)i));
                }
            }
        }
    }

    private static uint LeafOf(ulong sequence) => (uint)(sequence >> LeafShift);

    private sealed class Leaf
    {
        public readonly uint[] Entries = new uint[LeafBlocks];
        public int Count;
    }
}
