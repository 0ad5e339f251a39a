using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Service;

/// <summary>Tells storage servers in the background which blocks and volumes to delete, until they have acknowledged.</summary>
internal sealed class BlockReaper : IDisposable
{
    /// <summary>Blocks in one request.</summary>
    private const int BatchBlocks = 4096;

    /// <summary>Lets deletions collect into batches.</summary>
    private const int CollectMs = 20;

    /// <summary>Pause before a server that does not answer is tried again.</summary>
    private const int RetryMs = 500;
    private const int CallTimeoutMs = 5_000;

    private readonly MetadataService _service;
    private readonly Func<Endpoint, RpcClient> _connect;
    private readonly Func<uint, Endpoint?> _endpointOf;
    private readonly Func<IReadOnlyCollection<uint>> _servers;
    private readonly ILogger _logger;
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stopping = new();
    private readonly Dictionary<uint, (RpcClient Client, long NotBeforeMs)> _clients = [];
    private readonly HashSet<(uint Volume, uint Server)> _dropped = [];
    private Task _loop = Task.CompletedTask;

    /// <param name="service">Whose volumes.</param>
    /// <param name="connect">Makes a client.</param>
    /// <param name="endpointOf">Where a storage server is, null while that is unknown.</param>
    /// <param name="servers">Ids of all known storage servers.</param>
    /// <param name="logger">For what goes wrong.</param>
    public BlockReaper(
        MetadataService service,
        Func<Endpoint, RpcClient> connect,
        Func<uint, Endpoint?> endpointOf,
        Func<IReadOnlyCollection<uint>> servers,
        ILogger logger)
    {
        _service = service;
        _connect = connect;
        _endpointOf = endpointOf;
        _servers = servers;
        _logger = logger;
    }

    public void Start() => _loop = Task.Run(RunAsync);

    /// <summary>There is something to delete, or a server became known.</summary>
    public void Wake()
    {
        try
        {
            if (_wake.CurrentCount == 0)
            {
                _wake.Release();
            }
        }
        catch (SemaphoreFullException)
        {
            // Two at once: one wake-up is enough.
        }
    }

    public void Dispose()
    {
        _stopping.Cancel();
        foreach (var (client, _) in _clients.Values)
        {
            client.Dispose();
        }

        _loop.Wait();
        _stopping.Dispose();
        _wake.Dispose();
    }

    private async Task RunAsync()
    {
        var retry = Timeout.Infinite;
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                await _wake.WaitAsync(retry, _stopping.Token);
                await Task.Delay(CollectMs, _stopping.Token);
                retry = await SweepAsync() ? Timeout.Infinite : RetryMs;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e)
            {
                _logger.LogError(e, "deleting blocks failed; it is tried again");
                retry = RetryMs;
            }
        }
    }

    /// <summary>Goes once through everything. False when something is left because a server did not answer.</summary>
    private async Task<bool> SweepAsync()
    {
        var done = true;
        foreach (var volume in _service.Volumes)
        {
            foreach (var server in volume.ServersWithDeletes())
            {
                // A server that is not known yet makes itself known, and that wakes us.
                done &= _endpointOf(server) is not { } endpoint || await DrainAsync(volume, server, endpoint);
            }
        }

        foreach (var volume in _service.DeletedVolumes())
        {
            var all = true;
            foreach (var server in _servers())
            {
                all &= _dropped.Contains((volume, server))
                    || (_endpointOf(server) is { } endpoint && await DropAsync(volume, server, endpoint));
            }

            if (all && _servers().Count > 0)
            {
                _service.ForgetDeleted(volume);
                _dropped.RemoveWhere(d => d.Volume == volume);
            }

            done &= all;
        }

        return done;
    }

    private async Task<bool> DrainAsync(VolumeService volume, uint server, Endpoint endpoint)
    {
        while (volume.NextDeletes(server, BatchBlocks) is { Length: > 0 } ids)
        {
            if (!await CallAsync<DeleteBlocksRequest>(server, endpoint, new DeleteBlocksRequest(ids)))
            {
                return false;
            }

            volume.Deleted(server, ids.Length);
        }

        return true;
    }

    private async Task<bool> DropAsync(uint volume, uint server, Endpoint endpoint)
    {
        if (!await CallAsync<DeleteVolumeBlocksRequest>(server, endpoint, new DeleteVolumeBlocksRequest(volume)))
        {
            return false;
        }

        _dropped.Add((volume, server));
        return true;
    }

    private async Task<bool> CallAsync<TRequest>(uint server, Endpoint endpoint, TRequest request)
        where TRequest : struct, IRequest<TRequest, Empty>
    {
        if (_clients.TryGetValue(server, out var known) && (known.Client.Endpoint != endpoint || _stopping.IsCancellationRequested))
        {
            known.Client.Dispose();
            _clients.Remove(server);
        }

        _stopping.Token.ThrowIfCancellationRequested();
        if (!_clients.TryGetValue(server, out known))
        {
            known = (_connect(endpoint), 0);
            _clients.Add(server, known);
        }

        if (Environment.TickCount64 < known.NotBeforeMs)
        {
            return false;
        }

        var result = await known.Client.CallAsync<TRequest, Empty>(request, timeoutMs: CallTimeoutMs, cancellation: _stopping.Token);
        if (result.Status != Status.OK)
        {
            _clients[server] = (known.Client, Environment.TickCount64 + RetryMs);
            if (result.Status != Status.Unavailable)
            {
                _logger.LogWarning("storage server {Server} answered {Opcode} with {Status}", server, TRequest.Opcode, result.Status);
            }
        }

        return result.Status == Status.OK;
    }
}
