using System.Net.Sockets;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Interop;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Roles;

/// <summary>Composes a metadata server: its host, and the heartbeat that tells it where the storage servers are.</summary>
internal sealed class MetadataRole : IRunningRole
{
    private readonly MetadataHost _host;
    private readonly HeartbeatLoop _heartbeat;

    private readonly ProcessControlLock _single;

    private MetadataRole(MetadataHost host, HeartbeatLoop heartbeat, ProcessControlLock single) => (_host, _heartbeat, _single) = (host, heartbeat, single);

    public static readonly RoleDefinition Definition = new(
        "metadata",
        "Run a metadata server: names, attributes, the block map, locks",
        [
            CommonOptions.Name("metadata-1"),
            CommonOptions.Listen(null),
            CommonOptions.Advertise,
            new("state", OptionKind.Path, null, "Directory of its journal and snapshots; it must exist") { ValueName = "DIR", Required = true },
            CommonOptions.Controller,
            new("session-timeout-ms", OptionKind.Integer, $"{Core.Limits.SessionTimeoutMs}", "A node that is silent for so long loses its session")
            {
                ValueName = "MS",
                Check = value => value.Length <= 7 && int.Parse(value, System.Globalization.CultureInfo.InvariantCulture) >= 1000 ? null : "must be between 1000 and 9999999",
            },
        ],
        StartAsync);

    public string Endpoint => _host.Endpoint.Text;

    public string? Problem => null;

    public Task Completion { get; } = new TaskCompletionSource().Task;

    public IEnumerable<(string Name, string Labels, double Value)> Metrics() => _host.Metrics();

    public async ValueTask DisposeAsync()
    {
        await _heartbeat.DisposeAsync().ConfigureAwait(false);
        _host.Dispose();
        _single.Dispose();
    }

    private static async Task<IRunningRole> StartAsync(RoleContext context, CancellationToken stopping)
    {
        var options = context.Options;
        var state = RoleChecks.ExistingDirectory("--state", options.Path("state"));
        var listen = options.Endpoint("listen")!;
        var single = RoleChecks.TakeDirectory("metadata server", state, "metadata.lock");
        MetadataHost host;
        try
        {
            host = new MetadataHost(
                new MetadataOptions { StateDirectory = state, Endpoint = listen, SessionTimeoutMs = (int)options.Integer("session-timeout-ms") },
                context.Logger);
        }
        catch (Exception e)
        {
            single.Dispose();
            throw e is SocketException socket ? ListenErrors.Describe(listen, socket) : e;
        }

        var name = options.Text("name");
        var advertised = options.Endpoint("advertise") ?? host.Endpoint;
        var heartbeat = new HeartbeatLoop(
            options.Endpoint("controller")!,
            () => new RegisterRequest(ServerRole.Metadata, name, advertised.Text, context.MetricsEndpoint, (uint)Environment.ProcessId, [], []),
            context.Logger);
        heartbeat.ViewChanged += view => host.UpdateServers(view);
        host.Start();
        heartbeat.Start();
        await heartbeat.WaitForRegistrationAsync(RoleChecks.RegistrationPatience, stopping).ConfigureAwait(false);
        return new MetadataRole(host, heartbeat, single);
    }
}
