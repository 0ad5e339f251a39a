using System.Net.Sockets;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.FuseMount.Node;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;

namespace EphemeralFs.Cli.Roles;

/// <summary>Composes a node daemon. SIGTERM unmounts everything, or leaves it with the keeper (<c>--leave-mounts</c>); a handover always leaves it.</summary>
internal sealed class NodeRole : IRunningRole
{
    private readonly NodeHost _host;

    private readonly bool _leaveMounts;

    private NodeRole(NodeHost host, string endpoint, bool leaveMounts) => (_host, Endpoint, _leaveMounts) = (host, endpoint, leaveMounts);

    public static readonly RoleDefinition Definition = new(
        "node",
        "Run a node daemon: the mounts of this machine",
        [
            CommonOptions.Name("node-1"),
            CommonOptions.Listen(null),
            CommonOptions.Controller,
            new("keeper", OptionKind.Path, null, "Socket of the keeper that holds the mounts over restarts; without one they end with the daemon") { ValueName = "PATH" },
            new("volumes", OptionKind.Path, null, "Directory for the mounts of volumes that are published for pods [volumes, beside the control socket or in the working directory]") { ValueName = "DIR" },
            new("leave-mounts", OptionKind.Switch, "false", "SIGTERM leaves the mounts with the keeper, for the next daemon, instead of unmounting"),
            new("read-cache", OptionKind.Size, "256M", "Blocks kept for reading, for all mounts together"),
            new("write-cache", OptionKind.Size, "128M", "Unflushed writes of each mount") { Check = AtLeastBlocks },
            new("workers", OptionKind.Integer, "2", "Threads that read requests, for each mount")
            {
                ValueName = "N",
                Check = value => value.Length <= 3 && value.Any(c => c != '0') ? null : "must be between 1 and 999",
            },
            new("deadline-ms", OptionKind.Integer, $"{Core.Limits.RequestDeadlineMs}", "How long a request waits for a server that is gone before it fails")
            {
                ValueName = "MS",
                Check = value => value.Length <= 7 && int.Parse(value, System.Globalization.CultureInfo.InvariantCulture) >= 100 ? null : "must be between 100 and 9999999",
            },
        ],
        StartAsync);

    public string Endpoint { get; }

    public string? Problem => _host.Problem;

    public Task Completion => _host.StopRequested;

    public IEnumerable<(string Name, string Labels, double Value)> Metrics() => _host.Metrics();

    public async ValueTask DisposeAsync()
    {
        var successor = _host.StopRequested is { IsCompletedSuccessfully: true } asked ? !asked.Result : _leaveMounts;
        await _host.StopAsync(unmount: !successor).ConfigureAwait(false);
        await _host.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task<IRunningRole> StartAsync(RoleContext context, CancellationToken stopping)
    {
        var options = context.Options;
        var listen = options.Endpoint("listen")!;
        var leaveMounts = options.IsOn("leave-mounts");
        if (leaveMounts && !options.Has("keeper"))
        {
            throw StartupException.Usage("--leave-mounts needs --keeper: nobody else holds the mounts");
        }

        var host = new NodeHost(
            new NodeOptions
            {
                Name = options.Text("name"),
                ControlEndpoint = listen,
                ControllerEndpoint = options.Endpoint("controller")!,
                KeeperSocketPath = options.Path("keeper"),
                VolumesDirectory = options.Has("volumes") ? options.Path("volumes") : Path.Combine(Path.GetDirectoryName(listen.UnixPath) ?? Environment.CurrentDirectory, "volumes"),
                ReadCacheBytes = options.Size("read-cache"),
                WriteCacheBytes = options.Size("write-cache"),
                Workers = (int)options.Integer("workers"),
                DeadlineMs = (int)options.Integer("deadline-ms"),
                SlowOperationMs = (int)options.Integer(CommonOptions.SlowMs.Name),
                MetricsEndpointSource = () => context.MetricsEndpoint,
            },
            context.Logger);
        try
        {
            FuseMounter.CheckDevice();
            await host.StartAsync(stopping).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await host.DisposeAsync().ConfigureAwait(false);
            throw e switch
            {
                SocketException socket => ListenErrors.Describe(listen, socket),
                MountException or KeeperException => new StartupException(e.Message, e),
                _ => e,
            };
        }

        return new NodeRole(host, listen.Text, leaveMounts);
    }

    private static string? AtLeastBlocks(string value) =>
        Core.ByteSize.TryParse(value, out var bytes) && bytes >= 8L << 20 ? null : "is too small: give at least 8M";
}
