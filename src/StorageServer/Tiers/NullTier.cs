using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>Swallows writes and reads zeros: measures everything above storage. Used only for blocks that ask for it; forgets them when it stops.</summary>
public sealed class NullTier(long capacityBytes) : ITier
{
    private static readonly byte[] s_zeros = new byte[Limits.ChecksumUnitBytes];
    private static readonly uint s_unitChecksum = Crc32C.Compute(s_zeros);

    private readonly Dictionary<uint, (long Bytes, long Blocks)> _volumes = []; // guarded by itself
    private readonly TierAccount _account = new(capacityBytes & -Limits.PageSizeBytes);

    public TierClass Class => TierClass.Null;

    public string Path => "";

    public long CapacityBytes => _account.CapacityBytes;

    public long UsedBytes => _account.UsedBytes;

    public long Blocks => _account.Blocks;

    public bool Healthy => true;

    public Status Write(ulong blockId, ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums)
    {
        var charge = BlockFormat.Charge(data.Length);
        if (!_account.TryTake(charge))
        {
            return Status.TierFull;
        }

        Add(BlockId.VolumeOf(blockId), charge, 1);
        return Status.OK;
    }

    public Status Read(ulong blockId, int blockLength, int offset, Span<byte> data, Span<uint> checksums)
    {
        data.Clear();
        for (var i = 0; i < checksums.Length; i++)
        {
            var bytes = Math.Min(data.Length - (i * Limits.ChecksumUnitBytes), Limits.ChecksumUnitBytes);
            checksums[i] = bytes == Limits.ChecksumUnitBytes ? s_unitChecksum : Crc32C.Compute(s_zeros.AsSpan(0, bytes));
        }

        return Status.OK;
    }

    /// <summary>Nothing is kept to compare with, so every repetition is the same block.</summary>
    public Status Compare(ulong blockId, int blockLength, ReadOnlySpan<uint> checksums) => Status.OK;

    public Status Delete(ulong blockId, int blockLength)
    {
        var charge = BlockFormat.Charge(blockLength);
        Add(BlockId.VolumeOf(blockId), -charge, -1);
        _account.Return(charge);
        return Status.OK;
    }

    public Status DeleteVolume(uint volume)
    {
        lock (_volumes)
        {
            if (_volumes.Remove(volume, out var sum))
            {
                _account.Return(sum.Bytes, sum.Blocks);
            }
        }

        return Status.OK;
    }

    public bool WaitForRemoval(int timeoutMs) => false;

    public IEnumerable<StoredBlock> Enumerate() => [];

    public void Dispose()
    {
    }

    private void Add(uint volume, long bytes, int blocks)
    {
        lock (_volumes)
        {
            ref var sum = ref CollectionsMarshal.GetValueRefOrAddDefault(_volumes, volume, out _);
            sum = (sum.Bytes + bytes, sum.Blocks + blocks);
        }
    }
}
