using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Service;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Metadata;

/// <summary>A metadata server: loads its state, serves, and ends cleanly. Can be started in any process.</summary>
public sealed class MetadataHost : IDisposable
{
    private const int TickMaxMs = 1_000;
    private readonly MetadataService _service;
    private readonly RpcServer _server;
    private readonly StorageNotifier _notifier;
    private readonly Timer _ticker;
    private readonly int _tickMs;
    private volatile Dictionary<uint, StorageServerInfo> _storage = [];
    private int _stopped;

    /// <summary>Loads the state and binds the endpoint; <see cref="Start"/> begins to serve.</summary>
    /// <exception cref="DamagedStateException">The state cannot be loaded without losing acknowledged operations; the message says which file.</exception>
    /// <exception cref="System.Net.Sockets.SocketException">The endpoint cannot be bound.</exception>
    public MetadataHost(MetadataOptions options, ILogger? logger = null)
    {
        logger ??= NullLogger.Instance;
        _service = new MetadataService(options, logger);
        try
        {
            _server = new RpcServer(options.Endpoint, _service);
        }
        catch
        {
            _service.Dispose();
            throw;
        }

        _notifier = new StorageNotifier(
            _service,
            options.ConnectToStorage ?? (endpoint => new RpcClient(endpoint)),
            () => _storage,
            logger);
        _service.StorageNews = _notifier.Wake;
        _tickMs = Math.Clamp(options.SessionTimeoutMs / 4, 10, TickMaxMs);
        _ticker = new Timer(_ => OnTick(), null, Timeout.Infinite, Timeout.Infinite);
    }

    /// <summary>Where it serves, with the port that was chosen.</summary>
    public Endpoint Endpoint => _server.Endpoint;

    /// <summary>The volumes that it serves.</summary>
    public VolumeStatus[] Volumes => [.. _service.Volumes.Select(v => v.Describe())];

    /// <summary>Begins to serve.</summary>
    public void Start()
    {
        _server.Start();
        _notifier.Start();
        _notifier.Wake();
        Reschedule();
    }

    /// <summary>Tells which servers there are and where, from the controller's view. Storage and metadata servers are remembered, over restarts too.</summary>
    /// <exception cref="System.IO.IOException">They cannot be written down.</exception>
    public void UpdateServers(IReadOnlyCollection<ServerStatus> servers)
    {
        var storage = new Dictionary<uint, StorageServerInfo>();
        foreach (var server in servers)
        {
            if (server.Role == ServerRole.Storage && Endpoint.TryParse(server.Endpoint, out var endpoint, out _))
            {
                storage[server.Id] = new StorageServerInfo(endpoint, server.Alive, server.StartedNs);
            }
        }

        var before = _storage;
        _storage = storage;
        if (storage.Count != before.Count || storage.Any(s => !before.TryGetValue(s.Key, out var old) || old != s.Value))
        {
            _notifier.Wake();
        }

        _service.Remember(servers);
    }

    /// <summary>Values to watch.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics() =>
        _service.Counters.Metrics().Concat(_service.Metrics()).Concat(_service.Volumes.SelectMany(v => v.Metrics()));

    /// <summary>The state of a volume as canonical bytes, for tests and debugging; null when there is no such volume.</summary>
    public byte[]? Dump(uint volume) => _service.Volumes.FirstOrDefault(v => v.Id == volume)?.Dump();

    /// <summary>Ends cleanly: no request is taken any more, and a snapshot makes the next start quick.</summary>
    public void Dispose() => Stop(checkpoint: true);

    /// <summary>Ends as a kill does: nothing is written any more.</summary>
    public void Abort() => Stop(checkpoint: false);

    private void Stop(bool checkpoint)
    {
        if (Interlocked.Exchange(ref _stopped, 1) != 0)
        {
            return;
        }

        _ticker.Dispose();
        _server.Dispose();
        _notifier.Dispose();
        if (checkpoint)
        {
            _service.Checkpoint();
        }

        _service.Dispose();
    }

    private void OnTick()
    {
        _service.Tick();
        Reschedule();
    }

    private void Reschedule()
    {
        try
        {
            // One shot at a time: a slow tick is not overtaken by the next.
            _ticker.Change(_tickMs, Timeout.Infinite);
        }
        catch (ObjectDisposedException)
        {
            // Stopped meanwhile.
        }
    }
}
