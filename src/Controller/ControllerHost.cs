using System.Net.Sockets;
using EphemeralFs.Controller.Service;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Metrics;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Controller;

/// <summary>The controller: which servers there are and live, and which volumes. Startable in-process.</summary>
public sealed class ControllerHost : IRunningRole
{
    private readonly ControllerOptions _options;
    private readonly ILogger _logger;
    private readonly Func<string> _metricsEndpoint;
    private ControllerState? _state;
    private ControllerService? _service;
    private RpcServer? _server;

    /// <summary>Prepares it; <see cref="Start"/> opens the journal and the socket.</summary>
    /// <param name="options">Configuration.</param>
    /// <param name="logger">For its lines.</param>
    /// <param name="metricsEndpoint">Where this process serves metrics, for the view.</param>
    public ControllerHost(ControllerOptions options, ILogger logger, Func<string>? metricsEndpoint = null)
    {
        _options = options;
        _logger = logger;
        _metricsEndpoint = metricsEndpoint ?? (static () => "");
    }

    /// <summary>The role for the program.</summary>
    public static readonly RoleDefinition Role = new("controller", "Run the controller: servers, volumes, the view of the cluster", ControllerOptions.Specs, (context, _) =>
    {
        var host = new ControllerHost(ControllerOptions.From(context.Options), context.Logger, () => context.MetricsEndpoint);
        host.Start();
        return Task.FromResult<IRunningRole>(host);
    });

    /// <inheritdoc/>
    public string Endpoint => _server?.Endpoint.Text ?? _options.Listen.Text;

    /// <inheritdoc/>
    public string? Problem => null;

    /// <inheritdoc/>
    public Task Completion { get; } = new TaskCompletionSource().Task;

    /// <summary>Starts serving; throws <see cref="StartupException"/>.</summary>
    public void Start()
    {
        if (!Directory.Exists(_options.StateDirectory))
        {
            throw new StartupException($"the state directory {_options.StateDirectory} does not exist: create it (mkdir -p) or correct --state");
        }

        try
        {
            _state = ControllerState.Open(_options.StateDirectory, _options.AliveTimeoutMs, _logger);
        }
        catch (IOException e) when (e is not FileNotFoundException)
        {
            throw new StartupException($"the journal in {_options.StateDirectory} cannot be opened: is another controller using it? ({e.Message})", e);
        }
        catch (InvalidDataException e)
        {
            throw new StartupException(e.Message, e);
        }

        _service = new ControllerService(_state, _options, Self, _logger);
        try
        {
            _server = new RpcServer(_options.Listen, _service);
        }
        catch (SocketException e)
        {
            _state.Dispose();
            throw ListenErrors.Describe(_options.Listen, e);
        }

        // Said only now: a controller that cannot listen says that and nothing else.
        _logger.LogInformation("{Volumes} volumes are known", _state.Volumes("").Length);
        if (_state.Missing() is { } missing)
        {
            _logger.LogInformation("{Missing}: until then no volume is made, and of none is said that it does not exist", missing);
        }

        _server.Start();
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        foreach (var (opcode, count) in _service!.Requests)
        {
            yield return ("ephemeralfs_requests_total", MetricsText.Label("opcode", opcode.ToString()), count);
        }

        foreach (var server in _service.View())
        {
            yield return ("ephemeralfs_server_alive", $"{MetricsText.Label("role", server.Role.ToString())},{MetricsText.Label("name", server.Name)}", server.Alive ? 1 : 0);
        }

        yield return ("ephemeralfs_volumes", "", _state!.Volumes("").Length);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _server?.Dispose();
        _service?.Dispose();
        _state?.Dispose();
        return ValueTask.CompletedTask;
    }

    private ServerStatus Self() => new(ServerRole.Controller, 0, "controller", Endpoint, _metricsEndpoint(), (uint)Environment.ProcessId, true, 0, [], []);
}
