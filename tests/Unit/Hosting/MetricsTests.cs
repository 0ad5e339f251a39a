using System.Globalization;
using System.Net;
using System.Net.Sockets;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Metrics;

namespace EphemeralFs.Tests.Unit.Hosting;

public sealed class MetricsTests
{
    [Fact]
    public void Values_of_a_name_stand_together_after_its_type()
    {
        var text = MetricsText.Format(
        [
            ("ephemeralfs_requests_total", MetricsText.Label("opcode", "Look\"up\\\n"), 3),
            ("ephemeralfs_volumes", "", 1.5),
            ("ephemeralfs_requests_total", MetricsText.Label("opcode", "Open"), double.PositiveInfinity),
        ]);

        Assert.Equal(
            "# TYPE ephemeralfs_requests_total counter\n"
            + "ephemeralfs_requests_total{opcode=\"Look\\\"up\\\\\\n\"} 3\n"
            + "ephemeralfs_requests_total{opcode=\"Open\"} +Inf\n"
            + "# TYPE ephemeralfs_volumes gauge\n"
            + "ephemeralfs_volumes 1.5\n",
            text);
    }

    [Fact]
    public async Task The_server_answers_metrics_and_health()
    {
        string? problem = null;
        await using var server = await MetricsServer.StartAsync("127.0.0.1:0", () => [("ephemeralfs_test", "", 7)], () => problem, CancellationToken.None);
        using var client = new HttpClient { BaseAddress = new Uri(server.Endpoint) };

        var metrics = await client.GetStringAsync("/metrics");
        Assert.Contains("ephemeralfs_test 7\n", metrics, StringComparison.Ordinal);
        Assert.Contains("process_resident_memory_bytes ", metrics, StringComparison.Ordinal);
        Assert.All(
            metrics.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'),
            line => Assert.True(double.TryParse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture, out _), line));

        Assert.Equal("ok\n", await client.GetStringAsync("/healthz"));
        Assert.Equal("ok\n", await client.GetStringAsync("/livez"));
        problem = "the disk is on fire";
        var sick = await client.GetAsync("/healthz");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, sick.StatusCode);
        Assert.Equal("the disk is on fire\n", await sick.Content.ReadAsStringAsync());
        Assert.Equal("ok\n", await client.GetStringAsync("/livez")); // what is not well elsewhere is no reason to kill this process
        Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync("/etc/passwd")).StatusCode);
    }

    [Fact]
    public async Task A_busy_port_is_one_clear_line()
    {
        using var other = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        other.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        other.Listen();
        var address = other.LocalEndPoint!.ToString()!;

        var error = await Assert.ThrowsAsync<StartupException>(() => MetricsServer.StartAsync(address, () => [], () => null, CancellationToken.None));
        Assert.Contains($"--metrics {address} is in use", error.Message, StringComparison.Ordinal);
    }
}
