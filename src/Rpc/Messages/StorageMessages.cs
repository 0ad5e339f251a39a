using EphemeralFs.Core;

namespace EphemeralFs.Rpc.Messages;

/// <summary>Stores a block; its bytes are the frame's body. Writing the same block again is success: blocks are immutable.</summary>
/// <param name="BlockId">Which block.</param>
/// <param name="Tier">Preferred tier; others are used when it is full.</param>
/// <param name="Checksums">CRC32C of each unit of Limits.ChecksumUnitBytes.</param>
public readonly record struct WriteBlockRequest(ulong BlockId, TierClass Tier, uint[] Checksums)
    : IRequest<WriteBlockRequest, WriteBlockReply>
{
    public static Opcode Opcode => Opcode.WriteBlock;

    public void Write(ref WireWriter w)
    {
        w.U64(BlockId);
        w.U8((byte)Tier);
        w.U32Array(Checksums);
    }

    public static WriteBlockRequest Read(ref WireReader r) => new(r.U64(), (TierClass)r.U8(), r.U32Array());
}

/// <summary>Where a block went.</summary>
/// <param name="Tier">The tier that took it.</param>
public readonly record struct WriteBlockReply(TierClass Tier)
    : IWireMessage<WriteBlockReply>
{
    public void Write(ref WireWriter w)
    {
        w.U8((byte)Tier);
    }

    public static WriteBlockReply Read(ref WireReader r) => new((TierClass)r.U8());
}

/// <summary>Reads part of a block; the bytes come as the body of the reply.</summary>
/// <param name="BlockId">Which block.</param>
/// <param name="Offset">First byte, a multiple of Limits.ChecksumUnitBytes.</param>
/// <param name="Length">Bytes; cut at the end of the block, else a multiple of the unit.</param>
public readonly record struct ReadBlockRequest(ulong BlockId, uint Offset, uint Length)
    : IRequest<ReadBlockRequest, ReadBlockReply>
{
    public static Opcode Opcode => Opcode.ReadBlock;

    public void Write(ref WireWriter w)
    {
        w.U64(BlockId);
        w.U32(Offset);
        w.U32(Length);
    }

    public static ReadBlockRequest Read(ref WireReader r) => new(r.U64(), r.U32(), r.U32());
}

/// <summary>Part of a block.</summary>
/// <param name="BlockLength">Bytes of the whole block.</param>
/// <param name="Checksums">CRC32C of each unit in the body, as stored.</param>
public readonly record struct ReadBlockReply(uint BlockLength, uint[] Checksums)
    : IWireMessage<ReadBlockReply>
{
    public void Write(ref WireWriter w)
    {
        w.U32(BlockLength);
        w.U32Array(Checksums);
    }

    public static ReadBlockReply Read(ref WireReader r) => new(r.U32(), r.U32Array());
}

/// <summary>Frees blocks. Unknown ones are success.</summary>
/// <param name="BlockIds">Which blocks.</param>
public readonly record struct DeleteBlocksRequest(ulong[] BlockIds)
    : IRequest<DeleteBlocksRequest, Empty>
{
    public static Opcode Opcode => Opcode.DeleteBlocks;

    public void Write(ref WireWriter w)
    {
        w.U64Array(BlockIds);
    }

    public static DeleteBlocksRequest Read(ref WireReader r) => new(r.U64Array());
}

/// <summary>Frees all blocks of a volume.</summary>
/// <param name="Volume">Volume id.</param>
public readonly record struct DeleteVolumeBlocksRequest(uint Volume)
    : IRequest<DeleteVolumeBlocksRequest, Empty>
{
    public static Opcode Opcode => Opcode.DeleteVolumeBlocks;

    public void Write(ref WireWriter w)
    {
        w.U32(Volume);
    }

    public static DeleteVolumeBlocksRequest Read(ref WireReader r) => new(r.U32());
}

/// <summary>Lists stored blocks in ascending order, for scrubbing.</summary>
/// <param name="After">Only ids above this.</param>
/// <param name="Max">At most this many.</param>
public readonly record struct ListBlocksRequest(ulong After, uint Max)
    : IRequest<ListBlocksRequest, ListBlocksReply>
{
    public static Opcode Opcode => Opcode.ListBlocks;

    public void Write(ref WireWriter w)
    {
        w.U64(After);
        w.U32(Max);
    }

    public static ListBlocksRequest Read(ref WireReader r) => new(r.U64(), r.U32());
}

/// <summary>Stored blocks.</summary>
/// <param name="BlockIds">Ascending.</param>
/// <param name="End">Whether nothing follows.</param>
public readonly record struct ListBlocksReply(ulong[] BlockIds, bool End)
    : IWireMessage<ListBlocksReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64Array(BlockIds);
        w.Bool(End);
    }

    public static ListBlocksReply Read(ref WireReader r) => new(r.U64Array(), r.Bool());
}

/// <summary>Which sessions of a volume live: writes of all others that were ever opened are refused. From the volume's metadata server, after sessions ended.</summary>
/// <param name="Volume">Volume id.</param>
/// <param name="Opened">Sessions that were opened so far: their numbers are 1 to this.</param>
/// <param name="Live">Numbers of those that live.</param>
public readonly record struct LiveSessionsRequest(uint Volume, uint Opened, uint[] Live)
    : IRequest<LiveSessionsRequest, Empty>
{
    public static Opcode Opcode => Opcode.LiveSessions;

    public void Write(ref WireWriter w)
    {
        w.U32(Volume);
        w.U32(Opened);
        w.U32Array(Live);
    }

    public static LiveSessionsRequest Read(ref WireReader r) => new(r.U32(), r.U32(), r.U32Array());
}

/// <summary>A tier as its server reports it.</summary>
/// <param name="Tier">Class.</param>
/// <param name="CapacityBytes">What it may hold.</param>
/// <param name="UsedBytes">What it holds.</param>
/// <param name="Blocks">Number of blocks.</param>
/// <param name="Healthy">False after the medium failed.</param>
/// <param name="Path">Directory.</param>
public readonly record struct TierStatus(
    TierClass Tier,
    ulong CapacityBytes,
    ulong UsedBytes,
    ulong Blocks,
    bool Healthy,
    string Path)
    : IWireMessage<TierStatus>
{
    public void Write(ref WireWriter w)
    {
        w.U8((byte)Tier);
        w.U64(CapacityBytes);
        w.U64(UsedBytes);
        w.U64(Blocks);
        w.Bool(Healthy);
        w.Text(Path);
    }

    public static TierStatus Read(ref WireReader r) => new((TierClass)r.U8(), r.U64(), r.U64(), r.U64(), r.Bool(), r.Text(4096));
}

/// <summary>State of a storage server.</summary>
public readonly record struct StorageStatusRequest
    : IRequest<StorageStatusRequest, StorageStatusReply>
{
    public static Opcode Opcode => Opcode.StorageStatus;

    public void Write(ref WireWriter w)
    {
    }

    public static StorageStatusRequest Read(ref WireReader r) => default;
}

/// <summary>State of a storage server.</summary>
/// <param name="Tiers">Its tiers.</param>
public readonly record struct StorageStatusReply(TierStatus[] Tiers)
    : IWireMessage<StorageStatusReply>
{
    public void Write(ref WireWriter w)
    {
        w.List(Tiers);
    }

    public static StorageStatusReply Read(ref WireReader r) => new(r.List<TierStatus>(22));
}
