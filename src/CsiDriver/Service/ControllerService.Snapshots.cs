using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Volumes;
using EphemeralFs.Rpc.Messages;
using Google.Protobuf.WellKnownTypes;

namespace EphemeralFs.CsiDriver.Service;

/// <content>Snapshots: volumes that nobody mounts, which share all blocks with what they were made of.</content>
internal sealed partial class ControllerService
{
    internal static Snapshot DescribeSnapshot(in VolumeStatus snapshot) => new()
    {
        SnapshotId = snapshot.Name,
        SourceVolumeId = snapshot.Source,
        SizeBytes = (long)Math.Max(snapshot.LimitBytes, snapshot.UsedBytes),
        CreationTime = Timestamp.FromDateTime(CsiLabels.CreatedAt(snapshot)),
        ReadyToUse = snapshot.IsDescribed, // else it is written down, and whoever asked for it asks again
        GroupSnapshotId = CsiLabels.Get(snapshot, CsiLabels.Group),
    };

    /// <summary>Makes a snapshot, or finds it; null when there is one of that name of another volume.</summary>
    internal async Task<VolumeStatus?> SnapshotAsync(
        string name, string label, VolumeStatus source, CancellationToken cancellation, string group = "", string groupSources = "")
    {
        Label[] labels = [new(CsiLabels.Kind, CsiLabels.Snapshot), new(CsiLabels.Name, label), new(CsiLabels.Group, group), new(CsiLabels.GroupSources, groupSources)];
        var made = await cluster.AddAsync(new(name, source.LimitBytes, source.LimitInodes, source.Hints, labels, source.Name), cancellation).ConfigureAwait(false)
            ?? await cluster.FindAsync(name, cancellation).ConfigureAwait(false);
        return made is { } snapshot && snapshot.Source == source.Name && CsiLabels.Is(snapshot, CsiLabels.Snapshot) ? snapshot : null;
    }

    private async Task<CreateSnapshotResponse> CreateSnapshotAsync(CreateSnapshotRequest request, CancellationToken cancellation)
    {
        var name = CsiRequests.RequiredName(request.Name);
        var id = CsiRequests.Required(request.SourceVolumeId, "source_volume_id");
        if (CsiRequests.Own(request.Parameters).FirstOrDefault() is { Key: { } key })
        {
            throw CsiRequests.Invalid($"parameters: unknown key '{key}'; snapshots have none");
        }

        using var pending = _pending.Begin(CsiNames.OfSnapshot(name));
        if (await cluster.FindAsync(CsiNames.OfSnapshot(name), cancellation).ConfigureAwait(false) is { } existing)
        {
            // The source may be gone by now: this call is of before.
            return existing.Source == CsiNames.OfId(id)
                ? new CreateSnapshotResponse { Snapshot = DescribeSnapshot(await MakeAsync(existing, cancellation).ConfigureAwait(false)) }
                : throw new GrpcException(GrpcStatusCode.AlreadyExists, $"name '{name}': there is a snapshot of that name of volume {existing.Source}");
        }

        var source = await FindAsync(id, cancellation).ConfigureAwait(false);
        var made = await SnapshotAsync(CsiNames.OfSnapshot(name), name, source, cancellation).ConfigureAwait(false)
            ?? throw new GrpcException(GrpcStatusCode.AlreadyExists, $"name '{name}': there is a snapshot of that name of another volume");
        return new CreateSnapshotResponse { Snapshot = DescribeSnapshot(made) };
    }

    private async Task<DeleteSnapshotResponse> DeleteSnapshotAsync(DeleteSnapshotRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.SnapshotId, "snapshot_id");
        using var pending = _pending.Begin(id);
        if (await FindSnapshotAsync(id, cancellation).ConfigureAwait(false) is { } snapshot)
        {
            if (CsiLabels.Get(snapshot, CsiLabels.Group) is { Length: > 0 } group)
            {
                throw CsiRequests.Invalid($"snapshot_id '{id}' belongs to the group {group}: delete the group");
            }

            await RemoveSnapshotAsync(snapshot.Name, cancellation).ConfigureAwait(false);
        }

        return new DeleteSnapshotResponse();
    }

    /// <summary>Deletes a snapshot; somebody may have mounted it by hand.</summary>
    internal async Task RemoveSnapshotAsync(string name, CancellationToken cancellation)
    {
        if (!await cluster.RemoveAsync(name, force: false, cancellation).ConfigureAwait(false))
        {
            throw await MountedAsync(name, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>What is said of a snapshot that cannot be deleted now.</summary>
    internal async Task<GrpcException> MountedAsync(string name, CancellationToken cancellation) => new(
        GrpcStatusCode.FailedPrecondition, $"snapshot_id {name}: the snapshot is mounted on {string.Join(", ", await NodesOfAsync(name, cancellation).ConfigureAwait(false))}");

    private async Task<ListSnapshotsResponse> ListSnapshotsAsync(ListSnapshotsRequest request, CancellationToken cancellation)
    {
        var all = (await cluster.ListAsync(cancellation).ConfigureAwait(false)).Where(volume => CsiLabels.Is(volume, CsiLabels.Snapshot)
            && (request.SnapshotId.Length == 0 || volume.Name == request.SnapshotId)
            && (request.SourceVolumeId.Length == 0 || volume.Source == CsiNames.OfId(request.SourceVolumeId)));
        var page = Page.Of(all, request.MaxEntries, request.StartingToken, static snapshot => new ListSnapshotsResponse.Types.Entry { Snapshot = DescribeSnapshot(snapshot) });
        return new ListSnapshotsResponse { NextToken = page.NextToken, Entries = { page.Entries } };
    }

    private async Task<GetSnapshotResponse> GetSnapshotAsync(GetSnapshotRequest request, CancellationToken cancellation)
    {
        var id = CsiRequests.Required(request.SnapshotId, "snapshot_id");
        return await FindSnapshotAsync(id, cancellation).ConfigureAwait(false) is { } snapshot
            ? new GetSnapshotResponse { Snapshot = DescribeSnapshot(snapshot) }
            : throw new GrpcException(GrpcStatusCode.NotFound, $"snapshot_id '{id}': there is no such snapshot");
    }

    private async Task<VolumeStatus?> FindSnapshotAsync(string id, CancellationToken cancellation) =>
        await cluster.FindAsync(CsiNames.OfId(id), cancellation).ConfigureAwait(false) is { } volume && CsiLabels.Is(volume, CsiLabels.Snapshot) ? volume : null;
}
