using EphemeralFs.Core;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>A medium that holds blocks. Errors are values; all members may be called from any thread.</summary>
/// <remarks>The block store calls <see cref="Write"/> and <see cref="Delete"/> of one block one after the other; reads come at any time, deletes of the block included.</remarks>
public interface ITier : IDisposable
{
    /// <summary>Kind of medium.</summary>
    TierClass Class { get; }

    /// <summary>Directory, or "" where there is none.</summary>
    string Path { get; }

    /// <summary>Bytes that the tier may hold, in whole pages.</summary>
    long CapacityBytes { get; }

    /// <summary>Bytes that it holds, as <see cref="BlockFormat.Charge"/> counts them, those of deleted volumes included until they are removed.</summary>
    long UsedBytes { get; }

    /// <summary>Number of blocks, counted likewise.</summary>
    long Blocks { get; }

    /// <summary>False after the medium failed: it gets no new blocks.</summary>
    bool Healthy { get; }

    /// <summary>Stores a block that the tier does not hold. TierFull: no room here; TierFailed: the medium failed.</summary>
    Status Write(ulong blockId, ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums);

    /// <summary>
    /// Reads bytes of a block from <paramref name="offset"/> (a multiple of the checksum unit) and the stored checksums of their units. The bytes are not compared with
    /// them here. BlockNotFound, BlockCorrupt (cut short, or the trailer is damaged), TierFailed.
    /// </summary>
    Status Read(ulong blockId, int blockLength, int offset, Span<byte> data, Span<uint> checksums);

    /// <summary>Whether the block is held with these checksums: OK, BadRequest when they differ, else as <see cref="Read"/>.</summary>
    Status Compare(ulong blockId, int blockLength, ReadOnlySpan<uint> checksums);

    /// <summary>Frees a block; one that is not there is OK. TierFailed otherwise.</summary>
    Status Delete(ulong blockId, int blockLength);

    /// <summary>Frees all blocks of a volume, in the background. No block of it is being written or deleted meanwhile.</summary>
    Status DeleteVolume(uint volume);

    /// <summary>Waits for the background to free something. False at once when nothing is being freed, or when the time is over.</summary>
    bool WaitForRemoval(int timeoutMs);

    /// <summary>Blocks found at the start, in no order.</summary>
    IEnumerable<StoredBlock> Enumerate();
}

/// <summary>A block on a tier.</summary>
/// <param name="BlockId">Which.</param>
/// <param name="Length">Bytes of data.</param>
public readonly record struct StoredBlock(ulong BlockId, int Length);

/// <summary>A tier as it is configured.</summary>
/// <param name="Class">Kind of medium.</param>
/// <param name="Path">Directory; "" for <see cref="TierClass.Null"/>.</param>
/// <param name="CapacityBytes">Bytes that it may hold, rounded down to whole pages.</param>
public sealed record TierOptions(TierClass Class, string Path, long CapacityBytes);
