using System.Text.Json;
using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Bench;

/// <summary>The benchmark's harness, on systems that need nothing installed or little: what it measures is not judged here.</summary>
public sealed class BenchRunTests : IDisposable
{
    /// <summary>Seconds for a quick run of two systems, the building of the tool included.</summary>
    private const int Patience = 300;

    private readonly string _results = Directory.CreateTempSubdirectory("efsbench").FullName;
    private readonly string _scratch = Directory.CreateDirectory($"/dev/shm/efsbench-{Environment.ProcessId}-{Guid.NewGuid():N}").FullName;

    public void Dispose()
    {
        Directory.Delete(_results, recursive: true);
        Directory.Delete(_scratch);
    }

    [Fact]
    public void A_quick_run_has_every_row_and_leaves_nothing_behind()
    {
        Run("--quick", "--systems", "tmpfs,bindfs", _results).MustSucceed();

        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(_results, "raw.json")));
        string[] rows = [.. document.RootElement.GetProperty("rows").EnumerateArray().Select(row => row.GetProperty("id").GetString()!)];
        var measured = document.RootElement.GetProperty("measurements").EnumerateArray().ToDictionary(
            one => (System: one.GetProperty("system").GetString()!, Row: one.GetProperty("row").GetString()!));
        foreach (string row in rows)
        {
            foreach (string system in (string[])["tmpfs", "bindfs"])
            {
                Assert.True(measured.TryGetValue((system, row), out JsonElement one), $"{system} has no {row}");
                Assert.True(one.TryGetProperty("value", out JsonElement value) && value.GetDouble() > 0, $"{system} {row}: {one.GetRawText()}");
            }
        }

        Assert.Contains("| create + close, ops/s |", File.ReadAllText(Path.Combine(_results, "table.md")), StringComparison.Ordinal);
        Assert.Empty(Leftovers());
    }

    [Theory]
    [InlineData("a row that does not exist", "--rows", "no-such-row", "OUT")]
    [InlineData("a system that does not exist", "--systems", "no-such-system", "OUT")]
    [InlineData("no directory", "--quick")]
    public void What_cannot_be_run_is_refused_in_a_line(string what, params string[] arguments)
    {
        CommandResult result = Run([.. arguments.Select(argument => argument == "OUT" ? _results : argument)]);

        Assert.True(result.ExitCode == 2, $"{what}: {result.Describe()}");
        Assert.Empty(Leftovers());
    }

    // HOME and PATH are the caller's: the tool may have to be built, and dotnet wants them.
    private CommandResult Run(params string[] arguments) =>
        new Command(Root, Patience, "/bin/bash", [Path.Combine(Root, "bench", "run"), .. arguments])
            .With("EPHEMERALFS_BENCH_SCRATCH", _scratch)
            .With("HOME", Environment.GetEnvironmentVariable("HOME") ?? "/root")
            .With("PATH", Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin")
            .Run();

    private string[] Leftovers() =>
    [
        .. Directory.GetFileSystemEntries(_scratch),
        .. File.ReadLines("/proc/self/mountinfo").Where(line => line.Contains(_scratch, StringComparison.Ordinal)),
    ];

    /// <summary>The source tree above the test's binaries.</summary>
    private static string Root
    {
        get
        {
            DirectoryInfo? directory = new(AppContext.BaseDirectory);
            while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "bench", "run")))
            {
                directory = directory.Parent;
            }

            return directory?.FullName ?? throw new InvalidOperationException($"bench/run is not above {AppContext.BaseDirectory}");
        }
    }
}
