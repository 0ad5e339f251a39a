using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Hosting;

/// <summary>Registers a role with the controller, repeats that once a second, and passes on the view of the cluster that comes back.</summary>
public sealed class HeartbeatLoop : IAsyncDisposable
{
    /// <summary>Between two heartbeats, milliseconds. The controller takes a role for dead after five missed ones.</summary>
    public const int IntervalMs = 1000;

    private const int CallTimeoutMs = 3000;

    private readonly RpcClient _client;
    private readonly Func<RegisterRequest> _describe;
    private readonly ILogger _logger;
    private readonly long _startedNs = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource<uint> _registered = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _now = new(0, 1);
    private volatile ServerStatus[] _view = [];
    private Task _loop = Task.CompletedTask;

    /// <summary>Prepares the loop; <see cref="Start"/> begins it.</summary>
    /// <param name="controller">Where the controller is.</param>
    /// <param name="describe">What to register, asked before each heartbeat.</param>
    /// <param name="logger">For lost and found controllers.</param>
    public HeartbeatLoop(Endpoint controller, Func<RegisterRequest> describe, ILogger logger)
    {
        _client = new RpcClient(controller);
        _describe = describe;
        _logger = logger;
    }

    /// <summary>The view has changed, in anything but the age of the heartbeats. Called on a pool thread, one at a time.</summary>
    public event Action<ServerStatus[]>? ViewChanged;

    /// <summary>What is said of the volumes that this node has mounted came with an answer, by their names. Called as <see cref="ViewChanged"/>, for each answer.</summary>
    public event Action<Label[]>? HintsTold;

    /// <summary>The last view.</summary>
    public ServerStatus[] View => _view;

    /// <summary>The id that the controller gave, once it answered for the first time.</summary>
    public Task<uint> Registered => _registered.Task;

    /// <summary>Begins.</summary>
    public void Start() => _loop = Task.Run(RunAsync);

    /// <summary>Sends a heartbeat now instead of at the next second, because what it tells has changed.</summary>
    public void Hurry()
    {
        try
        {
            _now.Release();
        }
        catch (SemaphoreFullException)
        {
            // One is due already.
        }
    }

    /// <summary>Waits for the first answer of the controller; false when none came in time. The loop goes on trying.</summary>
    public async Task<bool> WaitForRegistrationAsync(TimeSpan timeout, CancellationToken stopping)
    {
        try
        {
            await Registered.WaitAsync(timeout, stopping).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            _logger.LogWarning("no answer from the controller at {Endpoint} yet; going on without", _client.Endpoint);
            return false;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return; // disposed before
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        _client.Dispose();
        _stop.Dispose();
        _now.Dispose();
    }

    /// <summary>Whether two views differ in more than the age of heartbeats.</summary>
    internal static bool Differ(ServerStatus[] a, ServerStatus[] b) =>
        a.Length != b.Length || a.Zip(b).Any(pair => Differ(pair.First, pair.Second));

    private static bool Differ(in ServerStatus a, in ServerStatus b) =>
        !a.Tiers.AsSpan().SequenceEqual(b.Tiers)
        || (a with { LastSeenMs = 0, Tiers = [], Mounts = [] }) != (b with { LastSeenMs = 0, Tiers = [], Mounts = [] });

    private async Task RunAsync()
    {
        var reachable = true;
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var result = await _client.CallAsync<RegisterRequest, RegisterReply>(
                    _describe() with { StartedNs = _startedNs }, timeoutMs: CallTimeoutMs, cancellation: _stop.Token).ConfigureAwait(false);
                if (result.IsOk != reachable && !_stop.IsCancellationRequested)
                {
                    reachable = result.IsOk;
                    _logger.Log(
                        reachable ? LogLevel.Information : LogLevel.Warning,
                        "the controller at {Endpoint} {State} ({Status})",
                        _client.Endpoint,
                        reachable ? "answers again" : "does not answer",
                        result.Status);
                }

                if (result.IsOk)
                {
                    // Off the connection's receive thread before anybody is called.
                    await Task.Yield();
                    Publish(result.Value.Servers);
                    HintsTold?.Invoke(result.Value.Hints);
                    _registered.TrySetResult(result.Value.Id);
                }

                await _now.WaitAsync(IntervalMs, _stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    private void Publish(ServerStatus[] view)
    {
        if (!Differ(_view, view))
        {
            return;
        }

        _view = view;
        try
        {
            ViewChanged?.Invoke(view);
        }
        catch (Exception e)
        {
            _logger.LogError(e, "acting on a changed view of the cluster failed");
        }
    }
}
