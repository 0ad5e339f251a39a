using EphemeralFs.Core;

namespace EphemeralFs.Rpc.Messages;

/// <summary>setxattr(2). A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Name">With its namespace prefix.</param>
/// <param name="Value">Any bytes.</param>
/// <param name="Flags">XATTR_CREATE 1, XATTR_REPLACE 2.</param>
public readonly record struct SetXattrRequest(
    ulong Ino,
    ReadOnlyMemory<byte> Name,
    ReadOnlyMemory<byte> Value,
    uint Flags)
    : IRequest<SetXattrRequest, Empty>
{
    public static Opcode Opcode => Opcode.SetXattr;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.Bytes(Name);
        w.Bytes(Value);
        w.U32(Flags);
    }

    public static SetXattrRequest Read(ref WireReader r) => new(
        r.U64(),
        r.Bytes(Limits.NameMaxBytes),
        r.Bytes(Limits.XattrValueMaxBytes),
        r.U32());
}

/// <summary>getxattr(2).</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Name">With its namespace prefix.</param>
public readonly record struct GetXattrRequest(ulong Ino, ReadOnlyMemory<byte> Name)
    : IRequest<GetXattrRequest, XattrReply>
{
    public static Opcode Opcode => Opcode.GetXattr;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.Bytes(Name);
    }

    public static GetXattrRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameMaxBytes));
}

/// <summary>listxattr(2).</summary>
/// <param name="Ino">Inode number.</param>
public readonly record struct ListXattrRequest(ulong Ino)
    : IRequest<ListXattrRequest, XattrReply>
{
    public static Opcode Opcode => Opcode.ListXattr;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
    }

    public static ListXattrRequest Read(ref WireReader r) => new(r.U64());
}

/// <summary>A value, or names that each end in NUL.</summary>
/// <param name="Value">Bytes.</param>
public readonly record struct XattrReply(ReadOnlyMemory<byte> Value)
    : IWireMessage<XattrReply>
{
    public void Write(ref WireWriter w)
    {
        w.Bytes(Value);
    }

    public static XattrReply Read(ref WireReader r) => new(r.Bytes(Limits.XattrValueMaxBytes));
}

/// <summary>removexattr(2). A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Name">With its namespace prefix.</param>
public readonly record struct RemoveXattrRequest(ulong Ino, ReadOnlyMemory<byte> Name)
    : IRequest<RemoveXattrRequest, Empty>
{
    public static Opcode Opcode => Opcode.RemoveXattr;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.Bytes(Name);
    }

    public static RemoveXattrRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameMaxBytes));
}
