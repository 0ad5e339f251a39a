using System.Text.Json;
using EphemeralFs.Hosting.Logging;
using EphemeralFs.Hosting.Options;
using Serilog;

namespace EphemeralFs.Tests.Unit.Hosting;

public sealed class LoggingTests : IDisposable
{
    private readonly string _file = Path.GetTempFileName();

    public void Dispose() => File.Delete(_file);

    [Fact]
    public void Each_line_is_a_json_object()
    {
        using (var log = RoleLogging.Create("metadata", Options("warning")))
        {
            log.Information("not logged at this level");
            log.Warning("lost \"{What}\" after {Count}", "it\nall", 3);
            log.Error(new InvalidOperationException("because"), "failed");
        }

        var lines = File.ReadAllLines(_file);
        Assert.Equal(2, lines.Length);
        using var first = JsonDocument.Parse(lines[0]);
        Assert.Equal("Warning", first.RootElement.GetProperty("@l").GetString());
        Assert.Equal("metadata", first.RootElement.GetProperty("Role").GetString());
        Assert.Equal(3, first.RootElement.GetProperty("Count").GetInt32());
        Assert.Equal("it\nall", first.RootElement.GetProperty("What").GetString());
        Assert.Equal(Environment.ProcessId, first.RootElement.GetProperty("Pid").GetInt32());
        Assert.True(DateTimeOffset.TryParse(first.RootElement.GetProperty("@t").GetString(), out _));
        using var second = JsonDocument.Parse(lines[1]);
        Assert.Contains("because", second.RootElement.GetProperty("@x").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Appending_keeps_what_was_there()
    {
        for (var i = 0; i < 2; i++)
        {
            using var log = RoleLogging.Create("node", Options("debug"));
            log.Debug("line {Number}", i);
        }

        Assert.Equal(2, File.ReadAllLines(_file).Length);
    }

    private RoleOptions Options(string level) => OptionLoader.Load(
        CommonOptions.All,
        CommonOptions.All,
        new Dictionary<string, string>(),
        new Dictionary<string, string[]> { ["log-level"] = [level], ["log-file"] = [_file] });
}
