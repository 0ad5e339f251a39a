using System.Globalization;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>
/// The process that does the metadata loops. It speaks with <see cref="Crew"/> in lines: <c>STEP</c> → <c>ready</c>, <c>go</c> → <c>done START END OPERATIONS CPU</c>
/// (nanoseconds), or <c>failed REASON</c> in place of either answer.
/// </summary>
internal static class MetadataWorker
{
    private const int WarmUpCount = 32;

    public static int Serve(Arguments arguments)
    {
        string directory = arguments.Required("directory");
        string warmUp = Path.Combine(directory, "warm-up");
        Directory.CreateDirectory(warmUp);
        using (var loops = new MetadataLoops(warmUp, WarmUpCount, WarmUpCount))
        {
            foreach (string step in MetadataLoops.Steps)
            {
                loops.Prepare(step);
                loops.Run(step);
            }
        }

        Directory.Delete(warmUp);
        using var measured = new MetadataLoops(directory, arguments.Number("count", 0), arguments.Number("directories", 0));
        while (Console.In.ReadLine() is { } step)
        {
            Answer(() =>
            {
                measured.Prepare(step);
                return "ready";
            });
            if (Console.In.ReadLine() != "go")
            {
                break;
            }

            Answer(() =>
            {
                long cpu = Sys.ProcessCpu();
                long start = Sys.Now();
                long operations = measured.Run(step);
                long end = Sys.Now();
                return string.Create(CultureInfo.InvariantCulture, $"done {start} {end} {operations} {Sys.ProcessCpu() - cpu}");
            });
        }

        return 0;
    }

    private static void Answer(Func<string> work)
    {
        string line;
        try
        {
            line = work();
        }
        catch (BenchException e)
        {
            line = $"failed {e.Message}";
        }

        Console.Out.WriteLine(line);
        Console.Out.Flush();
    }
}
