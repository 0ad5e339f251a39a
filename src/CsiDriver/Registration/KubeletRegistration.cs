using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Logging;
using EphemeralFs.CsiDriver.PluginRegistration;
using EphemeralFs.Hosting;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.CsiDriver.Registration;

/// <summary>What the kubelet is told, and where it looks for who tells it.</summary>
public sealed record KubeletRegistrationOptions
{
    /// <summary>The kubelet's directory as this process sees it: <c>/var/lib/kubelet</c>.</summary>
    public required string KubeletDirectory { get; init; }

    /// <summary>The driver's name, the same as its identity service gives.</summary>
    public required string DriverName { get; init; }

    /// <summary>Path of the driver's CSI socket as the kubelet sees it, on the host.</summary>
    public required string CsiSocket { get; init; }
}

/// <summary>
/// Makes the driver known to the kubelet of its node: a socket in <c>plugins_registry</c> on which the kubelet asks who is there, and tells what
/// it made of that. The socket's file is the registration: without it the driver is deregistered.
/// </summary>
/// <remarks>
/// In place of the sidecar node-driver-registrar (k8s.io/kubelet/pkg/apis/pluginregistration/v1). Start it after the CSI socket serves: the
/// kubelet calls NodeGetInfo there before it answers. It asks again from time to time, and after a restart of its own.
/// </remarks>
public sealed class KubeletRegistration : IAsyncDisposable
{
    /// <summary>The type of all CSI drivers.</summary>
    public const string PluginType = "CSIPlugin";

    /// <summary>Version of the CSI interface that the kubelet asks for; the kubelet takes any 1.x.</summary>
    public const string SupportedVersion = "1.0.0";

    private readonly KubeletRegistrationOptions _options;
    private readonly ILogger _logger;
    private readonly TaskCompletionSource _registered = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<string> _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private GrpcServer? _server;

    private KubeletRegistration(KubeletRegistrationOptions options, ILogger logger)
    {
        _options = options;
        _logger = logger;
    }

    /// <summary>The socket that the kubelet finds.</summary>
    public string Socket => Path.Combine(_options.KubeletDirectory, "plugins_registry", $"{_options.DriverName}-reg.sock");

    /// <summary>Completes when the kubelet has accepted the driver for the first time.</summary>
    public Task Registered => _registered.Task;

    /// <summary>Completes with the kubelet's reason when it refused the driver: the process is to end and be started again, as with the sidecar.</summary>
    public Task<string> Failed => _failed.Task;

    /// <summary>Makes the socket and waits for the kubelet there; a socket that a dead driver left is replaced.</summary>
    /// <exception cref="StartupException">The directory is missing or another driver of this name lives.</exception>
    public static async Task<KubeletRegistration> StartAsync(KubeletRegistrationOptions options, ILogger logger, CancellationToken cancellation)
    {
        var registration = new KubeletRegistration(options, logger);
        if (Path.GetDirectoryName(registration.Socket) is var registry && !Directory.Exists(registry))
        {
            throw new StartupException($"{registry} does not exist: the kubelet makes it, so {options.KubeletDirectory} is not its directory");
        }

        registration._server = await GrpcServer.StartAsync(
            new GrpcServerOptions { Sockets = [registration.Socket], Completed = new CallLog(logger).Completed },
            [registration.Describe()],
            logger,
            cancellation).ConfigureAwait(false);
        logger.LogInformation("waiting for the kubelet on {Socket}; CSI is at {CsiSocket}", registration.Socket, options.CsiSocket);
        return registration;
    }

    /// <summary>Removes the socket: the kubelet forgets the driver.</summary>
    public ValueTask DisposeAsync() => _server?.DisposeAsync() ?? ValueTask.CompletedTask;

    private GrpcService Describe() => new(
        "pluginregistration.Registration",
        GrpcMethod.Unary("GetInfo", InfoRequest.Parser, (_, _) => Task.FromResult(new PluginInfo
        {
            Type = PluginType,
            Name = _options.DriverName,
            Endpoint = _options.CsiSocket,
            SupportedVersions = { SupportedVersion },
        })),
        GrpcMethod.Unary("NotifyRegistrationStatus", RegistrationStatus.Parser, (status, _) => Task.FromResult(Notify(status))));

    private RegistrationStatusResponse Notify(RegistrationStatus status)
    {
        if (status.PluginRegistered)
        {
            _logger.LogInformation("the kubelet has registered {Driver}", _options.DriverName);
            _registered.TrySetResult();
        }
        else
        {
            _logger.LogError("the kubelet did not register {Driver}: {Reason}", _options.DriverName, status.Error);
            _failed.TrySetResult(status.Error);
        }

        return new RegistrationStatusResponse();
    }
}
