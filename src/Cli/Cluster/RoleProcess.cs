using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Hosting;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Cli.Cluster;

/// <summary>A role as a child of the supervisor: started, watched, and started again on the same endpoint and state when it dies.</summary>
internal sealed class RoleProcess(
    string role, string name, string listen, string metrics, IReadOnlyList<string> arguments, ClusterPaths paths, NotifyListener listener, ILogger logger)
    : IAsyncDisposable
{
    private static readonly TimeSpan s_startPatience = TimeSpan.FromSeconds(60);

    private readonly RestartBackoff _backoff = new();
    private readonly CancellationTokenSource _stop = new();
    private ChildProcess? _child;
    private string _listen = listen;
    private string _metrics = metrics;
    private int _restarts;
    private Task _watch = Task.CompletedTask;

    /// <summary>Its record in cluster.json; null until it was ready once.</summary>
    public RoleRecord? Record { get; private set; }

    /// <summary>The record has changed.</summary>
    public event Action? Changed;

    /// <summary>Starts it and waits until it is ready.</summary>
    public async Task StartAsync(CancellationToken stopping)
    {
        var log = paths.Log(name);
        _child = ChildProcess.Start(
            [.. Self.Command, role, role == "csi" ? "--endpoint" : "--listen", _listen, "--metrics", _metrics, "--notify-socket", listener.Path, .. arguments],
            log);
        var ready = await listener.WaitUntilReadyAsync(_child, $"{role} {name}", log, s_startPatience, stopping).ConfigureAwait(false);
        // The ports that were chosen stay, so that everybody finds it again.
        _listen = ready.Endpoint;
        _metrics = ready.Metrics.Length > 0 ? ready.Metrics["http://".Length..] : _metrics;
        Record = new RoleRecord(role, name, _child.Record, ready.Endpoint, ready.Metrics, log, _restarts);
        Changed?.Invoke();
    }

    /// <summary>Watches it from now on.</summary>
    public void Watch() => _watch = Task.Run(WatchAsync);

    /// <summary>Stops watching; the process itself is stopped by <see cref="Teardown"/>.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _watch.ConfigureAwait(false);
        _child?.Dispose();
        _stop.Dispose();
    }

    private async Task WatchAsync()
    {
        var failures = 0;
        while (true)
        {
            try
            {
                var startedAt = Environment.TickCount64;
                var ending = await _child!.Exited.WaitAsync(_stop.Token).ConfigureAwait(false);
                failures = Environment.TickCount64 - startedAt >= _backoff.StableAfterMs ? 1 : failures + 1;
                var delay = _backoff.DelayMs(failures);
                logger.LogWarning("{Name} died ({Ending}); starting it again in {Delay} ms, see {Log}", name, ending, delay, paths.Log(name));
                await Task.Delay(delay, _stop.Token).ConfigureAwait(false);
                KillPoint.DisarmSuccessors();
                _restarts++;
                _child.Dispose();
                await StartAsync(_stop.Token).ConfigureAwait(false);
                logger.LogInformation("{Name} serves again on {Endpoint} (process {Pid})", name, _listen, _child.Pid);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (StartupException e)
            {
                logger.LogError("{Error}", e.Message);
                if (!await _child!.EndsWithinAsync(TimeSpan.FromSeconds(5)).ConfigureAwait(false))
                {
                    // It never became ready and did not end: a second one must not run beside it.
                    _child.Signal(Interop.ProcessControl.SigKill);
                }
            }
        }
    }
}
