using System.Collections.Concurrent;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer.Tiers;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.StorageServer.Blocks;

/// <summary>The blocks of a storage server over all its tiers: finds them, places new ones, and makes changes of one block one after the other.</summary>
/// <remarks>Thread-safe; no lock is held during I/O. Blocks are immutable: a block is written once, or again with the same bytes.</remarks>
public sealed class BlockStore : IDisposable
{
    /// <summary>How long a write waits for deleted volumes to give room back before it is refused: their files go at thousands a second.</summary>
    private const int RoomWaitMs = 5000;

    private readonly ITier[] _tiers;
    private readonly TierOrder _order;
    private readonly ILogger _log;
    private readonly bool _verifyOnRead;
    private readonly StorageCounters _counters = new();
    private readonly ConcurrentDictionary<uint, VolumeBlocks> _volumes = new();

    /// <summary>Takes over the tiers and finds their blocks.</summary>
    /// <param name="tiers">Tiers, disposed with the store.</param>
    /// <param name="verifyOnRead">Compare bytes with their checksums here too, not only at the reader.</param>
    /// <param name="log">For damaged blocks.</param>
    public BlockStore(IReadOnlyList<ITier> tiers, bool verifyOnRead, ILogger log)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tiers.Count, BlockMap.TiersMax);
        _tiers = [.. tiers];
        _order = new TierOrder(_tiers);
        _verifyOnRead = verifyOnRead;
        _log = log;
        for (var i = 0; i < _tiers.Length; i++)
        {
            foreach (var block in _tiers[i].Enumerate())
            {
                AddFound(i, block);
            }
        }
    }

    /// <summary>State of the tiers, in the order of the configuration.</summary>
    public TierStatus[] Tiers() =>
    [
        .. _tiers.Select(t => new TierStatus(t.Class, (ulong)t.CapacityBytes, (ulong)t.UsedBytes, (ulong)t.Blocks, t.Healthy, t.Path)),
    ];

    /// <summary>
    /// Stores a block. BadRequest: the lengths do not fit or another block with this id exists; ChecksumMismatch; TierFull: no tier has room;
    /// TierFailed: none has, and a medium failed.
    /// </summary>
    public Status Write(ulong blockId, TierClass preferred, ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums, out TierClass tier)
    {
        tier = TierClass.None;
        if (!IsBlock(blockId) || data.Length is 0 or > Limits.BlockSizeBytes || checksums.Length != BlockFormat.Units(data.Length)
            || !_order.TryGet(preferred, out var groups))
        {
            return Status.BadRequest;
        }

        if (!BlockFormat.Verify(data, checksums))
        {
            Interlocked.Increment(ref _counters.ChecksumMismatches);
            return Status.ChecksumMismatch;
        }

        var volume = Begin(blockId, out var existing);
        var sequence = BlockId.SequenceOf(blockId);
        try
        {
            if (existing is { } place)
            {
                var same = CompareExisting(volume, blockId, place, data.Length, checksums);
                if (same != Status.BlockNotFound)
                {
                    tier = _tiers[place.Tier].Class;
                    return same;
                }
            }

            var status = WriteToFirst(groups, blockId, data, checksums, out var index);
            if (status == Status.OK)
            {
                KillPoint.Hit("storage.after-write");
                volume.Add(sequence, new BlockPlace(index, data.Length));
                tier = _tiers[index].Class;
                Interlocked.Increment(ref _counters.BlocksWritten);
                Interlocked.Add(ref _counters.BytesWritten, data.Length);
            }
            else
            {
                Interlocked.Increment(ref _counters.WritesRefused);
            }

            return status;
        }
        finally
        {
            volume.End(sequence);
        }
    }

    /// <summary>Finds a block. BadRequest when <paramref name="blockId"/> is none, BlockNotFound.</summary>
    public Status Find(ulong blockId, out int blockLength)
    {
        blockLength = 0;
        if (!IsBlock(blockId))
        {
            return Status.BadRequest;
        }

        if (!TryFind(blockId, out var place))
        {
            return Status.BlockNotFound;
        }

        blockLength = place.Length;
        return Status.OK;
    }

    /// <summary>
    /// Reads whole units of a block, or up to its end. <paramref name="data"/> and <paramref name="checksums"/> have the sizes of what is asked for.
    /// BadRequest: outside of the block, or no whole units; BlockNotFound, BlockCorrupt, TierFailed.
    /// </summary>
    public Status Read(ulong blockId, int offset, Span<byte> data, Span<uint> checksums)
    {
        if (!TryFind(blockId, out var place))
        {
            return Status.BlockNotFound;
        }

        var end = offset + (long)data.Length;
        if (offset < 0 || offset % Limits.ChecksumUnitBytes != 0 || data.IsEmpty || end > place.Length
            || (end < place.Length && end % Limits.ChecksumUnitBytes != 0) || checksums.Length != BlockFormat.Units(data.Length))
        {
            return Status.BadRequest;
        }

        var status = _tiers[place.Tier].Read(blockId, place.Length, offset, data, checksums);
        if (status == Status.OK && _verifyOnRead && !BlockFormat.Verify(data, checksums))
        {
            status = Status.BlockCorrupt;
        }

        if (status == Status.OK)
        {
            Interlocked.Increment(ref _counters.BlocksRead);
            Interlocked.Add(ref _counters.BytesRead, data.Length);
        }
        else if (status == Status.BlockCorrupt)
        {
            ReportCorrupt(blockId, place);
        }

        return status;
    }

    /// <summary>Frees a block; an unknown one is OK. A reader that has opened it finishes.</summary>
    public Status Delete(ulong blockId)
    {
        // Looked at without a reservation first: deletes of unknown blocks must not make volumes.
        if (!IsBlock(blockId))
        {
            return Status.BadRequest;
        }

        if (!_volumes.ContainsKey(BlockId.VolumeOf(blockId)))
        {
            return Status.OK;
        }

        var volume = Begin(blockId, out var existing);
        var sequence = BlockId.SequenceOf(blockId);
        try
        {
            return existing is { } place ? DeleteExisting(volume, blockId, place) : Status.OK;
        }
        finally
        {
            volume.End(sequence);
        }
    }

    /// <summary>Frees all blocks of a volume: out of sight at once, their room given back in the background. An unknown one is OK.</summary>
    public Status DeleteVolume(uint volume)
    {
        if (!IsBlock(BlockId.Make(volume, 1)))
        {
            return Status.BadRequest;
        }

        // Also for a volume without blocks: its directories may be there.
        var blocks = _volumes.GetOrAdd(volume, static _ => new VolumeBlocks());
        if (!blocks.TryClose())
        {
            return Status.OK;
        }

        var status = Status.OK;
        foreach (var tier in _tiers)
        {
            var one = tier.DeleteVolume(volume);
            status = one != Status.OK ? one : status;
        }

        _volumes.TryRemove(volume, out _);
        blocks.SetRemoved();
        Interlocked.Increment(ref _counters.VolumesDeleted);
        return status;
    }

    /// <summary>Ids of blocks above <paramref name="after"/>, ascending, at most <paramref name="max"/>; <paramref name="end"/> when no more follow.</summary>
    public ulong[] List(ulong after, int max, out bool end)
    {
        // One more than asked for tells whether it is the end.
        var ids = new List<ulong>();
        foreach (var volume in _volumes.Keys.Where(v => v >= BlockId.VolumeOf(after)).Order())
        {
            if (ids.Count > max)
            {
                break;
            }

            if (_volumes.TryGetValue(volume, out var blocks))
            {
                blocks.List(volume, volume == BlockId.VolumeOf(after) ? BlockId.SequenceOf(after) : 0, max + 1, ids);
            }
        }

        end = ids.Count <= max;
        if (!end)
        {
            ids.RemoveRange(max, ids.Count - max);
        }

        return [.. ids];
    }

    /// <summary>Waits until a deleted volume has given something back; false when nothing is being given back or the time is over.</summary>
    public bool WaitForRemoval(int timeoutMs)
    {
        foreach (var tier in _tiers)
        {
            if (tier.WaitForRemoval(timeoutMs))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Values for <c>/metrics</c>.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        foreach (var tier in _tiers)
        {
            var labels = $"tier=\"{tier.Class.ToString().ToLowerInvariant()}\",path=\"{tier.Path.Replace("\\", @"\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";
            yield return ("ephemeralfs_storage_tier_capacity_bytes", labels, tier.CapacityBytes);
            yield return ("ephemeralfs_storage_tier_used_bytes", labels, tier.UsedBytes);
            yield return ("ephemeralfs_storage_tier_blocks", labels, tier.Blocks);
            yield return ("ephemeralfs_storage_tier_healthy", labels, tier.Healthy ? 1 : 0);
        }

        foreach (var value in _counters.Metrics())
        {
            yield return value;
        }
    }

    public void Dispose()
    {
        foreach (var tier in _tiers)
        {
            tier.Dispose();
        }
    }

    private static bool IsBlock(ulong blockId) => BlockId.VolumeOf(blockId) != 0 && BlockId.SequenceOf(blockId) != 0;

    private bool TryFind(ulong blockId, out BlockPlace place)
    {
        place = default;
        return _volumes.TryGetValue(BlockId.VolumeOf(blockId), out var volume) && volume.TryGet(BlockId.SequenceOf(blockId), out place);
    }

    /// <summary>Reserves a block for a change; ends with <see cref="VolumeBlocks.End"/>.</summary>
    private VolumeBlocks Begin(ulong blockId, out BlockPlace? existing)
    {
        // Each repetition waited for a deletion of the volume that then finished.
        while (true)
        {
            var volume = _volumes.GetOrAdd(BlockId.VolumeOf(blockId), static _ => new VolumeBlocks());
            if (volume.TryBegin(BlockId.SequenceOf(blockId), out existing))
            {
                return volume;
            }
        }
    }

    /// <summary>OK: the same block; BadRequest: another one; BlockNotFound: there was only a damaged one, which is gone now.</summary>
    private Status CompareExisting(VolumeBlocks volume, ulong blockId, BlockPlace place, int length, ReadOnlySpan<uint> checksums)
    {
        var status = place.Length == length ? _tiers[place.Tier].Compare(blockId, length, checksums) : Status.BadRequest;
        if (status is Status.BlockCorrupt or Status.BlockNotFound)
        {
            // The writer still has the bytes: take them.
            ReportCorrupt(blockId, place);
            var deleted = DeleteExisting(volume, blockId, place);
            return deleted == Status.OK ? Status.BlockNotFound : deleted;
        }

        return status;
    }

    private Status DeleteExisting(VolumeBlocks volume, ulong blockId, BlockPlace place)
    {
        var status = _tiers[place.Tier].Delete(blockId, place.Length);
        if (status == Status.OK)
        {
            volume.Remove(BlockId.SequenceOf(blockId));
            Interlocked.Increment(ref _counters.BlocksDeleted);
        }

        return status;
    }

    private Status WriteToFirst(int[][] groups, ulong blockId, ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums, out int index)
    {
        var deadline = Environment.TickCount64 + RoomWaitMs;
        while (true)
        {
            var passedOver = false;
            var failed = false;
            foreach (var group in groups)
            {
                for (var i = 0; i < group.Length; i++)
                {
                    // Equal tiers take turns.
                    index = group[(BlockId.SequenceOf(blockId) + (ulong)i) % (ulong)group.Length];
                    var status = _tiers[index].Write(blockId, data, checksums);
                    if (status == Status.OK)
                    {
                        if (passedOver)
                        {
                            Interlocked.Increment(ref _counters.BlocksPassedOver);
                        }

                        return Status.OK;
                    }

                    passedOver = true;
                    failed |= status != Status.TierFull;
                }
            }

            index = -1;
            var left = deadline - Environment.TickCount64;
            if (left <= 0 || !WaitForRemoval((int)left))
            {
                return failed ? Status.TierFailed : Status.TierFull;
            }
        }
    }

    private void ReportCorrupt(ulong blockId, BlockPlace place)
    {
        Interlocked.Increment(ref _counters.CorruptReads);
        _log.LogError("Block {Block} on {Tier} {Path} is damaged", BlockPath.Format(blockId, place.Length), _tiers[place.Tier].Class, _tiers[place.Tier].Path);
    }

    /// <summary>Enters a block that a tier found at the start. Of two copies, which an interrupted write can leave, an undamaged one stays.</summary>
    private void AddFound(int tier, StoredBlock block)
    {
        var volume = _volumes.GetOrAdd(BlockId.VolumeOf(block.BlockId), static _ => new VolumeBlocks());
        var sequence = BlockId.SequenceOf(block.BlockId);
        if (!volume.TryGet(sequence, out var known))
        {
            volume.Add(sequence, new BlockPlace(tier, block.Length));
            return;
        }

        var loser = new BlockPlace(tier, block.Length);
        if (IsDamaged(block.BlockId, known))
        {
            volume.Remove(sequence);
            volume.Add(sequence, loser);
            loser = known;
        }

        _log.LogWarning("Block {Block} was stored twice; the copy on {Path} is removed", BlockPath.Format(block.BlockId, loser.Length), _tiers[loser.Tier].Path);
        if (_tiers[loser.Tier].Delete(block.BlockId, loser.Length) != Status.OK)
        {
            _log.LogError("The copy on {Path} could not be removed", _tiers[loser.Tier].Path);
        }
    }

    private bool IsDamaged(ulong blockId, BlockPlace place) =>
        _tiers[place.Tier].Compare(blockId, place.Length, []) is Status.BlockCorrupt or Status.BlockNotFound;
}
