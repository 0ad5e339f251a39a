using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Volumes;
using EphemeralFs.Rpc.Messages;
using AccessMode = EphemeralFs.CsiDriver.Csi.VolumeCapability.Types.AccessMode.Types.Mode;
using Capability = EphemeralFs.CsiDriver.Csi.NodeServiceCapability.Types.RPC.Types.Type;
using VolumeStatus = EphemeralFs.Rpc.Messages.VolumeStatus;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>What a node plugin is told at its start.</summary>
/// <param name="Node">Name of the node in Kubernetes.</param>
/// <param name="Zone">Its zone.</param>
/// <param name="AbandonedAfter">See <see cref="CsiOptions.AbandonedAfter"/>.</param>
internal sealed record NodeServiceOptions(string Node, string Zone, TimeSpan AbandonedAfter);

/// <summary>
/// csi.v1.Node: volumes at the directories of pods. There is no staging: it would make pods that share a volume wait for each other, and the node's daemon has
/// one mount of a volume anyway (CSI specification, "Node Service RPC").
/// </summary>
/// <param name="options">Name and place.</param>
/// <param name="cluster">The cluster's controller.</param>
/// <param name="node">The daemon that mounts.</param>
internal sealed class NodeService(NodeServiceOptions options, ControllerClient cluster, NodeClient node)
{
    /// <summary>Where a node is, in the terms of topology.</summary>
    public const string ZoneKey = "topology.ephemeralfs.io/zone";

    private const string EphemeralKey = "csi.storage.k8s.io/ephemeral";

    private static readonly Capability[] s_capabilities =
        [Capability.GetVolumeStats, Capability.VolumeCondition, Capability.SingleNodeMultiWriter, Capability.VolumeMountGroup, Capability.ExpandVolume];

    private readonly PendingCalls _pending = new();

    /// <summary>Inline volumes without a place.</summary>
    private readonly Unused _unpublished = new(options.AbandonedAfter, TimeProvider.System);

    /// <summary>The table of methods.</summary>
    public GrpcService Describe() => new(
        "csi.v1.Node",
        GrpcMethod.Unary("NodeGetCapabilities", NodeGetCapabilitiesRequest.Parser, (_, _) => Task.FromResult(new NodeGetCapabilitiesResponse
        {
            Capabilities = { s_capabilities.Select(type => new NodeServiceCapability { Rpc = new() { Type = type } }) },
        })),
        GrpcMethod.Unary("NodeGetInfo", NodeGetInfoRequest.Parser, (_, _) => Task.FromResult(new NodeGetInfoResponse
        {
            NodeId = options.Node,
            AccessibleTopology = new() { Segments = { [ZoneKey] = options.Zone } },
        })),
        GrpcMethod.Unary("NodePublishVolume", NodePublishVolumeRequest.Parser, (request, call) => PublishAsync(request, call.Cancellation)),
        GrpcMethod.Unary("NodeUnpublishVolume", NodeUnpublishVolumeRequest.Parser, (request, call) => UnpublishAsync(request, call.Cancellation)),
        GrpcMethod.Unary("NodeGetVolumeStats", NodeGetVolumeStatsRequest.Parser, (request, call) => GetStatsAsync(request, call.Cancellation)),
        GrpcMethod.Unary("NodeExpandVolume", NodeExpandVolumeRequest.Parser, (request, call) => ExpandAsync(request, call.Cancellation)));

    /// <summary>Deletes inline volumes of this node that a publish made which failed and was never repeated. Returns how many.</summary>
    public async Task<int> CollectAsync(CancellationToken cancellation)
    {
        var published = (await node.PublishedAsync("", cancellation).ConfigureAwait(false)).Select(place => place.Volume).ToHashSet(StringComparer.Ordinal);
        var unpublished = (await cluster.ListAsync(cancellation).ConfigureAwait(false))
            .Where(volume => CsiLabels.Is(volume, CsiLabels.Inline) && CsiLabels.Get(volume, CsiLabels.Node) == options.Node && !published.Contains(volume.Name))
            .Select(volume => volume.Name);

        // Not by their age: after a reboot of the node, kubelet publishes anew what pods have had for long.
        var collected = 0;
        foreach (var name in _unpublished.For(unpublished))
        {
            // Kubelet may come again after any time: what it publishes just now is not taken away under it.
            using var pending = _pending.TryBegin(name);
            if (pending is not null
                && (await node.PublishedAsync(name, cancellation).ConfigureAwait(false)).Length == 0
                && await _unpublished.RemoveAsync(cluster, name, cancellation).ConfigureAwait(false))
            {
                collected++;
            }
        }

        return collected;
    }

    private async Task<NodePublishVolumeResponse> PublishAsync(NodePublishVolumeRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        var target = CsiRequests.RequiredPath(request.TargetPath, "target_path");
        CsiRequests.Check(request.VolumeCapability);
        var capability = request.VolumeCapability;
        var mode = capability.AccessMode.Mode;
        var isReadOnly = request.Readonly || mode is AccessMode.SingleNodeReaderOnly or AccessMode.MultiNodeReaderOnly;
        var group = uint.TryParse(capability.Mount.VolumeMountGroup, out var gid) ? gid : -1L;
        var flags = capability.Mount.MountFlags.Distinct();
        var name = CsiNames.OfId(id);
        var place = Path.TrimEndingDirectorySeparator(target);

        var isInline = request.VolumeContext.TryGetValue(EphemeralKey, out var ephemeral) && ephemeral == "true";

        // Pods that share a volume need not wait for each other, unless there may be one only.
        using var pending = _pending.Begin(name, mode == AccessMode.SingleNodeSingleWriter || isInline ? "" : place);
        var found = isInline
            ? await MakeInlineAsync(name, id, request, cancellation).ConfigureAwait(false)
            : await cluster.FindAsync(name, cancellation).ConfigureAwait(false);
        if (found is not { } volume || CsiLabels.Is(volume, CsiLabels.Snapshot))
        {
            throw new GrpcException(GrpcStatusCode.NotFound, $"volume_id '{id}': there is no such volume");
        }

        if (mode == AccessMode.SingleNodeSingleWriter
            && (await node.PublishedAsync(name, cancellation).ConfigureAwait(false)).FirstOrDefault(other => other.Target != place) is { Target: { Length: > 0 } elsewhere })
        {
            throw new GrpcException(GrpcStatusCode.FailedPrecondition, $"volume_id '{id}' has one writer only and is published at {elsewhere} already");
        }

        try
        {
            await node.PublishAsync(volume, target, string.Join(',', isReadOnly ? [.. flags, "ro"] : flags), group, cancellation).ConfigureAwait(false);
        }
        catch (GrpcException) when (isInline)
        {
            // Kubelet need not come again: what cannot be published leaves nothing, unless it is at another place. What cannot be removed now is collected later.
            await RemoveInlineIfUnusedAsync(name, CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        return new NodePublishVolumeResponse();
    }

    private async Task<NodeUnpublishVolumeResponse> UnpublishAsync(NodeUnpublishVolumeRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        var target = CsiRequests.RequiredPath(request.TargetPath, "target_path");
        var name = CsiNames.OfId(id);
        var (isInline, unknown) = CsiNames.MayBeInline(name) ? await IsInlineAsync(name, cancellation).ConfigureAwait(false) : (false, null);
        using var pending = _pending.Begin(name, isInline ? "" : Path.TrimEndingDirectorySeparator(target));
        await node.UnpublishAsync(name, target, discards: isInline, cancellation).ConfigureAwait(false);
        if (unknown is not null)
        {
            throw unknown;
        }

        if (isInline && (await node.PublishedAsync(name, cancellation).ConfigureAwait(false)).Length == 0)
        {
            // By force: what a program of the pod still has open is of no use to anybody.
            await cluster.RemoveAsync(name, force: true, cancellation).ConfigureAwait(false);
        }

        return new NodeUnpublishVolumeResponse();
    }

    private async Task<NodeGetVolumeStatsResponse> GetStatsAsync(NodeGetVolumeStatsRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        var path = CsiRequests.RequiredPath(request.VolumePath, "volume_path");
        var (volume, place) = await FindPublishedAsync(id, path, cancellation).ConfigureAwait(false);

        if (!volume.IsDescribed)
        {
            // Its use is not known: better none than zeros.
            return new NodeGetVolumeStatsResponse { VolumeCondition = ControllerService.Condition(volume) };
        }

        // Never asked of the mount itself: one that hangs must not hang kubelet.
        var free = await cluster.FreeBytesAsync(TierClass.None, cancellation).ConfigureAwait(false);
        var left = volume.LimitBytes == 0 ? free : Math.Min(free, volume.LimitBytes - Math.Min(volume.LimitBytes, volume.UsedBytes));
        var inodes = volume.LimitInodes == 0 ? long.MaxValue : (long)volume.LimitInodes;
        return new NodeGetVolumeStatsResponse
        {
            Usage =
            {
                new VolumeUsage
                {
                    Unit = VolumeUsage.Types.Unit.Bytes,
                    Total = (long)(volume.LimitBytes == 0 ? volume.UsedBytes + free : volume.LimitBytes),
                    Used = (long)volume.UsedBytes,
                    Available = (long)left,
                },
                new VolumeUsage { Unit = VolumeUsage.Types.Unit.Inodes, Total = inodes, Used = (long)volume.UsedInodes, Available = Math.Max(0, inodes - (long)volume.UsedInodes) },
            },
            VolumeCondition = place.Problem.Length > 0 ? new() { Abnormal = true, Message = place.Problem } : ControllerService.Condition(volume),
        };
    }

    /// <summary>Nothing is left to do on a node: the metadata server knows the new limit.</summary>
    private async Task<NodeExpandVolumeResponse> ExpandAsync(NodeExpandVolumeRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.VolumeId, "volume_id");
        var path = CsiRequests.RequiredPath(request.VolumePath, "volume_path");
        _ = CsiRequests.Capacity(request.CapacityRange);
        var (volume, _) = await FindPublishedAsync(id, path, cancellation).ConfigureAwait(false);
        return new NodeExpandVolumeResponse { CapacityBytes = (long)volume.LimitBytes };
    }

    private async Task<(VolumeStatus Volume, PublishedVolume Place)> FindPublishedAsync(string id, string path, CancellationToken cancellation)
    {
        var name = CsiNames.OfId(id);
        if (await cluster.FindAsync(name, cancellation).ConfigureAwait(false) is not { } volume)
        {
            throw new GrpcException(GrpcStatusCode.NotFound, $"volume_id '{id}': there is no such volume");
        }

        var target = Path.TrimEndingDirectorySeparator(path);
        return (await node.PublishedAsync(name, cancellation).ConfigureAwait(false)).FirstOrDefault(place => place.Target == target) is { Target: { Length: > 0 } } place
            ? (volume, place)
            : throw new GrpcException(GrpcStatusCode.NotFound, $"volume_path '{path}': volume {id} is not published there");
    }

    private async Task<VolumeStatus> MakeInlineAsync(string name, string id, NodePublishVolumeRequest request, CancellationToken cancellation)
    {
        var wish = CsiRequests.Add(VolumeWish.None, CsiRequests.Own(request.VolumeContext), "volume_context (volumeAttributes of the pod)");
        if (!CsiNames.MayBeInline(name))
        {
            throw CsiRequests.Invalid($"volume_id '{id}' is one of CreateVolume, and {EphemeralKey} is said of it in volume_context");
        }

        Label[] labels = [new(CsiLabels.Kind, CsiLabels.Inline), new(CsiLabels.Name, id), new(CsiLabels.Node, options.Node)];
        return await cluster.AddAsync(new(name, wish.LimitBytes, wish.LimitInodes, wish.Hints.ToString(), labels), cancellation).ConfigureAwait(false)
            ?? throw new GrpcException(GrpcStatusCode.AlreadyExists, $"volume_id '{id}': there is a volume of that id with other attributes");
    }

    /// <summary>Whether it is an inline volume, or why nobody knows: the place is taken away all the same.</summary>
    private async Task<(bool IsInline, GrpcException? Unknown)> IsInlineAsync(string name, CancellationToken cancellation)
    {
        try
        {
            return (await cluster.FindAsync(name, cancellation).ConfigureAwait(false) is { } volume && CsiLabels.Is(volume, CsiLabels.Inline), null);
        }
        catch (GrpcException e)
        {
            return (false, e);
        }
    }

    private async Task RemoveInlineIfUnusedAsync(string name, CancellationToken cancellation)
    {
        try
        {
            if ((await node.PublishedAsync(name, cancellation).ConfigureAwait(false)).Length == 0)
            {
                await cluster.RemoveAsync(name, force: false, cancellation).ConfigureAwait(false);
            }
        }
        catch (GrpcException)
        {
            // The error that is on its way to kubelet says more; CollectAsync tries again.
        }
    }
}
