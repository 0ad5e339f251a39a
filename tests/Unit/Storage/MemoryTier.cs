using System.Collections.Concurrent;
using EphemeralFs.Core;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Unit.Storage;

/// <summary>A tier in memory with the failures that a test asks for.</summary>
internal sealed class MemoryTier(TierClass tierClass, int blocksMax) : ITier
{
    private readonly ConcurrentDictionary<ulong, TestBlock> _blocks = new();

    /// <summary>What the next writes answer; OK stores.</summary>
    public Status WriteStatus { get; set; } = Status.OK;

    /// <summary>What the next deletes answer; OK deletes.</summary>
    public Status DeleteStatus { get; set; } = Status.OK;

    /// <summary>Called before a block is stored or deleted, with its id.</summary>
    public Action<ulong>? Before { get; set; }

    /// <summary>Called by a write that found no tier with room; true when something was freed.</summary>
    public Func<bool>? Removal { get; set; }

    /// <summary>Blocks found at the start.</summary>
    public List<StoredBlock> Found { get; } = [];

    public TierClass Class => tierClass;

    public string Path => $"/{tierClass}";

    public long CapacityBytes => MaxBlocks * (long)Limits.BlockSizeBytes;

    public long UsedBytes => _blocks.Values.Sum(b => BlockFormat.Charge(b.Data.Length));

    public long Blocks => _blocks.Count;

    public bool Healthy => WriteStatus != Status.TierFailed;

    public int MaxBlocks { get; set; } = blocksMax;

    public Status Write(ulong blockId, ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums)
    {
        Before?.Invoke(blockId);
        if (WriteStatus != Status.OK)
        {
            return WriteStatus;
        }

        if (_blocks.Count >= MaxBlocks)
        {
            return Status.TierFull;
        }

        Assert.True(_blocks.TryAdd(blockId, new TestBlock(blockId, data.ToArray(), checksums.ToArray())), "written twice");
        return Status.OK;
    }

    public Status Read(ulong blockId, int blockLength, int offset, Span<byte> data, Span<uint> checksums)
    {
        if (!_blocks.TryGetValue(blockId, out var block))
        {
            return Status.BlockNotFound;
        }

        block.Data.AsSpan(offset, data.Length).CopyTo(data);
        block.Checksums.AsSpan(offset / Limits.ChecksumUnitBytes, checksums.Length).CopyTo(checksums);
        return Status.OK;
    }

    public Status Compare(ulong blockId, int blockLength, ReadOnlySpan<uint> checksums) =>
        !_blocks.TryGetValue(blockId, out var block) ? Status.BlockNotFound
            : block.Checksums.AsSpan().SequenceEqual(checksums) ? Status.OK : Status.BadRequest;

    public Status Delete(ulong blockId, int blockLength)
    {
        Before?.Invoke(blockId);
        if (DeleteStatus == Status.OK)
        {
            _blocks.TryRemove(blockId, out _);
        }

        return DeleteStatus;
    }

    public Status DeleteVolume(uint volume)
    {
        foreach (var id in _blocks.Keys.Where(id => BlockId.VolumeOf(id) == volume))
        {
            _blocks.TryRemove(id, out _);
        }

        return DeleteStatus;
    }

    public bool WaitForRemoval(int timeoutMs) => Removal?.Invoke() == true;

    public IEnumerable<StoredBlock> Enumerate() => Found;

    public void Add(TestBlock block) => _blocks[block.Id] = block;

    public void Dispose()
    {
    }
}
