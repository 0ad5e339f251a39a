using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Volumes;
using EphemeralFs.Rpc.Messages;
using Google.Protobuf.Collections;
using CreateVolumeRequest = EphemeralFs.CsiDriver.Csi.CreateVolumeRequest;
using DeleteVolumeRequest = EphemeralFs.CsiDriver.Csi.DeleteVolumeRequest;
using ListVolumesRequest = EphemeralFs.CsiDriver.Csi.ListVolumesRequest;
using Capability = EphemeralFs.CsiDriver.Csi.ControllerServiceCapability.Types.RPC.Types.Type;
using VolumeStatus = EphemeralFs.Rpc.Messages.VolumeStatus;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>csi.v1.Controller: volumes come and go. All state is the cluster's; any number of these may run (CSI specification, "Controller Service RPC").</summary>
/// <param name="cluster">The cluster's controller.</param>
/// <param name="claims">Reads hints of claims; null when nobody does.</param>
/// <param name="orphanedAfter">See <see cref="CsiOptions.OrphanedAfter"/>.</param>
internal sealed partial class ControllerService(ControllerClient cluster, ClaimAnnotations? claims, TimeSpan orphanedAfter)
{
    private static readonly Capability[] s_capabilities =
    [
        Capability.CreateDeleteVolume, Capability.ListVolumes, Capability.GetCapacity, Capability.CreateDeleteSnapshot, Capability.ListSnapshots,
        Capability.CloneVolume, Capability.ExpandVolume, Capability.ListVolumesPublishedNodes, Capability.VolumeCondition, Capability.GetVolume,
        Capability.SingleNodeMultiWriter, Capability.ModifyVolume, Capability.GetSnapshot,
    ];

    private readonly PendingCalls _pending = new();

    /// <summary>Inline volumes that no node has.</summary>
    private readonly Unused _orphans = new(orphanedAfter, TimeProvider.System);

    /// <summary>The table of methods.</summary>
    public GrpcService Describe() => new(
        "csi.v1.Controller",
        GrpcMethod.Unary("ControllerGetCapabilities", ControllerGetCapabilitiesRequest.Parser, (_, _) => Task.FromResult(GetCapabilities())),
        GrpcMethod.Unary("CreateVolume", CreateVolumeRequest.Parser, (request, call) => CreateVolumeAsync(request, call.Cancellation)),
        GrpcMethod.Unary("DeleteVolume", DeleteVolumeRequest.Parser, (request, call) => DeleteVolumeAsync(request, call.Cancellation)),
        GrpcMethod.Unary("ValidateVolumeCapabilities", ValidateVolumeCapabilitiesRequest.Parser, (request, call) => ValidateAsync(request, call.Cancellation)),
        GrpcMethod.Unary("ListVolumes", ListVolumesRequest.Parser, (request, call) => ListVolumesAsync(request, call.Cancellation)),
        GrpcMethod.Unary("GetCapacity", GetCapacityRequest.Parser, (request, call) => GetCapacityAsync(request, call.Cancellation)),
        GrpcMethod.Unary("ControllerExpandVolume", ControllerExpandVolumeRequest.Parser, (request, call) => ExpandAsync(request, call.Cancellation)),
        GrpcMethod.Unary("ControllerGetVolume", ControllerGetVolumeRequest.Parser, (request, call) => GetVolumeAsync(request, call.Cancellation)),
        GrpcMethod.Unary("ControllerModifyVolume", ControllerModifyVolumeRequest.Parser, (request, call) => ModifyAsync(request, call.Cancellation)),
        GrpcMethod.Unary("CreateSnapshot", CreateSnapshotRequest.Parser, (request, call) => CreateSnapshotAsync(request, call.Cancellation)),
        GrpcMethod.Unary("DeleteSnapshot", DeleteSnapshotRequest.Parser, (request, call) => DeleteSnapshotAsync(request, call.Cancellation)),
        GrpcMethod.Unary("ListSnapshots", ListSnapshotsRequest.Parser, (request, call) => ListSnapshotsAsync(request, call.Cancellation)),
        GrpcMethod.Unary("GetSnapshot", GetSnapshotRequest.Parser, (request, call) => GetSnapshotAsync(request, call.Cancellation)));

    private static ControllerGetCapabilitiesResponse GetCapabilities() => new()
    {
        Capabilities = { s_capabilities.Select(type => new ControllerServiceCapability { Rpc = new() { Type = type } }) },
    };

    private async Task<CreateVolumeResponse> CreateVolumeAsync(CreateVolumeRequest request, CancellationToken cancellation)
    {
        var name = CsiRequests.RequiredName(request.Name);
        CsiRequests.Check(request.VolumeCapabilities);
        var asked = CsiRequests.Capacity(request.CapacityRange);
        var parameters = CsiRequests.Add(VolumeWish.None, CsiRequests.Own(request.Parameters), "parameters");
        var mutable = Mutable(request.MutableParameters);
        var wish = CsiRequests.Add(parameters, mutable, "mutable_parameters");
        var volume = CsiNames.OfVolume(name);
        var (sourceName, kind) = Source(request.VolumeContentSource);
        Label[] labels =
        [
            new(CsiLabels.Kind, CsiLabels.Volume),
            new(CsiLabels.Name, name),
            new(CsiLabels.Parameters, $"size={wish.LimitBytes},inodes={wish.LimitInodes},{wish.Hints}"), // as asked for; changed they may be later
            new(CsiLabels.SourceKind, kind),
        ];
        using var pending = _pending.Begin(volume);
        if (await cluster.FindAsync(volume, cancellation).ConfigureAwait(false) is { } existing)
        {
            // Claim and source may be gone by now, and what the claim says may be something else: this call is of before.
            return (existing.Labels ?? []).SequenceEqual(labels) && existing.Source == sourceName && CsiRequests.Fits(existing.LimitBytes, request.CapacityRange)
                ? new CreateVolumeResponse { Volume = Describe(await MakeAsync(existing, cancellation).ConfigureAwait(false)) }
                : throw new GrpcException(GrpcStatusCode.AlreadyExists, $"name '{name}': there is a volume of that name with another capacity, other parameters or another source");
        }

        if (request.AccessibilityRequirements is { Requisite: { Count: > 0 } requisite } && !requisite.Any(IsServed))
        {
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"accessibility_requirements: the driver has nodes in segments of {NodeService.ZoneKey} only");
        }

        if (claims is not null)
        {
            // What the class says counts less than the claim, and that less than what may be changed later.
            wish = CsiRequests.AddAnnotations(parameters, await claims.ReadAsync(request.Parameters, cancellation).ConfigureAwait(false));
            wish = CsiRequests.Add(wish, mutable, "mutable_parameters");
        }

        wish = asked > 0 ? wish with { LimitBytes = asked } : wish;
        if (await FindSourceAsync(sourceName, kind, cancellation).ConfigureAwait(false) is { } from)
        {
            if (!from.IsDescribed)
            {
                throw new GrpcException(GrpcStatusCode.Unavailable, $"volume_content_source: the metadata server of {from.Name} does not answer");
            }

            // What was not said is as it was; what is smaller than its content cannot be.
            wish = wish with
            {
                LimitBytes = wish.LimitBytes == 0 ? from.LimitBytes : wish.LimitBytes,
                LimitInodes = wish.LimitInodes == 0 ? from.LimitInodes : wish.LimitInodes,
            };
            if (wish.LimitBytes > 0 && wish.LimitBytes < Math.Max(from.UsedBytes, from.LimitBytes))
            {
                throw new GrpcException(GrpcStatusCode.OutOfRange, $"capacity_range: the source has {Math.Max(from.UsedBytes, from.LimitBytes)} bytes, and a volume made from it has no fewer");
            }
        }

        var made = await cluster.AddAsync(new(volume, wish.LimitBytes, wish.LimitInodes, wish.Hints.ToString(), labels, sourceName), cancellation).ConfigureAwait(false)
            ?? throw new GrpcException(GrpcStatusCode.Aborted, $"volume {volume} is being made by somebody else: try again");
        return new CreateVolumeResponse { Volume = Describe(made) };
    }

    /// <summary>Deletes inline volumes whose node has gone for good: no node has mounted them for long. Returns how many.</summary>
    public async Task<int> CollectAsync(CancellationToken cancellation)
    {
        var mounted = (await cluster.ServersAsync(ServerRole.Node, cancellation).ConfigureAwait(false))
            .Where(server => server.Alive)
            .SelectMany(server => server.Mounts)
            .Select(mount => mount.Volume)
            .ToHashSet(StringComparer.Ordinal);
        var orphans = (await cluster.ListAsync(cancellation).ConfigureAwait(false))
            .Where(volume => CsiLabels.Is(volume, CsiLabels.Inline) && volume is { IsDescribed: true, Sessions: 0 } && !mounted.Contains(volume.Name))
            .Select(volume => volume.Name);
        var collected = 0;
        foreach (var name in _orphans.For(orphans))
        {
            collected += await _orphans.RemoveAsync(cluster, name, cancellation).ConfigureAwait(false) ? 1 : 0;
        }

        return collected;
    }

    private async Task<DeleteVolumeResponse> DeleteVolumeAsync(DeleteVolumeRequest request, CancellationToken cancellation)
    {
        var name = CsiNames.OfId(CsiRequests.Required(request.VolumeId, "volume_id"));
        using var pending = _pending.Begin(name);
        if (await cluster.FindAsync(name, cancellation).ConfigureAwait(false) is { } volume && !CsiLabels.Is(volume, CsiLabels.Snapshot))
        {
            if (CsiLabels.Get(volume, CsiLabels.Kind).Length == 0)
            {
                throw new GrpcException(GrpcStatusCode.FailedPrecondition, $"volume_id {name}: this volume was not made by the driver; delete it with 'ephemeralfs volume delete {name}'");
            }

            if (!await cluster.RemoveAsync(name, force: false, cancellation).ConfigureAwait(false))
            {
                throw new GrpcException(GrpcStatusCode.FailedPrecondition, $"volume_id {name}: the volume is in use on {string.Join(", ", await NodesOfAsync(name, cancellation).ConfigureAwait(false))}");
            }
        }

        return new DeleteVolumeResponse();
    }

    private async Task<ValidateVolumeCapabilitiesResponse> ValidateAsync(ValidateVolumeCapabilitiesRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        if (request.VolumeCapabilities.Count == 0)
        {
            throw CsiRequests.Invalid("volume_capabilities is missing");
        }

        await FindAsync(id, cancellation).ConfigureAwait(false);
        var problem = request.VolumeCapabilities.Select(CsiRequests.Problem).FirstOrDefault(problem => problem is not null)
            ?? VolumeWish.TryAdd(VolumeWish.None, CsiRequests.Own(request.Parameters), out _)
            ?? VolumeWish.TryAdd(VolumeWish.None, request.MutableParameters, out _);
        return problem is not null ? new ValidateVolumeCapabilitiesResponse { Message = problem } : new ValidateVolumeCapabilitiesResponse
        {
            Confirmed = new()
            {
                VolumeContext = { request.VolumeContext },
                VolumeCapabilities = { request.VolumeCapabilities },
                Parameters = { request.Parameters },
                MutableParameters = { request.MutableParameters },
            },
        };
    }

    private async Task<ListVolumesResponse> ListVolumesAsync(ListVolumesRequest request, CancellationToken cancellation)
    {
        var all = (await cluster.ListAsync(cancellation).ConfigureAwait(false)).Where(volume => CsiLabels.Is(volume, CsiLabels.Volume));
        var nodes = await cluster.ServersAsync(ServerRole.Node, cancellation).ConfigureAwait(false);
        var page = Page.Of(all, request.MaxEntries, request.StartingToken, volume => new ListVolumesResponse.Types.Entry
        {
            Volume = Describe(volume),
            Status = new() { PublishedNodeIds = { NodesOf(nodes.Where(node => node.Alive), volume.Name) }, VolumeCondition = Condition(volume) },
        });
        return new ListVolumesResponse { NextToken = page.NextToken, Entries = { page.Entries } };
    }

    private async Task<GetCapacityResponse> GetCapacityAsync(GetCapacityRequest request, CancellationToken cancellation)
    {
        foreach (var capability in request.VolumeCapabilities)
        {
            if (CsiRequests.Problem(capability) is not null)
            {
                return new GetCapacityResponse { AvailableCapacity = 0 };
            }
        }

        var wish = CsiRequests.Add(VolumeWish.None, CsiRequests.Own(request.Parameters), "parameters");
        if (request.AccessibleTopology is { } segment && !IsServed(segment))
        {
            return new GetCapacityResponse { AvailableCapacity = 0 };
        }

        var free = await cluster.FreeBytesAsync(wish.Hints.Tier, cancellation).ConfigureAwait(false);
        return new GetCapacityResponse { AvailableCapacity = (long)Math.Min(free, long.MaxValue) };
    }

    private async Task<ControllerExpandVolumeResponse> ExpandAsync(ControllerExpandVolumeRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        if (request.CapacityRange is null)
        {
            throw CsiRequests.Invalid("capacity_range is missing");
        }

        var asked = CsiRequests.Capacity(request.CapacityRange);
        if (request.VolumeCapability is not null)
        {
            CsiRequests.Check(request.VolumeCapability);
        }

        using var pending = _pending.Begin(CsiNames.OfId(id));
        var volume = await FindAsync(id, cancellation).ConfigureAwait(false);
        var bytes = volume.LimitBytes == 0 ? 0 : Math.Max(asked, volume.LimitBytes);
        if (request.CapacityRange.LimitBytes > 0 && bytes > (ulong)request.CapacityRange.LimitBytes)
        {
            throw new GrpcException(GrpcStatusCode.OutOfRange, $"capacity_range.limit_bytes: the volume has {bytes} bytes already, and volumes do not shrink");
        }

        // Also when it has them: the metadata server may not have heard of it the last time.
        volume = await cluster.ChangeAsync(new(volume.Name, bytes, volume.LimitInodes, volume.Hints), cancellation).ConfigureAwait(false);
        return new ControllerExpandVolumeResponse { CapacityBytes = (long)(bytes == 0 ? asked : bytes), NodeExpansionRequired = false };
    }

    private async Task<ControllerGetVolumeResponse> GetVolumeAsync(ControllerGetVolumeRequest request, CancellationToken cancellation)
    {
        var volume = await FindAsync(CsiRequests.Required(request.VolumeId, "volume_id"), cancellation).ConfigureAwait(false);
        var nodes = await cluster.ServersAsync(ServerRole.Node, cancellation).ConfigureAwait(false);
        return new ControllerGetVolumeResponse
        {
            Volume = Describe(volume),
            Status = new() { PublishedNodeIds = { NodesOf(nodes.Where(node => node.Alive), volume.Name) }, VolumeCondition = Condition(volume) },
        };
    }

    private async Task<ControllerModifyVolumeResponse> ModifyAsync(ControllerModifyVolumeRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        var mutable = Mutable(request.MutableParameters);
        _ = CsiRequests.Add(VolumeWish.None, mutable, "mutable_parameters"); // what is wrong with them is said before whether there is such a volume
        using var pending = _pending.Begin(CsiNames.OfId(id));
        var volume = await FindAsync(id, cancellation).ConfigureAwait(false);
        var wish = new VolumeWish(volume.LimitBytes, volume.LimitInodes, VolumeHints.Parse(volume.Hints) ?? VolumeHints.None);
        wish = CsiRequests.Add(wish, mutable, "mutable_parameters");
        await cluster.ChangeAsync(new(volume.Name, wish.LimitBytes, wish.LimitInodes, wish.Hints.ToString()), cancellation).ConfigureAwait(false);
        return new ControllerModifyVolumeResponse();
    }

    /// <summary>What may be changed: not the size, for which there is ControllerExpandVolume.</summary>
    private static MapField<string, string> Mutable(MapField<string, string> parameters) =>
        parameters.ContainsKey("size") ? throw CsiRequests.Invalid("mutable_parameters: size is changed by the size of the claim") : parameters;

    /// <summary>Whether nodes of the driver can be in a segment. From wherever they are they reach all storage, so that each segment has all capacity and no volume is bound to one.</summary>
    private static bool IsServed(Topology segment) => segment.Segments.Keys.All(key => key == NodeService.ZoneKey);

    private static Volume Describe(in VolumeStatus volume)
    {
        var described = new Volume { VolumeId = volume.Name, CapacityBytes = (long)volume.LimitBytes };
        if (volume.Source.Length > 0)
        {
            described.ContentSource = CsiLabels.Get(volume, CsiLabels.SourceKind) == CsiLabels.Snapshot
                ? new VolumeContentSource { Snapshot = new() { SnapshotId = volume.Source } }
                : new VolumeContentSource { Volume = new() { VolumeId = volume.Source } };
        }

        return described;
    }

    private static IEnumerable<string> NodesOf(IEnumerable<ServerStatus> nodes, string volume) =>
        nodes.Where(node => node.Mounts.Any(mount => mount.Volume == volume)).Select(node => node.Name);

    /// <summary>How a volume is that nobody need have mounted; on a node there is more to say.</summary>
    internal static VolumeCondition Condition(in VolumeStatus volume) =>
        new() { Abnormal = !volume.IsDescribed, Message = volume.IsDescribed ? "served" : "its metadata server does not answer: see 'ephemeralfs status'" };

    private async Task<IEnumerable<string>> NodesOfAsync(string volume, CancellationToken cancellation) =>
        NodesOf(await cluster.ServersAsync(ServerRole.Node, cancellation).ConfigureAwait(false), volume);

    /// <summary>A volume that can be used, whoever made it.</summary>
    private async Task<VolumeStatus> FindAsync(string id, CancellationToken cancellation) =>
        await cluster.FindAsync(CsiNames.OfId(id), cancellation).ConfigureAwait(false) is { } volume && !CsiLabels.Is(volume, CsiLabels.Snapshot)
            ? volume
            : throw new GrpcException(GrpcStatusCode.NotFound, $"volume_id '{id}': there is no such volume");

    /// <summary>Has a volume that the controller knows made, if the metadata server has not heard of it yet.</summary>
    internal async Task<VolumeStatus> MakeAsync(VolumeStatus known, CancellationToken cancellation) =>
        await cluster.AddAsync(new(known.Name, known.LimitBytes, known.LimitInodes, known.Hints, known.Labels ?? [], known.Source), cancellation).ConfigureAwait(false)
            ?? throw new GrpcException(GrpcStatusCode.Aborted, $"volume {known.Name} is being changed: try again");

    /// <summary>Name of the volume that a content source is, and which kind it is of; empty for none.</summary>
    private static (string Name, string Kind) Source(VolumeContentSource? source) => source switch
    {
        null => ("", ""),
        { Snapshot: { } snapshot } => (CsiNames.OfId(CsiRequests.Required(snapshot.SnapshotId, "volume_content_source.snapshot.snapshot_id")), CsiLabels.Snapshot),
        { Volume: { } volume } => (CsiNames.OfId(CsiRequests.Required(volume.VolumeId, "volume_content_source.volume.volume_id")), CsiLabels.Volume),
        _ => throw CsiRequests.Invalid("volume_content_source has neither snapshot nor volume"),
    };

    private async Task<VolumeStatus?> FindSourceAsync(string name, string kind, CancellationToken cancellation) =>
        name.Length == 0 ? null
        : await cluster.FindAsync(name, cancellation).ConfigureAwait(false) is { } volume && CsiLabels.Is(volume, CsiLabels.Snapshot) == (kind == CsiLabels.Snapshot) ? volume
        : throw new GrpcException(GrpcStatusCode.NotFound, $"volume_content_source: there is no {kind} '{name}'");
}
