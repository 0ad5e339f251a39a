namespace EphemeralFs.Core;

/// <summary>Inode numbers. 64 bits, given out by the metadata server in grants, never reused within a volume.</summary>
/// <remarks>The FUSE node id of an inode is its inode number: a restarted daemon needs no table to resolve it.</remarks>
public static class Ino
{
    /// <summary>No inode.</summary>
    public const ulong None = 0;

    /// <summary>The root directory of every volume (FUSE_ROOT_ID).</summary>
    public const ulong Root = 1;

    /// <summary>The first number that a file of a volume can have.</summary>
    public const ulong First = 2;

    /// <summary>Numbers from here up belong to the node daemon's virtual files (<c>.stats</c>, <c>.lost</c>) and never reach a server.</summary>
    public const ulong FirstVirtual = 0xFFFF_FFFF_FFFF_F000;
}

/// <summary>Block ids: the volume in the upper 24 bits, a number that is never reused within the volume in the lower 40.</summary>
public static class BlockId
{
    /// <summary>No block: an extent with this id is allocated but unwritten, and reads as zeros.</summary>
    public const ulong Unwritten = 0;

    private const int SequenceBits = 40;

    /// <summary>Composes an id; <paramref name="sequence"/> must be in 1 … 2^40−1 and <paramref name="volume"/> in 1 … 2^24−1.</summary>
    public static ulong Make(uint volume, ulong sequence) => ((ulong)volume << SequenceBits) | sequence;

    /// <summary>The volume that a block belongs to.</summary>
    public static uint VolumeOf(ulong blockId) => (uint)(blockId >> SequenceBits);

    /// <summary>The block's number within its volume.</summary>
    public static ulong SequenceOf(ulong blockId) => blockId & ((1UL << SequenceBits) - 1);
}
