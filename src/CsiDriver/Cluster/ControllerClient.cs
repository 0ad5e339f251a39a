using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.CsiDriver.Cluster;

/// <summary>The cluster's controller, which has all state that the driver needs. Failures are <see cref="GrpcException"/>s.</summary>
/// <param name="endpoint">Where it serves.</param>
public sealed class ControllerClient(Endpoint endpoint) : IDisposable
{
    /// <summary>The bound of a request, milliseconds: longer than the controller's own to a metadata server, shorter than any sidecar's.</summary>
    private const int AnswerMs = 10_000;

    private readonly RpcClient _client = new(endpoint);

    /// <summary>The volume of that name, or null.</summary>
    public async Task<VolumeStatus?> FindAsync(string name, CancellationToken cancellation) =>
        name.Length > 0 && (await CallAsync<GetVolumesRequest, GetVolumesReply>(new(name), cancellation).ConfigureAwait(false)).Volumes is [var volume] ? volume : null;

    /// <summary>All volumes, by name.</summary>
    public async Task<VolumeStatus[]> ListAsync(CancellationToken cancellation) =>
        Value(await _client.ListVolumesAsync(timeoutMs: AnswerMs, cancellation: cancellation).ConfigureAwait(false)).Volumes;

    /// <summary>The servers of a role.</summary>
    public async Task<ServerStatus[]> ServersAsync(ServerRole role, CancellationToken cancellation) =>
        Value(await _client.ListServersAsync(role, AnswerMs, cancellation).ConfigureAwait(false)).Servers;

    /// <summary>What living storage servers still have room for, bytes.</summary>
    /// <param name="wanted">In tiers of this class only; None: in all.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    public async Task<ulong> FreeBytesAsync(TierClass wanted, CancellationToken cancellation) =>
        (await ServersAsync(ServerRole.Storage, cancellation).ConfigureAwait(false))
            .Where(server => server.Alive)
            .SelectMany(server => server.Tiers)
            .Where(tier => tier.Healthy && (wanted == TierClass.None || tier.Tier == wanted) && tier.CapacityBytes > tier.UsedBytes)
            .Aggregate(0UL, static (sum, tier) => sum + tier.CapacityBytes - tier.UsedBytes);

    /// <summary>Makes a volume. Null when there is one with other properties.</summary>
    public async Task<VolumeStatus?> AddAsync(AddVolumeRequest request, CancellationToken cancellation)
    {
        var made = await _client.CallAsync<AddVolumeRequest, VolumeStatus>(request, timeoutMs: AnswerMs, cancellation: cancellation).ConfigureAwait(false);
        return made.IsOk ? made.Value
            : made.Status == Status.VolumeExists ? null

            // It may be there or come to be, and who is told INTERNAL of it never asks for it again, nor deletes it.
            : made.Status == Status.Internal ? throw new GrpcException(GrpcStatusCode.Unavailable, $"volume {request.Name} cannot be made, for a reason that the log of the controller or of the metadata server has")
            : throw Failed(made.Status, made.Status == Status.NoSuchVolume ? $"there is no volume {request.Source}" : $"volume {request.Name} cannot be made", made.Error);
    }

    /// <summary>Changes limits and hints.</summary>
    public Task<VolumeStatus> ChangeAsync(ChangeVolumeRequest request, CancellationToken cancellation) =>
        CallAsync<ChangeVolumeRequest, VolumeStatus>(request, cancellation);

    /// <summary>Deletes a volume. False when it is mounted somewhere.</summary>
    public async Task<bool> RemoveAsync(string name, bool force, CancellationToken cancellation)
    {
        var gone = await _client.CallAsync<RemoveVolumeRequest, Empty>(new(name, force), timeoutMs: AnswerMs, cancellation: cancellation).ConfigureAwait(false);
        return gone.IsOk || (gone.Status == Status.VolumeBusy ? false : throw Failed(gone.Status, $"volume {name} cannot be deleted", gone.Error));
    }

    /// <inheritdoc/>
    public void Dispose() => _client.Dispose();

    private async Task<TReply> CallAsync<TRequest, TReply>(TRequest request, CancellationToken cancellation)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply> =>
        Value(await _client.CallAsync<TRequest, TReply>(request, timeoutMs: AnswerMs, cancellation: cancellation).ConfigureAwait(false));

    private TReply Value<TReply>(in RpcResult<TReply> result) => result.IsOk ? result.Value : throw Failed(result.Status, "the controller refuses", result.Error);

    private GrpcException Failed(Status status, string what, string error) => status.ToGrpc(
        error.Length > 0 ? $"{what}: {error}"
        : status == Status.Unavailable
        ? $"the controller at {endpoint}, or the volume's metadata server, does not answer"
        : $"{what}: {status}");
}
