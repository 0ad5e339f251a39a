using EphemeralFs.Core;

namespace EphemeralFs.Rpc.Messages;

/// <summary>Opens a session of a node on a volume, or resumes one after a restart of the daemon or of the server.</summary>
/// <param name="Volume">Volume name.</param>
/// <param name="Node">Node name, for people.</param>
/// <param name="ResumeSession">Session to resume, 0 for a new one.</param>
/// <param name="ResumeEpoch">Epoch of the session to resume.</param>
/// <param name="Connection">Counts the connections on which the node has asked, over restarts of the daemon: what a dead daemon sent may arrive after its successor has
/// asked, and is refused then.</param>
/// <param name="Opening">Of a new session: a number that the node has drawn, and sends again until it has the answer: it gets the session that it had opened. 0: none.</param>
public readonly record struct OpenSessionRequest(string Volume, string Node, ulong ResumeSession, uint ResumeEpoch, ulong Connection = 0, ulong Opening = 0)
    : IRequest<OpenSessionRequest, OpenSessionReply>
{
    public static Opcode Opcode => Opcode.OpenSession;

    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Node);
        w.U64(ResumeSession);
        w.U32(ResumeEpoch);
        w.U64(Connection);
        w.U64(Opening);
    }

    public static OpenSessionRequest Read(ref WireReader r) => new(r.Text(255), r.Text(255), r.U64(), r.U32(), r.U64(), r.U64());
}

/// <summary>What a node needs to know of its session and volume.</summary>
/// <param name="Session">Session id.</param>
/// <param name="Epoch">Session epoch; goes into every request.</param>
/// <param name="Volume">Volume id.</param>
/// <param name="TimeoutMs">The session expires when no request renews it for this long.</param>
/// <param name="Root">Attributes of the root directory.</param>
/// <param name="GrantBytes">Quota bytes that the session has been granted and that no commit has used: what its node has in hand or has reserved for unflushed bytes.</param>
public readonly record struct OpenSessionReply(
    ulong Session,
    uint Epoch,
    uint Volume,
    uint TimeoutMs,
    InodeAttributes Root,
    ulong GrantBytes)
    : IWireMessage<OpenSessionReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Session);
        w.U32(Epoch);
        w.U32(Volume);
        w.U32(TimeoutMs);
        w.Attributes(Root);
        w.U64(GrantBytes);
    }

    public static OpenSessionReply Read(ref WireReader r) => new(r.U64(), r.U32(), r.U32(), r.U32(), r.Attributes(), r.U64());
}

/// <summary>Keeps the session of the header alive.</summary>
public readonly record struct RenewSessionRequest
    : IRequest<RenewSessionRequest, Empty>
{
    public static Opcode Opcode => Opcode.RenewSession;

    public void Write(ref WireWriter w)
    {
    }

    public static RenewSessionRequest Read(ref WireReader r) => default;
}

/// <summary>Ends the session of the header: closes its files, drops its locks and returns its grants.</summary>
public readonly record struct CloseSessionRequest
    : IRequest<CloseSessionRequest, Empty>
{
    public static Opcode Opcode => Opcode.CloseSession;

    public void Write(ref WireWriter w)
    {
    }

    public static CloseSessionRequest Read(ref WireReader r) => default;
}

/// <summary>Asks for things to hand out without asking. Each may be 0. A slot operation.</summary>
/// <param name="Bytes">Quota bytes wanted.</param>
/// <param name="Inodes">Inode numbers wanted.</param>
/// <param name="Blocks">Block numbers wanted.</param>
public readonly record struct AcquireGrantRequest(ulong Bytes, uint Inodes, uint Blocks)
    : IRequest<AcquireGrantRequest, AcquireGrantReply>
{
    public static Opcode Opcode => Opcode.AcquireGrant;

    public void Write(ref WireWriter w)
    {
        w.U64(Bytes);
        w.U32(Inodes);
        w.U32(Blocks);
    }

    public static AcquireGrantRequest Read(ref WireReader r) => new(r.U64(), r.U32(), r.U32());
}

/// <summary>What was granted: may be less bytes than asked for, 0 when the quota is exhausted and no other session has unused grant.</summary>
/// <param name="Bytes">Quota bytes granted by this reply.</param>
/// <param name="FirstInode">First inode number of a consecutive range.</param>
/// <param name="Inodes">Length of that range.</param>
/// <param name="FirstBlock">First block id of a consecutive range.</param>
/// <param name="Blocks">Length of that range.</param>
public readonly record struct AcquireGrantReply(
    ulong Bytes,
    ulong FirstInode,
    uint Inodes,
    ulong FirstBlock,
    uint Blocks)
    : IWireMessage<AcquireGrantReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Bytes);
        w.U64(FirstInode);
        w.U32(Inodes);
        w.U64(FirstBlock);
        w.U32(Blocks);
    }

    public static AcquireGrantReply Read(ref WireReader r) => new(r.U64(), r.U64(), r.U32(), r.U64(), r.U32());
}

/// <summary>Gives quota bytes back. A slot operation.</summary>
/// <param name="Bytes">Quota bytes.</param>
public readonly record struct ReturnGrantRequest(ulong Bytes)
    : IRequest<ReturnGrantRequest, Empty>
{
    public static Opcode Opcode => Opcode.ReturnGrant;

    public void Write(ref WireWriter w)
    {
        w.U64(Bytes);
    }

    public static ReturnGrantRequest Read(ref WireReader r) => new(r.U64());
}
