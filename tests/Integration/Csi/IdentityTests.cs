using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Service;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>csi.v1.Identity, called from outside.</summary>
public sealed class IdentityTests : IAsyncLifetime
{
    private readonly string _root = Directory.CreateTempSubdirectory("efs-csi-").FullName;
    private GrpcServer? _server;
    private int _servers;

    private CsiClient Client => new(_server!.Sockets[0]);

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        Directory.Delete(_root, recursive: true);
    }

    [Fact]
    public async Task The_plugin_has_a_name_a_version_and_facts()
    {
        await StartAsync(() => true);
        var info = (await Client.CallAsync("Identity", "GetPluginInfo")).Ok();
        Assert.Equal("csi.ephemeralfs.io", (string?)info["name"]);
        Assert.Equal(typeof(IdentityService).Assembly.GetName().Version!.ToString(3), (string?)info["vendor_version"]);
        var manifest = info["manifest"]!.AsObject();
        Assert.Equal("1.12.0", (string?)manifest["csi"]);
        Assert.All(manifest, fact => Assert.DoesNotContain("://", (string?)fact.Value, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Capabilities_are_those_of_the_whole_driver()
    {
        await StartAsync(() => true);
        Assert.Equal(
            "service CONTROLLER_SERVICE, service VOLUME_ACCESSIBILITY_CONSTRAINTS, service GROUP_CONTROLLER_SERVICE, volume_expansion ONLINE",
            string.Join(", ", await CapabilitiesAsync()));
    }

    [Fact]
    public async Task A_probe_says_whether_the_driver_is_ready_and_never_that_the_plugin_is_to_be_restarted()
    {
        var isReady = false;
        await StartAsync(() => isReady);
        var waiting = (await Client.CallAsync("Identity", "Probe")).Ok();
        Assert.NotNull(waiting["ready"]); // absent would mean ready
        Assert.False((bool?)waiting["ready"]!["value"] ?? false);
        isReady = true;
        Assert.True((bool?)(await Client.CallAsync("Identity", "Probe")).Ok()["ready"]!["value"]);
    }

    private async Task<string[]> CapabilitiesAsync() =>
        (await Client.CallAsync("Identity", "GetPluginCapabilities")).Ok()["capabilities"]?.AsArray().Select(Describe).ToArray() ?? [];

    private static string Describe(JsonNode? capability)
    {
        var kind = (string?)capability!["type"] ?? ""; // the name of the one that is set
        return $"{kind} {capability[kind]!["type"]}";
    }

    private async Task StartAsync(Func<bool> isReady)
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        _server = await GrpcServer.StartAsync(
            new GrpcServerOptions { Sockets = [Path.Combine(_root, $"csi{_servers++}.sock")] }, [new IdentityService(isReady).Describe()], new LogLines(), CancellationToken.None);
    }
}
