using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.CsiDriver.Cluster;

/// <summary>The daemon of this node, which does all the mounting: the plugin itself needs no privilege. Failures are <see cref="GrpcException"/>s.</summary>
/// <param name="socket">Its control socket.</param>
/// <param name="root">Kubelet's directory; empty for none.</param>
public sealed class NodeClient(Endpoint socket, string root) : IDisposable
{
    /// <summary>The bound of a request, milliseconds: longer than the daemon's own to servers, shorter than the two minutes of kubelet.</summary>
    private const int AnswerMs = 60_000;

    private readonly RpcClient _client = new(socket);

    /// <summary>Makes a volume appear at a directory.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="target">Where.</param>
    /// <param name="options">Of mount(8), separated by commas.</param>
    /// <param name="group">Group of the root directory, or negative.</param>
    /// <param name="cancellation">Ends the waiting, not the work.</param>
    public async Task PublishAsync(VolumeStatus volume, string target, string options, long group, CancellationToken cancellation) =>
        await CallAsync<PublishRequest, Empty>(new(volume.Name, target, options, group, root, volume.MetadataEndpoint, volume.Hints), $"target_path {target}", cancellation).ConfigureAwait(false);

    /// <summary>Takes a volume away from a directory, and the directory too.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="target">Where.</param>
    /// <param name="discards">It is deleted next.</param>
    /// <param name="cancellation">Ends the waiting, not the work.</param>
    public async Task UnpublishAsync(string volume, string target, bool discards, CancellationToken cancellation) =>
        await CallAsync<UnpublishRequest, Empty>(new(volume, target, root, discards), $"target_path {target}", cancellation).ConfigureAwait(false);

    /// <summary>Where a volume is published on this node; all for "".</summary>
    public async Task<PublishedVolume[]> PublishedAsync(string volume, CancellationToken cancellation) =>
        (await CallAsync<GetPublishedRequest, GetPublishedReply>(new(volume, root), "publications", cancellation).ConfigureAwait(false)).Published;

    /// <summary>Null when it answers, else what is wrong.</summary>
    public async Task<string?> ProblemAsync(int timeoutMs, CancellationToken cancellation)
    {
        var result = await _client.CallAsync<NodeStatusRequest, NodeStatusReply>(default, timeoutMs: timeoutMs, cancellation: cancellation).ConfigureAwait(false);
        return result.IsOk ? null : NoAnswer(result.Status);
    }

    /// <inheritdoc/>
    public void Dispose() => _client.Dispose();

    private async Task<TReply> CallAsync<TRequest, TReply>(TRequest request, string field, CancellationToken cancellation)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        var result = await _client.CallAsync<TRequest, TReply>(request, timeoutMs: AnswerMs, cancellation: cancellation).ConfigureAwait(false);
        return result.IsOk ? result.Value
            : throw result.Status.ToGrpc(
                result.Error.Length > 0 ? $"{field}: {result.Error}"
                : result.Status == Status.Unavailable ? NoAnswer(result.Status)
                : $"{field}: {result.Status}");
    }

    private string NoAnswer(Status status) => $"the node daemon at {socket} does not answer ({status}): is the node's daemon running?";
}
