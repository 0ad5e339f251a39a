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

/// <summary>
/// Makes a volume appear at a directory: the node's one mount of it, at one more place. Repeating it is success; EEXIST when the volume is there with other
/// options, EBUSY when something else is, EINVAL for a path that may not be used, ENOENT without a parent directory.
/// </summary>
/// <param name="Volume">Volume name.</param>
/// <param name="Target">Absolute path; made, unless it is there. Its parent must exist.</param>
/// <param name="Options">Comma-separated: ro, nosuid, nodev, noexec, noatime and their opposites.</param>
/// <param name="Group">Group that the root directory is given to, with the right to write; negative: nothing is changed.</param>
/// <param name="Root">Below this directory no part of <paramref name="Target"/> is a symbolic link; empty: no part at all.</param>
/// <param name="MetadataEndpoint">Where the volume is, as the controller has just said; empty: the node asks.</param>
/// <param name="Hints">With <paramref name="MetadataEndpoint"/>: the hints of the volume.</param>
public readonly record struct PublishRequest(string Volume, string Target, string Options, long Group, string Root, string MetadataEndpoint = "", string Hints = "")
    : IRequest<PublishRequest, Empty>
{
    public static Opcode Opcode => Opcode.Publish;

    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Target);
        w.Text(Options);
        w.I64(Group);
        w.Text(Root);
        w.Text(MetadataEndpoint);
        w.Text(Hints);
    }

    public static PublishRequest Read(ref WireReader r) => new(r.Text(255), r.Text(4096), r.Text(1024), r.I64(), r.Text(4096), r.Text(255), r.Text(4096));
}

/// <summary>Takes a volume away from a directory, and the directory too. What is not there is success.</summary>
/// <param name="Volume">Volume name.</param>
/// <param name="Target">Where it was published.</param>
/// <param name="Root">As in <see cref="PublishRequest"/>.</param>
/// <param name="Discards">The volume is about to be deleted: what the node has not committed need not be.</param>
public readonly record struct UnpublishRequest(string Volume, string Target, string Root, bool Discards)
    : IRequest<UnpublishRequest, Empty>
{
    public static Opcode Opcode => Opcode.Unpublish;

    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Target);
        w.Text(Root);
        w.Bool(Discards);
    }

    public static UnpublishRequest Read(ref WireReader r) => new(r.Text(255), r.Text(4096), r.Text(4096), r.Bool());
}

/// <summary>Where volumes are published on this node, as the kernel says.</summary>
/// <param name="Volume">Only this one, or empty for all.</param>
/// <param name="Root">Targets below this directory are told as paths below it, whatever symbolic links lead to it; empty for none.</param>
public readonly record struct GetPublishedRequest(string Volume, string Root)
    : IRequest<GetPublishedRequest, GetPublishedReply>
{
    public static Opcode Opcode => Opcode.GetPublished;

    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Root);
    }

    public static GetPublishedRequest Read(ref WireReader r) => new(r.Text(255), r.Text(4096));
}

/// <summary>Publications of a node.</summary>
/// <param name="Published">Each place.</param>
public readonly record struct GetPublishedReply(PublishedVolume[] Published)
    : IWireMessage<GetPublishedReply>
{
    public void Write(ref WireWriter w) => w.List(Published);

    public static GetPublishedReply Read(ref WireReader r) => new(r.List<PublishedVolume>(12));
}

/// <summary>A volume at a place.</summary>
/// <param name="Volume">Volume name.</param>
/// <param name="Target">Where.</param>
/// <param name="Problem">What is wrong with it; empty when it is well.</param>
public readonly record struct PublishedVolume(string Volume, string Target, string Problem)
    : IWireMessage<PublishedVolume>
{
    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Target);
        w.Text(Problem);
    }

    public static PublishedVolume Read(ref WireReader r) => new(r.Text(255), r.Text(4096), r.Text(8192));
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
