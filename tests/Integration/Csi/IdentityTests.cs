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
        await StartAsync(new IdentityOptions { Problem = () => null });
        var info = (await Client.CallAsync("Identity", "GetPluginInfo")).Ok();
        Assert.Equal("csi.ephemeralfs.io", (string?)info["name"]);
        Assert.Equal(typeof(IdentityService).Assembly.GetName().Version!.ToString(3), (string?)info["vendor_version"]);
        var manifest = info["manifest"]!.AsObject();
        Assert.Equal("1.12.0", (string?)manifest["csi"]);
        Assert.All(manifest, fact => Assert.DoesNotContain("://", (string?)fact.Value, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Capabilities_are_what_the_options_say()
    {
        await StartAsync(new IdentityOptions { Problem = () => null });
        Assert.Empty(await CapabilitiesAsync());
        await StartAsync(new IdentityOptions { Problem = () => null, Controller = true, AccessibilityConstraints = true, GroupController = true, OnlineExpansion = true });
        Assert.Equal(
            "service CONTROLLER_SERVICE, service VOLUME_ACCESSIBILITY_CONSTRAINTS, service GROUP_CONTROLLER_SERVICE, volume_expansion ONLINE",
            string.Join(", ", await CapabilitiesAsync()));
        await StartAsync(new IdentityOptions { Problem = () => null, OnlineExpansion = true });
        Assert.Equal("volume_expansion ONLINE", Assert.Single(await CapabilitiesAsync()));
    }

    [Fact]
    public async Task A_probe_says_ready_starting_or_what_is_wrong()
    {
        string? problem = IdentityService.Starting;
        await StartAsync(new IdentityOptions { Problem = () => problem });
        var starting = (await Client.CallAsync("Identity", "Probe")).Ok();
        Assert.NotNull(starting["ready"]); // absent would mean ready
        Assert.False((bool?)starting["ready"]!["value"] ?? false);
        problem = null;
        Assert.True((bool?)(await Client.CallAsync("Identity", "Probe")).Ok()["ready"]!["value"]);
        problem = "/dev/fuse is not there: load the module fuse";
        var sick = (await Client.CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.FailedPrecondition);
        Assert.Equal(problem, sick.Message);
    }

    private async Task<string[]> CapabilitiesAsync() =>
        (await Client.CallAsync("Identity", "GetPluginCapabilities")).Ok()["capabilities"]?.AsArray().Select(Describe).ToArray() ?? [];

    private static string Describe(JsonNode? capability)
    {
        var kind = (string?)capability!["type"] ?? ""; // the name of the one that is set
        return $"{kind} {capability[kind]!["type"]}";
    }

    private async Task StartAsync(IdentityOptions options)
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        _server = await GrpcServer.StartAsync(
            new GrpcServerOptions { Sockets = [Path.Combine(_root, $"csi{_servers++}.sock")] }, [new IdentityService(options).Describe()], new LogLines(), CancellationToken.None);
    }
}
