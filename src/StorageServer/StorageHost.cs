using System.Net.Sockets;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer.Blocks;
using EphemeralFs.StorageServer.Service;
using EphemeralFs.StorageServer.Tiers;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.StorageServer;

/// <summary>A storage server: tiers, the block store over them, and the service on its endpoint. Can run in any process.</summary>
public sealed class StorageHost : IDisposable
{
    private readonly StorageOptions _options;
    private readonly FileStream _nameLock;
    private readonly BlockStore _store;
    private readonly StorageService _service;
    private readonly RpcServer _server;
    private Scrubber? _scrubber;
    private bool _disposed;

    /// <summary>
    /// Opens the tiers, finds their blocks and binds the endpoint. Throws <see cref="ArgumentException"/>, <see cref="IOException"/>,
    /// <see cref="UnauthorizedAccessException"/> or <see cref="StartupException"/> with one line for people.
    /// </summary>
    public StorageHost(StorageOptions options)
    {
        options.Validate();
        _options = options;
        Directory.CreateDirectory(options.StateDirectory);
        _nameLock = LockName(options);
        try
        {
            _store = OpenStore(options);
        }
        catch
        {
            _nameLock.Dispose();
            throw;
        }

        try
        {
            _service = new StorageService(_store);
            _server = Listen(options.Endpoint, _service);
        }
        catch
        {
            _store.Dispose();
            _nameLock.Dispose();
            throw;
        }
    }

    /// <summary>Where it serves, with the real port.</summary>
    public Endpoint Endpoint => _server.Endpoint;

    /// <summary>Its name.</summary>
    public string Name => _options.Name;

    /// <summary>State of its tiers, for the registration at the controller.</summary>
    public TierStatus[] Tiers => _store.Tiers();

    /// <summary>What is wrong, or null.</summary>
    public string? Problem => _store.Tiers().FirstOrDefault(t => !t.Healthy) is { Path.Length: > 0 } tier
        ? $"{tier.Tier.ToString().ToLowerInvariant()} tier {tier.Path} failed"
        : null;

    /// <summary>Completes when a client asks the server to stop; who started it disposes it.</summary>
    public Task ShutdownRequested => _service.ShutdownRequested;

    /// <summary>Begins to serve.</summary>
    public void Start()
    {
        _server.Start();
        var tiers = _store.Tiers();
        _options.Logger.LogInformation(
            "Storage server {Name} on {Endpoint}: {Blocks} blocks in {Tiers}",
            Name,
            Endpoint.Text,
            tiers.Sum(t => (long)t.Blocks),
            string.Join(", ", tiers.Select(t => $"{t.Tier.ToString().ToLowerInvariant()} {t.Path} {ByteSize.Format((long)t.UsedBytes)} of {ByteSize.Format((long)t.CapacityBytes)}")));
    }

    /// <summary>Begins to look for blocks that nobody needs: now, when asked, and at intervals. Once in the life of a host.</summary>
    /// <param name="check">Asks the metadata servers: of these blocks, those that may be freed. Throws when the answer is not certain.</param>
    public Scrubber StartScrubber(Func<ulong[], Task<ulong[]>> check)
    {
        if (_scrubber is not null)
        {
            throw new InvalidOperationException("the scrubber runs already");
        }

        _scrubber = new Scrubber(_store, check, _options.Logger);
        _scrubber.Start();
        return _scrubber;
    }

    /// <summary>Waits until deleted volumes have given everything back; false when that takes longer than <paramref name="timeoutMs"/>.</summary>
    public bool WaitForRemovals(int timeoutMs)
    {
        var deadline = Environment.TickCount64 + timeoutMs;
        while (_store.WaitForRemoval((int)Math.Max(deadline - Environment.TickCount64, 0)))
        {
        }

        return Environment.TickCount64 < deadline;
    }

    /// <summary>Values for <c>/metrics</c>.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics() =>
        _scrubber is null ? _store.Metrics() : _store.Metrics().Concat(_scrubber.Metrics());

    /// <summary>Stops serving. Blocks stay where they are.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _server.Dispose();
        _scrubber?.Dispose();
        _service.WaitUntilIdle();
        _store.Dispose();
        _nameLock.Dispose();
    }

    private static RpcServer Listen(Endpoint endpoint, StorageService service)
    {
        try
        {
            return new RpcServer(endpoint, service);
        }
        catch (SocketException e)
        {
            throw ListenErrors.Describe(endpoint, e);
        }
    }

    private static FileStream LockName(StorageOptions options)
    {
        var path = Path.Combine(options.StateDirectory, $"storage-{options.Name}.lock");
        try
        {
            return new FileStream(path, System.IO.FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
        }
        catch (IOException e) when (e is not DirectoryNotFoundException)
        {
            throw new IOException(
                $"storage server {options.Name}: {path} is locked or not writable ({e.Message}); stop the other server of this name, or choose another state directory", e);
        }
    }

    private static BlockStore OpenStore(StorageOptions options)
    {
        var tiers = new List<ITier>();
        try
        {
            foreach (var tier in options.Tiers)
            {
                tiers.Add(tier.Class == TierClass.Null
                    ? new NullTier(tier.CapacityBytes)
                    : new DirectoryTier(tier, options.Name, options.Logger));
            }

            return new BlockStore(tiers, options.VerifyOnRead, options.Logger);
        }
        catch
        {
            tiers.ForEach(t => t.Dispose());
            throw;
        }
    }
}
