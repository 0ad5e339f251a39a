using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Service;

/// <summary>A storage server as the controller describes it.</summary>
/// <param name="Endpoint">Where it serves.</param>
/// <param name="Alive">Whether its heartbeats arrive.</param>
/// <param name="StartedNs">When this life of it began.</param>
internal readonly record struct StorageServerInfo(Endpoint Endpoint, bool Alive, long StartedNs);

/// <summary>Tells storage servers in the background which blocks and volumes to delete and which sessions have ended, until they have acknowledged.</summary>
internal sealed class StorageNotifier : IDisposable
{
    /// <summary>Blocks in one request.</summary>
    private const int BatchBlocks = 4096;

    /// <summary>Lets news collect into batches.</summary>
    private const int CollectMs = 20;

    /// <summary>Pause before a server that does not answer is tried again.</summary>
    private const int RetryMs = 500;
    private const int CallTimeoutMs = 5_000;

    private readonly MetadataService _service;
    private readonly Func<Endpoint, RpcClient> _connect;
    private readonly Func<IReadOnlyDictionary<uint, StorageServerInfo>> _servers;
    private readonly ILogger _logger;
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stopping = new();
    private readonly Dictionary<uint, (RpcClient Client, long NotBeforeMs)> _clients = [];
    private readonly HashSet<(uint Volume, uint Server)> _dropped = [];
    private readonly Dictionary<uint, ToldSessions> _told = [];
    private Task _loop = Task.CompletedTask;

    /// <param name="service">Whose volumes.</param>
    /// <param name="connect">Makes a client.</param>
    /// <param name="servers">All known storage servers by their ids.</param>
    /// <param name="logger">For what goes wrong.</param>
    public StorageNotifier(
        MetadataService service,
        Func<Endpoint, RpcClient> connect,
        Func<IReadOnlyDictionary<uint, StorageServerInfo>> servers,
        ILogger logger)
    {
        _service = service;
        _connect = connect;
        _servers = servers;
        _logger = logger;
    }

    public void Start() => _loop = Task.Run(RunAsync);

    /// <summary>There is something to tell, or the servers have changed.</summary>
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
                _logger.LogError(e, "telling storage servers what to delete failed; it is tried again");
                retry = RetryMs;
            }
        }
    }

    /// <summary>Goes once through everything. False when something is left because a server did not answer.</summary>
    private async Task<bool> SweepAsync()
    {
        var servers = _servers();
        var done = await TellSessionsAsync(servers);
        foreach (var blocks in _service.UnneededBlocks())
        {
            foreach (var server in blocks.ServersWithDeletes())
            {
                // A server that is not known yet makes itself known, and that wakes us.
                done &= !servers.TryGetValue(server, out var info) || await DrainAsync(blocks, server, info.Endpoint);
            }
        }

        foreach (var volume in _service.DeletedVolumes())
        {
            var all = true;
            foreach (var (server, info) in servers)
            {
                all &= _dropped.Contains((volume, server)) || await DropAsync(volume, server, info.Endpoint);
            }

            if (all && servers.Count > 0 && _service.ForgetDeleted(volume))
            {
                _dropped.RemoveWhere(d => d.Volume == volume);
            }

            done &= all;
        }

        return done;
    }

    /// <summary>A server that is away is told when it comes back: it has forgotten everything then.</summary>
    private async Task<bool> TellSessionsAsync(IReadOnlyDictionary<uint, StorageServerInfo> servers)
    {
        var volumes = _service.Volumes.Select(v => (Volume: v, Ended: v.SessionsEnded)).Where(v => v.Ended > 0).ToArray();
        var done = true;
        foreach (var (server, info) in servers.Where(s => s.Value.Alive))
        {
            if (!_told.TryGetValue(server, out var told) || told.StartedNs != info.StartedNs)
            {
                _told[server] = told = new ToldSessions(info.StartedNs);
            }

            foreach (var (volume, count) in volumes)
            {
                if (told.EndedOf.GetValueOrDefault(volume.Id) != count)
                {
                    var isTold = await CallAsync(server, info.Endpoint, volume.LiveSessions());
                    told.EndedOf[volume.Id] = isTold ? count : 0;
                    done &= isTold;
                }
            }
        }

        return done;
    }

    private async Task<bool> DrainAsync(IUnneededBlocks blocks, uint server, Endpoint endpoint)
    {
        while (true)
        {
            var unneeded = _service.NextDeletes(blocks, server, BatchBlocks, out var count);
            if (count == 0)
            {
                return true;
            }

            if (unneeded.Length > 0 && !await CallAsync(server, endpoint, new DeleteBlocksRequest(unneeded)))
            {
                return false;
            }

            KillPoint.Hit("metadata.blocks-deleted");
            blocks.Deleted(server, count);
        }
    }

    private async Task<bool> DropAsync(uint volume, uint server, Endpoint endpoint)
    {
        if (!await CallAsync(server, endpoint, new DeleteVolumeBlocksRequest(volume)))
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

    /// <summary>What a storage server was told of ended sessions in this life of it.</summary>
    private sealed class ToldSessions(long startedNs)
    {
        public long StartedNs => startedNs;

        public Dictionary<uint, long> EndedOf { get; } = [];
    }
}
