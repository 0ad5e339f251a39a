using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Volumes;
using Google.Protobuf.WellKnownTypes;
using VolumeStatus = EphemeralFs.Rpc.Messages.VolumeStatus;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>csi.v1.GroupController: snapshots of several volumes under one name. Each volume is cut at a moment of its own, right after the one before.</summary>
/// <param name="cluster">The cluster's controller.</param>
/// <param name="controller">Makes the single snapshots.</param>
internal sealed class GroupControllerService(ControllerClient cluster, ControllerService controller)
{
    private readonly PendingCalls _pending = new();

    /// <summary>The table of methods.</summary>
    public GrpcService Describe() => new(
        "csi.v1.GroupController",
        GrpcMethod.Unary("GroupControllerGetCapabilities", GroupControllerGetCapabilitiesRequest.Parser, (_, _) => Task.FromResult(new GroupControllerGetCapabilitiesResponse
        {
            Capabilities = { new GroupControllerServiceCapability { Rpc = new() { Type = GroupControllerServiceCapability.Types.RPC.Types.Type.CreateDeleteGetVolumeGroupSnapshot } } },
        })),
        GrpcMethod.Unary("CreateVolumeGroupSnapshot", CreateVolumeGroupSnapshotRequest.Parser, (request, call) => CreateAsync(request, call.Cancellation)),
        GrpcMethod.Unary("DeleteVolumeGroupSnapshot", DeleteVolumeGroupSnapshotRequest.Parser, (request, call) => DeleteAsync(request, call.Cancellation)),
        GrpcMethod.Unary("GetVolumeGroupSnapshot", GetVolumeGroupSnapshotRequest.Parser, (request, call) => GetAsync(request, call.Cancellation)));

    private static VolumeGroupSnapshot Describe(string group, IReadOnlyList<VolumeStatus> members) => new()
    {
        GroupSnapshotId = group,
        Snapshots = { members.Select(member => ControllerService.DescribeSnapshot(member)) },
        CreationTime = Timestamp.FromDateTime(members.Max(member => CsiLabels.CreatedAt(member))),
        ReadyToUse = members.All(member => member.IsDescribed),
    };

    private async Task<CreateVolumeGroupSnapshotResponse> CreateAsync(CreateVolumeGroupSnapshotRequest request, CancellationToken cancellation)
    {
        var name = CsiRequests.RequiredName(request.Name);
        if (request.SourceVolumeIds.Count == 0)
        {
            throw CsiRequests.Invalid("source_volume_ids is missing");
        }

        if (CsiRequests.Own(request.Parameters).FirstOrDefault() is { Key: { } key })
        {
            throw CsiRequests.Invalid($"parameters: unknown key '{key}'; snapshots have none");
        }

        var group = CsiNames.OfGroup(name);
        using var pending = _pending.Begin(group);
        var sources = request.SourceVolumeIds.Select(id => CsiNames.OfId(CsiRequests.Required(id, "source_volume_ids"))).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray();
        var of = CsiNames.OfSources(sources);
        var existing = (await MembersAsync(group, cancellation).ConfigureAwait(false)).ToDictionary(member => member.Source, StringComparer.Ordinal);
        if (existing.Values.Any(member => CsiLabels.Get(member, CsiLabels.GroupSources) != of))
        {
            throw new GrpcException(GrpcStatusCode.AlreadyExists, $"name '{name}': there is a group of that name of other volumes");
        }

        var volumes = new List<VolumeStatus>();
        foreach (var source in sources.Where(source => !existing.ContainsKey(source)))
        {
            // All are there, or none is cut. Of what a call of before has cut, the source may be gone by now.
            volumes.Add(await cluster.FindAsync(source, cancellation).ConfigureAwait(false) is { } volume && !CsiLabels.Is(volume, CsiLabels.Snapshot)
                ? volume
                : throw new GrpcException(GrpcStatusCode.NotFound, $"source_volume_ids: there is no volume '{source}'"));
        }

        var members = new List<VolumeStatus>();
        foreach (var member in existing.Values)
        {
            members.Add(await controller.MakeAsync(member, cancellation).ConfigureAwait(false));
        }

        foreach (var volume in volumes)
        {
            members.Add(await controller.SnapshotAsync(CsiNames.OfSnapshotInGroup(group, volume.Name), name, volume, cancellation, group, of).ConfigureAwait(false)
                ?? throw new GrpcException(GrpcStatusCode.Aborted, $"the snapshot of volume {volume.Name} comes and goes: try again"));
        }

        return new CreateVolumeGroupSnapshotResponse { GroupSnapshot = Describe(group, members) };
    }

    private async Task<DeleteVolumeGroupSnapshotResponse> DeleteAsync(DeleteVolumeGroupSnapshotRequest request, CancellationToken cancellation)
    {
        var group = CsiRequests.Required(request.GroupSnapshotId, "group_snapshot_id");
        using var pending = _pending.Begin(group);
        var members = await MembersAsync(group, cancellation).ConfigureAwait(false);
        CheckIds(members, request.SnapshotIds);
        if (members.FirstOrDefault(member => member.Sessions > 0) is { Name: { } used })
        {
            // All of them go, or none.
            throw await controller.MountedAsync(used, cancellation).ConfigureAwait(false);
        }

        foreach (var member in members)
        {
            await controller.RemoveSnapshotAsync(member.Name, cancellation).ConfigureAwait(false);
        }

        return new DeleteVolumeGroupSnapshotResponse();
    }

    private async Task<GetVolumeGroupSnapshotResponse> GetAsync(GetVolumeGroupSnapshotRequest request, CancellationToken cancellation)
    {
        var group = CsiRequests.Required(request.GroupSnapshotId, "group_snapshot_id");
        var members = await MembersAsync(group, cancellation).ConfigureAwait(false);
        if (members.Count == 0)
        {
            throw new GrpcException(GrpcStatusCode.NotFound, $"group_snapshot_id '{group}': there is no such group");
        }

        CheckIds(members, request.SnapshotIds);
        return new GetVolumeGroupSnapshotResponse { GroupSnapshot = Describe(group, members) };
    }

    /// <summary>Ids that are given must be members; a group that is being deleted for the second time has fewer.</summary>
    private static void CheckIds(IReadOnlyList<VolumeStatus> members, IReadOnlyCollection<string> ids)
    {
        if (members.Count > 0 && ids.FirstOrDefault(id => members.All(member => member.Name != id)) is { } stranger)
        {
            throw CsiRequests.Invalid($"snapshot_ids: '{stranger}' does not belong to the group");
        }
    }

    private async Task<IReadOnlyList<VolumeStatus>> MembersAsync(string group, CancellationToken cancellation) =>
        [.. (await cluster.ListAsync(cancellation).ConfigureAwait(false)).Where(volume => CsiLabels.Is(volume, CsiLabels.Snapshot) && CsiLabels.Get(volume, CsiLabels.Group) == group)];
}
