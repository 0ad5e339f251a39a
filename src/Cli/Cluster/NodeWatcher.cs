using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Hosting;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Starts keepers again that died. Nodes that <c>mount</c> added later are watched too: their records tell.</summary>
internal sealed class NodeWatcher : IAsyncDisposable
{
    private readonly ClusterPaths _paths;
    private readonly ILogger _logger;
    private readonly FileSystemWatcher _files;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new(); // guards _watched
    private readonly Dictionary<string, Task> _watched = new(StringComparer.Ordinal);

    public NodeWatcher(ClusterPaths paths, ILogger logger)
    {
        _paths = paths;
        _logger = logger;
        // Records are replaced by renaming; that is the event.
        _files = new FileSystemWatcher(paths.Nodes, "node.json") { IncludeSubdirectories = true, NotifyFilter = NotifyFilters.FileName };
        _files.Renamed += (_, e) => Watch(Path.GetFileName(Path.GetDirectoryName(e.FullPath)!));
        _files.Created += (_, e) => Watch(Path.GetFileName(Path.GetDirectoryName(e.FullPath)!));
        _files.EnableRaisingEvents = true;
        foreach (var name in NodeLauncher.Names(paths))
        {
            Watch(name);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _files.Dispose();
        await _stop.CancelAsync().ConfigureAwait(false);
        Task[] watched;
        lock (_lock)
        {
            watched = [.. _watched.Values];
        }

        await Task.WhenAll(watched).ConfigureAwait(false);
        _stop.Dispose();
    }

    private void Watch(string name)
    {
        lock (_lock)
        {
            if (!_stop.IsCancellationRequested && (!_watched.TryGetValue(name, out var running) || running.IsCompleted))
            {
                _watched[name] = Task.Run(() => WatchAsync(name));
            }
        }
    }

    private async Task WatchAsync(string name)
    {
        var backoff = new RestartBackoff();
        var failures = 0;
        try
        {
            while (NodeLauncher.Load(_paths, name) is { } node)
            {
                var keeper = ChildProcess.Find(node.Keeper);
                var startedAt = Environment.TickCount64;
                var ending = "ended";
                if (keeper is not null)
                {
                    using (keeper)
                    {
                        ending = await keeper.Exited.WaitAsync(_stop.Token).ConfigureAwait(false);
                    }
                }

                // A keeper that was told to stop has removed its socket and its lock; one that was killed has not, though it may have had no socket yet.
                if (!File.Exists(_paths.KeeperSocket(name)) && !File.Exists(KeeperHost.LockOf(_paths.KeeperSocket(name))))
                {
                    return;
                }

                failures = Environment.TickCount64 - startedAt >= backoff.StableAfterMs ? 1 : failures + 1;
                await Task.Delay(backoff.DelayMs(failures), _stop.Token).ConfigureAwait(false);
                _logger.LogWarning("the keeper of node {Name} died ({Ending}); starting it again", name, ending);
                _ = NodeLauncher.RestartKeeper(_paths, node);
            }
        }
        catch (OperationCanceledException)
        {
            // The cluster is being stopped.
        }
        catch (StartupException e)
        {
            _logger.LogError("node {Name}: {Error}", name, e.Message);
        }
    }
}
