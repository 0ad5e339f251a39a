namespace EphemeralFs.Core;

/// <summary>A run of a file's bytes and the block that holds them. Extents of a file are sorted and do not overlap; a gap is a hole.</summary>
/// <param name="FileOffset">First byte in the file.</param>
/// <param name="Length">Bytes. At most <see cref="Limits.BlockSizeBytes"/> for written extents, unbounded for unwritten ones.</param>
/// <param name="BlockId">The block, or <see cref="Core.BlockId.Unwritten"/> for space that was allocated (fallocate) and reads as zeros.</param>
/// <param name="BlockOffset">First byte within the block.</param>
/// <param name="Server">Storage server that holds the block, 0 for unwritten.</param>
public readonly record struct Extent(ulong FileOffset, ulong Length, ulong BlockId, uint BlockOffset, uint Server)
{
    /// <summary>One past the last byte in the file.</summary>
    public ulong End => FileOffset + Length;

    /// <summary>Whether the extent is allocated but holds no data.</summary>
    public bool IsUnwritten => BlockId == Core.BlockId.Unwritten;

    /// <summary>The part of this extent inside [<paramref name="start"/>, <paramref name="end"/>), which must overlap it.</summary>
    public Extent Slice(ulong start, ulong end)
    {
        var from = Math.Max(start, FileOffset);
        var to = Math.Min(end, End);
        return this with
        {
            FileOffset = from,
            Length = to - from,
            BlockOffset = IsUnwritten ? 0 : BlockOffset + (uint)(from - FileOffset),
        };
    }
}
