using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Logging;
using EphemeralFs.CsiDriver.Registration;
using EphemeralFs.CsiDriver.Service;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.CsiDriver;

/// <summary>A CSI plugin: Identity, and Controller or Node or both, on one unix socket. It has no state of its own. Startable in-process.</summary>
public sealed class CsiHost : IRunningRole
{
    /// <summary>How often at least what failed publishes left is looked for, and how often readiness is asked anew.</summary>
    private static readonly TimeSpan s_collectEvery = TimeSpan.FromMinutes(1);

    private static readonly TimeSpan s_probeEvery = TimeSpan.FromSeconds(2);

    private const int ProbeMs = 2000;

    private readonly CsiOptions _options;
    private readonly ILogger _logger;
    private readonly ControllerClient _cluster;
    private readonly ClaimAnnotations? _claims;
    private readonly NodeClient? _node;
    private readonly NodeService? _nodeService;
    private readonly ControllerService? _controllerService;
    private readonly CancellationTokenSource _stop = new();
    private GrpcServer? _server;
    private KubeletRegistration? _registration;
    private Task _work = Task.CompletedTask;
    private long _collected;
    private volatile string? _problem = "starting";

    private CsiHost(CsiOptions options, ILogger logger)
    {
        _options = options;
        _logger = logger;
        _claims = options.ReadsClaims ? ClaimAnnotations.OfThisPod() : null;
        _cluster = new ControllerClient(options.Controller);
        _controllerService = options.ServesController ? new ControllerService(_cluster, _claims, options.OrphanedAfter) : null;
        if (options.NodeDaemon is { } daemon)
        {
            _node = new NodeClient(daemon, options.KubeletDirectory);
            _nodeService = new NodeService(new NodeServiceOptions(options.Node, options.Zone, options.AbandonedAfter), _cluster, _node);
        }
    }

    /// <inheritdoc/>
    public string Endpoint => "unix:" + _options.Socket;

    /// <inheritdoc/>
    public string? Problem => _problem;

    /// <inheritdoc/>
    public Task Completion { get; private set; } = new TaskCompletionSource().Task;

    /// <summary>Starts serving, then registers with kubelet.</summary>
    /// <exception cref="StartupException">The socket is in use, or kubelet's directory is none.</exception>
    public static async Task<CsiHost> StartAsync(CsiOptions options, ILogger logger, CancellationToken stopping)
    {
        var host = new CsiHost(options, logger);
        try
        {
            await host.StartAsync(stopping).ConfigureAwait(false);
            return host;
        }
        catch
        {
            await host.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        yield return ("ephemeralfs_csi_ready", "", _problem is null ? 1 : 0);
        yield return ("ephemeralfs_csi_inline_volumes_collected_total", "", Interlocked.Read(ref _collected));
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        if (_registration is not null)
        {
            await _registration.DisposeAsync().ConfigureAwait(false);
        }

        if (_server is not null)
        {
            await _server.DisposeAsync().ConfigureAwait(false);
        }

        await _work.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // Completion has told
        _node?.Dispose();
        _claims?.Dispose();
        _cluster.Dispose();
        _stop.Dispose();
    }

    private async Task StartAsync(CancellationToken stopping)
    {
        List<GrpcService> services = [new IdentityService(() => _problem is null).Describe()];
        if (_controllerService is { } controller)
        {
            services.AddRange([controller.Describe(), new GroupControllerService(_cluster, controller).Describe()]);
        }

        if (_nodeService is not null)
        {
            services.Add(_nodeService.Describe());
        }

        _server = await GrpcServer.StartAsync(
            new GrpcServerOptions { Sockets = [_options.Socket], Completed = new CallLog(_logger).Completed }, services, _logger, stopping).ConfigureAwait(false);
        await AskAsync().ConfigureAwait(false);
        _work = Task.Run(WorkAsync, CancellationToken.None);
        List<Task> ends = [_work]; // before it is told to end it ends only when it fails
        if (_options.KubeletDirectory.Length > 0 && _nodeService is not null)
        {
            _registration = await KubeletRegistration.StartAsync(
                new KubeletRegistrationOptions { KubeletDirectory = _options.KubeletDirectory, DriverName = IdentityService.DriverName, CsiSocket = _options.Socket },
                _logger,
                stopping).ConfigureAwait(false);
            ends.Add(_registration.Failed);
        }

        // Whatever fails first ends the process, which is started again.
        Completion = Task.WhenAny(ends).Unwrap();
    }

    /// <summary>What the driver needs answers; else the text for probes.</summary>
    private async Task AskAsync()
    {
        string? problem;
        try
        {
            _ = await _cluster.ServersAsync(ServerRole.Controller, _stop.Token).ConfigureAwait(false);
            problem = _node is null ? null : await _node.ProblemAsync(ProbeMs, _stop.Token).ConfigureAwait(false);
        }
        catch (GrpcException e)
        {
            problem = e.Message;
        }

        if (problem != _problem)
        {
            _logger.Log(problem is null ? LogLevel.Information : LogLevel.Warning, "{State}", problem ?? "everything that the driver needs answers");
        }

        _problem = problem;
    }

    private async Task WorkAsync()
    {
        var lastCollected = DateTime.MinValue;
        var collectEvery = new[] { _options.AbandonedAfter, _options.OrphanedAfter, s_collectEvery }.Min();
        using var timer = new PeriodicTimer(s_probeEvery);
        try
        {
            do
            {
                await AskAsync().ConfigureAwait(false);
                if (_problem is null && DateTime.UtcNow - lastCollected >= collectEvery)
                {
                    lastCollected = DateTime.UtcNow;
                    await CollectAsync("of publishes that failed", _nodeService is null ? null : _nodeService.CollectAsync).ConfigureAwait(false);
                    await CollectAsync("of nodes that are gone", _controllerService is null ? null : _controllerService.CollectAsync).ConfigureAwait(false);
                }
            }
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    private async Task CollectAsync(string which, Func<CancellationToken, Task<int>>? collect)
    {
        try
        {
            if (collect is not null && await collect(_stop.Token).ConfigureAwait(false) is > 0 and var count)
            {
                Interlocked.Add(ref _collected, count);
                _logger.LogWarning("{Count} inline volumes {Which} are deleted", count, which);
            }
        }
        catch (GrpcException e)
        {
            _logger.LogWarning("inline volumes cannot be looked through now: {Problem}", e.Message);
        }
    }
}
