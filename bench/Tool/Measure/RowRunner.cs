using System.Text.Json;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Measure;

/// <summary>Runs the rows of a group one after the other and prints each as one JSON line; a row that fails does not end the group.</summary>
internal sealed class RowRunner(RunOptions options)
{
    /// <summary>No row measures longer than this; a slow system is measured over fewer operations.</summary>
    public const long RowLimitNanoseconds = 5_000_000_000;

    private readonly CpuMeter _client = new(options.ClientPids);
    private readonly CpuMeter _server = new(options.ServerPids);

    /// <summary>Measures one row. The body prepares, measures and verifies; CPU is taken around all of it, so bodies that verify use <see cref="CpuWindow"/>.</summary>
    public void Run(string row, Func<CpuWindow, Outcome> body)
    {
        var window = new CpuWindow(_client, _server);
        Measurement result = new(options.System, options.Round, row);
        try
        {
            Outcome outcome = body(window);
            result = result with
            {
                Value = outcome.Value,
                Operations = outcome.Operations,
                WallSeconds = outcome.WallNanoseconds / 1e9,
                ProgramCpuSeconds = outcome.ProgramCpuSeconds ?? window.ProgramSeconds,
                ClientCpuSeconds = window.ClientSeconds,
                ServerCpuSeconds = window.ServerSeconds,
                LatenciesMicroseconds = outcome.LatenciesMicroseconds,
                WholeMicroseconds = outcome.WholeMicroseconds,
                Stale = outcome.Stale,
            };
        }
        catch (Exception e)
        {
            result = result with { Failed = e is BenchException ? e.Message : $"{e.GetType().Name}: {e.Message}" };
        }

        if (options.Wants(row))
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(result, JsonStyle.Line));
            Console.Out.Flush();
        }
    }

    /// <summary>
    /// Drops clean cached pages, dentries and inodes of the whole kernel, so that the next access is cold there; dirty pages of the measured mount
    /// are written first. A quick run leaves the pages (of everybody on the machine) alone.
    /// </summary>
    public void DropKernelCaches()
    {
        if (options.A.Length > 0)
        {
            int mount = Sys.OpenDirectory(options.A);
            Sys.Check(Libc.SyncFs(mount), "syncfs");
            Sys.Close(mount, options.A);
        }

        try
        {
            File.WriteAllText("/proc/sys/vm/drop_caches", options.Quick ? "2" : "3");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BenchException($"cold caches need root: {e.Message}");
        }
    }
}
