namespace EphemeralFs.Rpc.Messages;

/// <summary>Mounts a volume.</summary>
/// <param name="Volume">Volume name.</param>
/// <param name="Directory">Absolute path of an empty directory.</param>
/// <param name="Options">Comma-separated: ro, nosuid, nodev, noexec, allow_other …</param>
public readonly record struct MountRequest(string Volume, string Directory, string Options)
    : IRequest<MountRequest, MountStatus>
{
    public static Opcode Opcode => Opcode.Mount;

    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Directory);
        w.Text(Options);
    }

    public static MountRequest Read(ref WireReader r) => new(r.Text(255), r.Text(4096), r.Text(1024));
}

/// <summary>Unmounts.</summary>
/// <param name="Directory">Mount point.</param>
/// <param name="Lazy">Detach even while it is in use (MNT_DETACH).</param>
public readonly record struct UnmountRequest(string Directory, bool Lazy)
    : IRequest<UnmountRequest, Empty>
{
    public static Opcode Opcode => Opcode.Unmount;

    public void Write(ref WireWriter w)
    {
        w.Text(Directory);
        w.Bool(Lazy);
    }

    public static UnmountRequest Read(ref WireReader r) => new(r.Text(4096), r.Bool());
}

/// <summary>Mounts of a node daemon.</summary>
public readonly record struct NodeStatusRequest
    : IRequest<NodeStatusRequest, NodeStatusReply>
{
    public static Opcode Opcode => Opcode.NodeStatus;

    public void Write(ref WireWriter w)
    {
    }

    public static NodeStatusRequest Read(ref WireReader r) => default;
}

/// <summary>Mounts of a node daemon.</summary>
/// <param name="Node">Node name.</param>
/// <param name="Incarnation">How often the daemon was started on this keeper.</param>
/// <param name="Mounts">Its mounts.</param>
public readonly record struct NodeStatusReply(string Node, uint Incarnation, MountStatus[] Mounts)
    : IWireMessage<NodeStatusReply>
{
    public void Write(ref WireWriter w)
    {
        w.Text(Node);
        w.U32(Incarnation);
        w.List(Mounts);
    }

    public static NodeStatusReply Read(ref WireReader r) => new(r.Text(255), r.U32(), r.List<MountStatus>(20));
}

/// <summary>Stops the role that receives it, cleanly.</summary>
public readonly record struct ShutdownRequest
    : IRequest<ShutdownRequest, Empty>
{
    public static Opcode Opcode => Opcode.Shutdown;

    public void Write(ref WireWriter w)
    {
    }

    public static ShutdownRequest Read(ref WireReader r) => default;
}
