using System.Globalization;
using EphemeralFs.Bench.Measure;

namespace EphemeralFs.Bench.Rows;

/// <summary>Metadata operations by one or several processes, 5,000 names and 1,000 directories in all.</summary>
internal static class MetadataRows
{
    public static void Run(RunOptions options, RowRunner runner, int processes)
    {
        string work = Path.Combine(options.A, options.WorkName);
        string[] directories = [.. Enumerable.Range(0, processes).Select(i => Path.Combine(work, $"w{i}"))];
        foreach (string directory in directories)
        {
            Directory.CreateDirectory(directory);
        }

        int count = options.Scaled(5000, 400) / processes;
        int made = options.Scaled(1000, 80) / processes;
        using var crew = new Crew(directories, "--count", Text(count), "--directories", Text(made));
        foreach (string step in MetadataLoops.Steps)
        {
            Action prepare = step.EndsWith("-cold", StringComparison.Ordinal) ? runner.DropKernelCaches : () => { };
            runner.Run($"{step}-{processes}", window => crew.Do(step, window, prepare));
        }
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
