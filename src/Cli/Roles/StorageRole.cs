using System.Net.Sockets;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Cli.Roles;

/// <summary>Composes a storage server: its host, the heartbeat, and the question after blocks that nobody needs.</summary>
internal sealed class StorageRole : IRunningRole
{
    private readonly StorageHost _host;
    private readonly HeartbeatLoop _heartbeat;
    private readonly GarbageQuestion _question;

    private StorageRole(StorageHost host, HeartbeatLoop heartbeat, GarbageQuestion question) => (_host, _heartbeat, _question) = (host, heartbeat, question);

    public static readonly RoleDefinition Definition = new(
        "storage",
        "Run a storage server: blocks in tiers",
        [
            CommonOptions.Name("storage-1"),
            CommonOptions.Listen(null),
            new("state", OptionKind.Path, null, "Directory for its lock; made when missing") { ValueName = "DIR", Required = true },
            CommonOptions.Controller,
            new("tier", OptionKind.Text, null, "A tier: CLASS=PATH:SIZE with class dram, nvme, ssd, hdd or null; PATH must exist")
            {
                ValueName = "TIER",
                Repeatable = true,
                Required = true,
                Check = TierSpec.Error,
            },
            new("verify-on-read", OptionKind.Switch, "false", "Compare blocks with their checksums before they are sent, not only at the reader"),
        ],
        StartAsync);

    public string Endpoint => _host.Endpoint.Text;

    public string? Problem => _host.Problem;

    public Task Completion => _host.ShutdownRequested;

    public IEnumerable<(string Name, string Labels, double Value)> Metrics() => _host.Metrics();

    public async ValueTask DisposeAsync()
    {
        await _heartbeat.DisposeAsync().ConfigureAwait(false);
        _host.Dispose();
        _question.Dispose();
    }

    private static async Task<IRunningRole> StartAsync(RoleContext context, CancellationToken stopping)
    {
        var options = context.Options;
        var listen = options.Endpoint("listen")!;
        var name = options.Text("name");
        var state = RoleChecks.DirectoryToMake("--state", options.Path("state"));
        StorageHost host;
        try
        {
            host = new StorageHost(new StorageOptions
            {
                Endpoint = listen,
                Name = name,
                StateDirectory = state,
                Tiers = [.. options.List("tier").Select(Tier)],
                VerifyOnRead = options.IsOn("verify-on-read"),
                Logger = context.Logger,
            });
        }
        catch (SocketException e)
        {
            throw ListenErrors.Describe(listen, e);
        }
        catch (ArgumentException e)
        {
            throw StartupException.Usage(e.Message);
        }

        var controller = options.Endpoint("controller")!;
        var heartbeat = new HeartbeatLoop(
            controller,
            () => new RegisterRequest(ServerRole.Storage, name, host.Endpoint.Text, context.MetricsEndpoint, (uint)Environment.ProcessId, host.Tiers, []),
            context.Logger);
        var question = new GarbageQuestion(controller, () => heartbeat.View);
        host.Start();
        heartbeat.Start();
        host.StartScrubber(question.AskAsync);
        await heartbeat.WaitForRegistrationAsync(RoleChecks.RegistrationPatience, stopping).ConfigureAwait(false);
        return new StorageRole(host, heartbeat, question);
    }

    private static TierOptions Tier(string text) => TierSpec.TryParse(text, out var tier, out var error)
        ? new TierOptions(tier.Class, tier.Path, tier.CapacityBytes)
        : throw StartupException.Usage($"--tier: '{text}' {error}");
}
