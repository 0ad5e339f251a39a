using System.Net.Sockets;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Registration;
using EphemeralFs.Hosting;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>What the kubelet finds in plugins_registry, played by a client of its protocol.</summary>
public sealed class KubeletRegistrationTests : IDisposable
{
    private const string Service = "pluginregistration.Registration";
    private static readonly TimeSpan s_soon = TimeSpan.FromMinutes(1);

    private readonly string _kubelet = Directory.CreateTempSubdirectory("efs-csi-").FullName;
    private readonly LogLines _log = new();

    private string Registry => Path.Combine(_kubelet, "plugins_registry");

    private string Socket => Path.Combine(Registry, "csi.ephemeralfs.io-reg.sock");

    public void Dispose() => Directory.Delete(_kubelet, recursive: true);

    [Fact]
    public async Task The_kubelet_is_told_who_is_there_and_tells_that_it_has_registered()
    {
        Directory.CreateDirectory(Registry);
        await using (var registration = await StartAsync())
        {
            Assert.Equal(Socket, Assert.Single(Directory.GetFileSystemEntries(Registry)));
            Assert.Equal(Socket, registration.Socket);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Socket));
            var client = new CsiClient(Socket);
            var info = (await client.CallAsync(Service, "GetInfo")).Ok();
            Assert.Equal("CSIPlugin", (string?)info["type"]);
            Assert.Equal("csi.ephemeralfs.io", (string?)info["name"]);
            Assert.Equal("/var/lib/kubelet/plugins/csi.ephemeralfs.io/csi.sock", (string?)info["endpoint"]);
            Assert.Equal("1.0.0", (string?)Assert.Single(info["supported_versions"]!.AsArray()));
            Assert.False(registration.Registered.IsCompleted);

            (await client.CallAsync(Service, "NotifyRegistrationStatus", """{"plugin_registered": true}""")).Ok();
            await registration.Registered.WaitAsync(s_soon);
            Assert.False(registration.Failed.IsCompleted);

            // A kubelet that was started again asks again.
            (await client.CallAsync(Service, "GetInfo")).Ok();
            (await client.CallAsync(Service, "NotifyRegistrationStatus", """{"plugin_registered": true}""")).Ok();
        }

        Assert.Empty(Directory.GetFileSystemEntries(Registry)); // that is how it is deregistered
        Assert.DoesNotContain(_log.Lines, line => line.Level >= LogLevel.Warning);
    }

    [Fact]
    public async Task A_refusal_is_logged_and_ends_the_driver()
    {
        Directory.CreateDirectory(Registry);
        await using var registration = await StartAsync();
        (await new CsiClient(Socket).CallAsync(Service, "NotifyRegistrationStatus", """{"plugin_registered": false, "error": "NodeGetInfo: no node id"}""")).Ok();
        Assert.Equal("NodeGetInfo: no node id", await registration.Failed.WaitAsync(s_soon));
        Assert.False(registration.Registered.IsCompleted);
        Assert.Equal(LogLevel.Error, _log.Single("did not register csi.ephemeralfs.io: NodeGetInfo: no node id").Level);
    }

    [Fact]
    public async Task A_stale_socket_is_replaced_a_live_one_and_a_missing_directory_are_not()
    {
        Assert.Contains("plugins_registry", (await Assert.ThrowsAsync<StartupException>(StartAsync)).Message, StringComparison.Ordinal);
        Directory.CreateDirectory(Registry);
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(Socket));
            File.Move(Socket, Path.Combine(_kubelet, "kept"));
        }

        File.Move(Path.Combine(_kubelet, "kept"), Socket);
        await using var registration = await StartAsync();
        (await new CsiClient(Socket).CallAsync(Service, "GetInfo")).Ok();
        await Assert.ThrowsAsync<StartupException>(StartAsync);
        (await new CsiClient(Socket).CallAsync(Service, "GetInfo")).Ok();
        (await new CsiClient(Socket).CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);
    }

    private Task<KubeletRegistration> StartAsync() => KubeletRegistration.StartAsync(
        new KubeletRegistrationOptions
        {
            KubeletDirectory = _kubelet,
            DriverName = "csi.ephemeralfs.io",
            CsiSocket = "/var/lib/kubelet/plugins/csi.ephemeralfs.io/csi.sock",
        },
        _log,
        CancellationToken.None);
}
