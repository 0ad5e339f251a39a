using System.Runtime.InteropServices;

namespace EphemeralFs.Rpc;

/// <summary>The fixed header before every frame: 64 bytes, little-endian, no padding. <c>docs/protocol.md</c> is the law.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = SizeBytes)]
public struct FrameHeader
{
    /// <summary>Bytes of a header.</summary>
    public const int SizeBytes = 64;

    /// <summary>"EFS1" as a little-endian number.</summary>
    public const uint MagicValue = 0x31534645;

    /// <summary>Protocol version that this program speaks.</summary>
    public const byte CurrentVersion = 10;

    public uint Magic;
    public byte Version;
    public FrameFlags Flags;
    public Opcode Opcode;

    /// <summary>Chosen by the caller, unique among its calls in flight on the connection; the reply repeats it.</summary>
    public ulong RequestId;

    /// <summary>The session that the request belongs to, 0 where none is needed.</summary>
    public ulong Session;

    /// <summary>The session's epoch as the sender knows it; older ones are refused (<see cref="Core.Status.StaleEpoch"/>).</summary>
    public uint Epoch;

    /// <summary>Replies: the outcome (<see cref="Core.Status"/>). Requests: 0.</summary>
    public int Status;

    /// <summary>Mutations: nanoseconds since the epoch at which the node performed the operation; it stamps the inode's times.</summary>
    public long TimeNs;

    /// <summary>Mutations: which of the session's slots the operation occupies.</summary>
    public uint Slot;

    /// <summary>Mutations: the slot's sequence number. 0 = not a slot operation. A repeated number is answered from the slot's last reply.</summary>
    public uint Sequence;

    /// <summary>Bytes of the message that follows the header.</summary>
    public uint HeadLength;

    /// <summary>Bytes of bulk data that follow the message.</summary>
    public uint BodyLength;

    /// <summary>CRC32C of the message bytes.</summary>
    public uint HeadChecksum;

    /// <summary>CRC32C of this header up to here.</summary>
    public uint HeaderChecksum;
}

/// <summary>Flags of a frame.</summary>
[Flags]
public enum FrameFlags : byte
{
    None = 0,

    /// <summary>The frame answers a request of the receiver.</summary>
    Reply = 1,

    /// <summary>Replies: the attributes in it may be cached; the sender will send <see cref="Opcode.Forget"/> before somebody else's change of them is answered.</summary>
    AttributesLeased = 2,

    /// <summary>Replies: so may the directory's names and what it has no name of. Other sessions cache them too: for a short time only (<see cref="Core.Limits.SharedNamesMs"/>).</summary>
    NamesShared = 4,

    /// <summary>Replies: as <see cref="NamesShared"/>, and no other session cached them when this was sent.</summary>
    NamesSole = 8,

    /// <summary>
    /// Replies to what makes an inode: no other session has the volume. The receiver may answer its kernel that a file is made and tell the sender later,
    /// until the sender asks for it (<see cref="Opcode.Forget"/>), before it lets another session in.
    /// </summary>
    MayDefer = 16,
}
