using System.Text;

namespace EphemeralFs.Rpc.Messages;

/// <summary>The roles that register with the controller.</summary>
public enum ServerRole : byte
{
    None = 0,
    Controller = 1,
    Metadata = 2,
    Storage = 3,
    Node = 4,
}

/// <summary>A role announces itself, then repeats this once a second as its heartbeat.</summary>
/// <param name="Role">What it is.</param>
/// <param name="Name">Unique among its role; the controller keeps the id of a name for ever.</param>
/// <param name="Endpoint">Where it serves.</param>
/// <param name="MetricsEndpoint">http://… or empty.</param>
/// <param name="Pid">Process id, for status.</param>
/// <param name="Tiers">Storage servers: their tiers.</param>
/// <param name="Mounts">Nodes: their mounts.</param>
/// <param name="StartedNs">When this life of the server began, nanoseconds since the epoch; the heartbeat loop fills it in.</param>
public readonly record struct RegisterRequest(
    ServerRole Role,
    string Name,
    string Endpoint,
    string MetricsEndpoint,
    uint Pid,
    TierStatus[] Tiers,
    MountStatus[] Mounts,
    long StartedNs = 0)
    : IRequest<RegisterRequest, RegisterReply>
{
    public static Opcode Opcode => Opcode.Register;

    public void Write(ref WireWriter w)
    {
        w.U8((byte)Role);
        w.Text(Name);
        w.Text(Endpoint);
        w.Text(MetricsEndpoint);
        w.U32(Pid);
        w.List(Tiers);
        w.List(Mounts);
        w.I64(StartedNs);
    }

    public static RegisterRequest Read(ref WireReader r) => new(
        (ServerRole)r.U8(),
        r.Text(255),
        r.Text(255),
        r.Text(255),
        r.U32(),
        r.List<TierStatus>(22),
        r.List<MountStatus>(20),
        r.I64());
}

/// <summary>The id of the server, and the cluster as the controller sees it.</summary>
/// <param name="Id">Server id, from 1.</param>
/// <param name="Servers">All known servers, without the mounts of nodes: a cluster has thousands of them, and nobody needs them every second.</param>
/// <param name="Hints">Nodes: what is said of the volumes that they have mounted, which may change at any time.</param>
public readonly record struct RegisterReply(uint Id, ServerStatus[] Servers, Label[] Hints)
    : IWireMessage<RegisterReply>
{
    public void Write(ref WireWriter w)
    {
        w.U32(Id);
        w.List(Servers);
        w.List(Hints);
    }

    public static RegisterReply Read(ref WireReader r) => new(r.U32(), r.List<ServerStatus>(46), r.List<Label>(8));
}

/// <summary>A key and its value: hints of a volume by its name, or what somebody wants to find again at a volume.</summary>
/// <param name="Key">At most 255 bytes.</param>
/// <param name="Value">At most 1024 bytes.</param>
public readonly record struct Label(string Key, string Value)
    : IWireMessage<Label>
{
    /// <summary>Most bytes of the labels of one volume, keys, values and lengths together.</summary>
    public const int OfVolumeMaxBytes = 8192;

    /// <summary>Whether they are few enough to be kept with a volume.</summary>
    public static bool AreFew(IEnumerable<Label> labels) =>
        labels.Sum(label => Encoding.UTF8.GetByteCount(label.Key) + Encoding.UTF8.GetByteCount(label.Value) + 8) <= OfVolumeMaxBytes;

    public void Write(ref WireWriter w)
    {
        w.Text(Key);
        w.Text(Value);
    }

    public static Label Read(ref WireReader r) => new(r.Text(255), r.Text(1024));
}

/// <summary>The cluster as the controller sees it, page by page.</summary>
/// <param name="AfterRole">Role of the last server of the page before; None for the first page.</param>
/// <param name="AfterId">Its id.</param>
/// <param name="Only">Servers of this role only; None for all.</param>
public readonly record struct GetViewRequest(ServerRole AfterRole = ServerRole.None, uint AfterId = 0, ServerRole Only = ServerRole.None)
    : IRequest<GetViewRequest, GetViewReply>
{
    public static Opcode Opcode => Opcode.GetView;

    public void Write(ref WireWriter w)
    {
        w.U8((byte)AfterRole);
        w.U32(AfterId);
        w.U8((byte)Only);
    }

    public static GetViewRequest Read(ref WireReader r) => new((ServerRole)r.U8(), r.U32(), (ServerRole)r.U8());
}

/// <summary>Servers.</summary>
/// <param name="Servers">By role and id, the controller first.</param>
/// <param name="End">Whether there are no more.</param>
public readonly record struct GetViewReply(ServerStatus[] Servers, bool End)
    : IWireMessage<GetViewReply>
{
    public void Write(ref WireWriter w)
    {
        w.List(Servers);
        w.Bool(End);
    }

    public static GetViewReply Read(ref WireReader r) => new(r.List<ServerStatus>(46), r.Bool());
}

/// <summary>A registered server.</summary>
/// <param name="Role">What it is.</param>
/// <param name="Id">Server id.</param>
/// <param name="Name">Its name.</param>
/// <param name="Endpoint">Where it serves.</param>
/// <param name="MetricsEndpoint">http://… or empty.</param>
/// <param name="Pid">Process id.</param>
/// <param name="Alive">Whether heartbeats arrive.</param>
/// <param name="LastSeenMs">Milliseconds since the last heartbeat.</param>
/// <param name="Tiers">Storage servers: their tiers.</param>
/// <param name="Mounts">Nodes: their mounts.</param>
/// <param name="StartedNs">When this life of the server began, as it said: with another number it has forgotten what it was told before.</param>
public readonly record struct ServerStatus(
    ServerRole Role,
    uint Id,
    string Name,
    string Endpoint,
    string MetricsEndpoint,
    uint Pid,
    bool Alive,
    ulong LastSeenMs,
    TierStatus[] Tiers,
    MountStatus[] Mounts,
    long StartedNs = 0)
    : IWireMessage<ServerStatus>
{
    public void Write(ref WireWriter w)
    {
        w.U8((byte)Role);
        w.U32(Id);
        w.Text(Name);
        w.Text(Endpoint);
        w.Text(MetricsEndpoint);
        w.U32(Pid);
        w.Bool(Alive);
        w.U64(LastSeenMs);
        w.List(Tiers);
        w.List(Mounts);
        w.I64(StartedNs);
    }

    public static ServerStatus Read(ref WireReader r) => new(
        (ServerRole)r.U8(),
        r.U32(),
        r.Text(255),
        r.Text(255),
        r.Text(255),
        r.U32(),
        r.Bool(),
        r.U64(),
        r.List<TierStatus>(22),
        r.List<MountStatus>(20),
        r.I64());
}

/// <summary>A mount of a node daemon.</summary>
/// <param name="Volume">Volume name.</param>
/// <param name="Directory">Mount point.</param>
/// <param name="Session">Session id.</param>
/// <param name="Options">Mount options.</param>
public readonly record struct MountStatus(string Volume, string Directory, ulong Session, string Options)
    : IWireMessage<MountStatus>
{
    public void Write(ref WireWriter w)
    {
        w.Text(Volume);
        w.Text(Directory);
        w.U64(Session);
        w.Text(Options);
    }

    public static MountStatus Read(ref WireReader r) => new(r.Text(255), r.Text(4096), r.U64(), r.Text(1024));
}

/// <summary>Creates a volume. Repeating the same is success, VolumeExists when anything differs.</summary>
/// <param name="Name">1 … 63 characters a-z 0-9 . _ -</param>
/// <param name="LimitBytes">Quota, 0 for none.</param>
/// <param name="LimitInodes">Quota, 0 for none.</param>
/// <param name="Hints">How it will be used, as <see cref="Core.VolumeHints"/> writes it.</param>
/// <param name="Labels">Kept with the volume for whoever made it; null for none.</param>
/// <param name="Source">The volume whose content it begins with; empty for an empty one.</param>
public readonly record struct AddVolumeRequest(
    string Name, ulong LimitBytes, ulong LimitInodes, string Hints = "", Label[]? Labels = null, string Source = "")
    : IRequest<AddVolumeRequest, VolumeStatus>
{
    public static Opcode Opcode => Opcode.AddVolume;

    public void Write(ref WireWriter w)
    {
        w.Text(Name);
        w.U64(LimitBytes);
        w.U64(LimitInodes);
        w.Text(Hints);
        w.List(Labels ?? []);
        w.Text(Source);
    }

    public static AddVolumeRequest Read(ref WireReader r) => new(r.Text(255), r.U64(), r.U64(), r.Text(255), r.List<Label>(8), r.Text(255));
}

/// <summary>Changes limits and hints of a volume, at once for those who have it mounted. NoSuchVolume.</summary>
/// <param name="Name">Volume name.</param>
/// <param name="LimitBytes">Quota from now on, 0 for none.</param>
/// <param name="LimitInodes">Quota from now on, 0 for none.</param>
/// <param name="Hints">How it will be used, as <see cref="Core.VolumeHints"/> writes it.</param>
public readonly record struct ChangeVolumeRequest(string Name, ulong LimitBytes, ulong LimitInodes, string Hints)
    : IRequest<ChangeVolumeRequest, VolumeStatus>
{
    public static Opcode Opcode => Opcode.ChangeVolume;

    public void Write(ref WireWriter w)
    {
        w.Text(Name);
        w.U64(LimitBytes);
        w.U64(LimitInodes);
        w.Text(Hints);
    }

    public static ChangeVolumeRequest Read(ref WireReader r) => new(r.Text(255), r.U64(), r.U64(), r.Text(255));
}

/// <summary>Deletes a volume and everything in it. An unknown one is success.</summary>
/// <param name="Name">Volume name.</param>
/// <param name="Force">Also while sessions are open.</param>
public readonly record struct RemoveVolumeRequest(string Name, bool Force)
    : IRequest<RemoveVolumeRequest, Empty>
{
    public static Opcode Opcode => Opcode.RemoveVolume;

    public void Write(ref WireWriter w)
    {
        w.Text(Name);
        w.Bool(Force);
    }

    public static RemoveVolumeRequest Read(ref WireReader r) => new(r.Text(255), r.Bool());
}

/// <summary>Lists volumes, page by page.</summary>
/// <param name="Name">Only this one, or empty for all.</param>
/// <param name="After">The last one of the page before; empty for the first page.</param>
/// <param name="Known">What is known, for people to look at, while there may be others; otherwise that is Unavailable.</param>
public readonly record struct GetVolumesRequest(string Name, string After = "", bool Known = false)
    : IRequest<GetVolumesRequest, GetVolumesReply>
{
    public static Opcode Opcode => Opcode.GetVolumes;

    public void Write(ref WireWriter w)
    {
        w.Text(Name);
        w.Text(After);
        w.Bool(Known);
    }

    public static GetVolumesRequest Read(ref WireReader r) => new(r.Text(255), r.Text(255), r.Bool());
}

/// <summary>Volumes.</summary>
/// <param name="Volumes">By name.</param>
/// <param name="End">Whether there are no more.</param>
public readonly record struct GetVolumesReply(VolumeStatus[] Volumes, bool End)
    : IWireMessage<GetVolumesReply>
{
    public void Write(ref WireWriter w)
    {
        w.List(Volumes);
        w.Bool(End);
    }

    public static GetVolumesReply Read(ref WireReader r) => new(r.List<VolumeStatus>(VolumeStatus.MinBytes), r.Bool());
}

/// <summary>A volume.</summary>
/// <param name="Id">Volume id.</param>
/// <param name="Name">Its name.</param>
/// <param name="MetadataEndpoint">The metadata server that it lives on; empty in answers of that server.</param>
/// <param name="LimitBytes">Quota, 0 for none.</param>
/// <param name="UsedBytes">Committed bytes.</param>
/// <param name="LimitInodes">Quota, 0 for none.</param>
/// <param name="UsedInodes">Inodes.</param>
/// <param name="Sessions">Open sessions.</param>
/// <param name="Hints">How it will be used.</param>
/// <param name="Labels">What was given to keep with it.</param>
/// <param name="Source">The volume whose content it began with; it may be gone.</param>
/// <param name="CreatedNs">When it was asked for, nanoseconds since the epoch.</param>
/// <param name="SourceId">The id of the volume whose content it began with; 0 for none.</param>
/// <param name="IsDescribed">The metadata server has the volume and told its use: else there is nothing in <paramref name="UsedBytes"/>, <paramref name="UsedInodes"/> and <paramref name="Sessions"/>.</param>
public readonly record struct VolumeStatus(
    uint Id,
    string Name,
    string MetadataEndpoint,
    ulong LimitBytes,
    ulong UsedBytes,
    ulong LimitInodes,
    ulong UsedInodes,
    uint Sessions,
    string Hints = "",
    Label[]? Labels = null,
    string Source = "",
    long CreatedNs = 0,
    uint SourceId = 0,
    bool IsDescribed = false)
    : IWireMessage<VolumeStatus>
{
    /// <summary>Smallest size on the wire, for the bounds of lists.</summary>
    public const int MinBytes = 73;

    public void Write(ref WireWriter w)
    {
        w.U32(Id);
        w.Text(Name);
        w.Text(MetadataEndpoint);
        w.U64(LimitBytes);
        w.U64(UsedBytes);
        w.U64(LimitInodes);
        w.U64(UsedInodes);
        w.U32(Sessions);
        w.Text(Hints);
        w.List(Labels ?? []);
        w.Text(Source);
        w.I64(CreatedNs);
        w.U32(SourceId);
        w.Bool(IsDescribed);
    }

    public static VolumeStatus Read(ref WireReader r) => new(
        r.U32(),
        r.Text(255),
        r.Text(255),
        r.U64(),
        r.U64(),
        r.U64(),
        r.U64(),
        r.U32(),
        r.Text(255),
        r.List<Label>(8),
        r.Text(255),
        r.I64(),
        r.U32(),
        r.Bool());
}

/// <summary>What the controller knows of a volume beyond its limits. The metadata server keeps it with the volume and does not look at it.</summary>
/// <param name="Hints">How it will be used.</param>
/// <param name="Labels">Kept for whoever made it; null for none.</param>
/// <param name="CreatedNs">When it was asked for, nanoseconds since the epoch.</param>
public readonly record struct VolumeProperties(string Hints, Label[]? Labels, long CreatedNs)
    : IWireMessage<VolumeProperties>
{
    public void Write(ref WireWriter w)
    {
        w.Text(Hints ?? "");
        w.List(Labels ?? []);
        w.I64(CreatedNs);
    }

    public static VolumeProperties Read(ref WireReader r) => new(r.Text(255), r.List<Label>(8), r.I64());

    /// <inheritdoc/>
    public bool Equals(VolumeProperties other) =>
        (Hints ?? "", CreatedNs) == (other.Hints ?? "", other.CreatedNs) && (Labels ?? []).AsSpan().SequenceEqual(other.Labels ?? []);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Hints ?? "", CreatedNs, Labels?.Length ?? 0);
}

/// <summary>Controller to metadata server: make the namespace of a volume. One that is there gets these limits and properties. VolumeExists when the id is, or was,
/// that of another name, or the name has another id.</summary>
/// <param name="Id">Volume id, never reused.</param>
/// <param name="Name">Its name.</param>
/// <param name="LimitBytes">Quota, 0 for none.</param>
/// <param name="LimitInodes">Quota, 0 for none.</param>
/// <param name="Properties">Kept with it.</param>
public readonly record struct CreateVolumeRequest(uint Id, string Name, ulong LimitBytes, ulong LimitInodes, VolumeProperties Properties = default)
    : IRequest<CreateVolumeRequest, VolumeStatus>
{
    public static Opcode Opcode => Opcode.CreateVolume;

    public void Write(ref WireWriter w)
    {
        w.U32(Id);
        w.Text(Name);
        w.U64(LimitBytes);
        w.U64(LimitInodes);
        Properties.Write(ref w);
    }

    public static CreateVolumeRequest Read(ref WireReader r) => new(r.U32(), r.Text(255), r.U64(), r.U64(), VolumeProperties.Read(ref r));
}

/// <summary>Controller to metadata server: make a volume with the names and files that another one has at one instant. Both refer to the same blocks;
/// no bytes move. A copy that is there gets these limits and properties. VolumeExists as for <see cref="CreateVolumeRequest"/> and when it is a copy of another volume;
/// NoSuchVolume without the source; ENOSPC when the quota is smaller than what is copied.</summary>
/// <param name="SourceId">The volume that is copied; it may be in use.</param>
/// <param name="Id">Volume id of the copy, never reused.</param>
/// <param name="Name">Its name.</param>
/// <param name="LimitBytes">Its quota, 0 for none.</param>
/// <param name="LimitInodes">Its quota, 0 for none.</param>
/// <param name="Properties">Kept with it.</param>
public readonly record struct CloneVolumeRequest(uint SourceId, uint Id, string Name, ulong LimitBytes, ulong LimitInodes, VolumeProperties Properties = default)
    : IRequest<CloneVolumeRequest, VolumeStatus>
{
    public static Opcode Opcode => Opcode.CloneVolume;

    public void Write(ref WireWriter w)
    {
        w.U32(SourceId);
        w.U32(Id);
        w.Text(Name);
        w.U64(LimitBytes);
        w.U64(LimitInodes);
        Properties.Write(ref w);
    }

    public static CloneVolumeRequest Read(ref WireReader r) => new(r.U32(), r.U32(), r.Text(255), r.U64(), r.U64(), VolumeProperties.Read(ref r));
}

/// <summary>Controller to metadata server: drop a namespace. Success without doing anything when no volume has both this id and this name; VolumeBusy while sessions
/// are open, unless forced.</summary>
/// <param name="Id">Volume id.</param>
/// <param name="Name">Its name: an id alone may be another one's, when whoever asks has lost what it knew.</param>
/// <param name="Force">Fence the sessions first.</param>
public readonly record struct DeleteVolumeRequest(uint Id, string Name, bool Force)
    : IRequest<DeleteVolumeRequest, Empty>
{
    public static Opcode Opcode => Opcode.DeleteVolume;

    public void Write(ref WireWriter w)
    {
        w.U32(Id);
        w.Text(Name);
        w.Bool(Force);
    }

    public static DeleteVolumeRequest Read(ref WireReader r) => new(r.U32(), r.Text(255), r.Bool());
}

/// <summary>Volumes of a metadata server.</summary>
/// <param name="Ids">Those of these that are there; none: all.</param>
/// <param name="After">Those with ids above this one.</param>
public readonly record struct ListVolumesRequest(uint[]? Ids, uint After = 0)
    : IRequest<ListVolumesRequest, ListVolumesReply>
{
    public static Opcode Opcode => Opcode.ListVolumes;

    public void Write(ref WireWriter w)
    {
        w.U32Array(Ids ?? []);
        w.U32(After);
    }

    public static ListVolumesRequest Read(ref WireReader r) => new(r.U32Array(), r.U32());
}

/// <summary>Volumes of a metadata server, and what else a controller has to know that has forgotten everything.</summary>
/// <param name="Volumes">In ascending order of their ids.</param>
/// <param name="End">Whether there are no more.</param>
/// <param name="HighestId">The highest id of any volume that was ever here: not to be given to another one.</param>
/// <param name="Servers">The storage servers, by whose ids files name them, and metadata servers of which it has ever heard. Only on the first page of all volumes.</param>
public readonly record struct ListVolumesReply(VolumeStatus[] Volumes, bool End, uint HighestId, KnownServer[] Servers)
    : IWireMessage<ListVolumesReply>
{
    public void Write(ref WireWriter w)
    {
        w.List(Volumes);
        w.Bool(End);
        w.U32(HighestId);
        w.List(Servers);
    }

    public static ListVolumesReply Read(ref WireReader r) =>
        new(r.List<VolumeStatus>(VolumeStatus.MinBytes), r.Bool(), r.U32(), r.List<KnownServer>(KnownServer.MinBytes));
}

/// <summary>A server of which a metadata server has heard from the controller.</summary>
/// <param name="Role">Storage or Metadata.</param>
/// <param name="Id">Its id.</param>
/// <param name="Name">Its name.</param>
/// <param name="Endpoint">Where it was last.</param>
public readonly record struct KnownServer(ServerRole Role, uint Id, string Name, string Endpoint)
    : IWireMessage<KnownServer>
{
    /// <summary>Smallest size on the wire, for the bounds of lists.</summary>
    public const int MinBytes = 13;

    public void Write(ref WireWriter w)
    {
        w.U8((byte)Role);
        w.U32(Id);
        w.Text(Name);
        w.Text(Endpoint);
    }

    public static KnownServer Read(ref WireReader r) => new((ServerRole)r.U8(), r.U32(), r.Text(255), r.Text(255));
}

/// <summary>Storage server to metadata server: which of these blocks does nobody need?</summary>
/// <param name="BlockIds">Blocks that the server holds.</param>
public readonly record struct CheckBlocksRequest(ulong[] BlockIds)
    : IRequest<CheckBlocksRequest, CheckBlocksReply>
{
    public static Opcode Opcode => Opcode.CheckBlocks;

    public void Write(ref WireWriter w)
    {
        w.U64Array(BlockIds);
    }

    public static CheckBlocksRequest Read(ref WireReader r) => new(r.U64Array());
}

/// <summary>Blocks that may be freed: of deleted files and volumes, or of ended sessions that never committed them.</summary>
/// <param name="Garbage">A subset of what was asked.</param>
public readonly record struct CheckBlocksReply(ulong[] Garbage)
    : IWireMessage<CheckBlocksReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64Array(Garbage);
    }

    public static CheckBlocksReply Read(ref WireReader r) => new(r.U64Array());
}
