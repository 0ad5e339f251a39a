using System.Globalization;
using System.Text;
using System.Text.Json;

namespace EphemeralFs.Bench.Report;

/// <summary>Makes <c>table.md</c> and <c>raw.json</c>.</summary>
internal static class ReportWriter
{
    public static void Write(string samplesPath, string directory)
    {
        Samples samples = Samples.Read(samplesPath);
        Directory.CreateDirectory(directory);
        File.WriteAllText(Path.Combine(directory, "table.md"), Markdown(samples));
        File.WriteAllText(
            Path.Combine(directory, "raw.json"),
            JsonSerializer.Serialize(new { samples.About, Rows = RowTable.All, samples.Memory, samples.Measurements }, JsonStyle.Document));
    }

    private static string Markdown(Samples samples)
    {
        var text = new StringBuilder();
        WriteHead(text, samples.About);
        string[] systems = [.. samples.Systems];
        Row[] rows = [.. RowTable.All.Where(row => samples.Measurements.Any(sample => sample.Row == row.Id))];
        foreach (IGrouping<string, Row> section in rows.GroupBy(row => row.Section))
        {
            WriteTable(text, section.Key, systems, section, row => $"{row.Title}, {row.Unit}", (row, system) => Value(row, samples.Of(row.Id, system)));
        }

        Row[] handOvers = [.. rows.Where(row => row.Id.StartsWith("handover-", StringComparison.Ordinal) && !row.Id.Contains("polled", StringComparison.Ordinal))];
        if (handOvers.Length > 0)
        {
            WriteTable(text, "The same hand-overs with the writing on A, median", systems, handOvers, row => $"{row.Title}, µs", (row, system) => Whole(samples.Of(row.Id, system)));
        }

        text.Append("\n## Where the time goes\n\nµs for each operation (file, request, program run): wall = CPU of the program + of the node's daemons + of the servers, the rest being waits and hand-offs; with ")
            .Append("several CPUs at work the parts may exceed the whole. The kernel's work on behalf of a process counts as that process's.\n");
        WriteTable(text, null, systems, rows, row => row.Label, (row, system) => Parts(samples.Of(row.Id, system)));
        WriteMemory(text, samples);
        if (samples.About?.Rounds > 1)
        {
            text.Append("\n## Spread\n\n(largest − smallest) / median over the rounds. A difference between two systems that is smaller than this says nothing.\n");
            WriteTable(text, null, systems, rows, row => row.Label, (row, system) => Spread(samples.Of(row.Id, system)));
        }

        WriteFailures(text, samples, systems, rows);
        return text.ToString();
    }

    private static void WriteHead(StringBuilder text, About? about)
    {
        text.Append("# Measured\n\n");
        if (about is null)
        {
            return;
        }

        text.Append(CultureInfo.InvariantCulture, $"{about.Date}, commit {about.Commit}, {about.Machine}, Linux {about.Kernel}. {about.Rounds} rounds, the systems by turns in each; medians. ")
            .Append(CultureInfo.InvariantCulture, $"Load average before the start: {about.LoadBefore}.\n\n{about.Versions}\n");
        if (about.Quick)
        {
            text.Append("\n**A quick run, with few files and rounds: it tests the harness, its numbers say nothing.**\n");
        }
    }

    private static void WriteTable(StringBuilder text, string? heading, string[] systems, IEnumerable<Row> rows, Func<Row, string> title, Func<Row, string, string> cell)
    {
        if (heading is not null)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n## {heading}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"\n| | {string.Join(" | ", systems)} |\n|---|{string.Concat(Enumerable.Repeat("--:|", systems.Length))}\n");
        foreach (Row row in rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {title(row)} | {string.Join(" | ", systems.Select(system => cell(row, system)))} |\n");
        }
    }

    private static string Value(Row row, Cell cell)
    {
        if (!cell.HasValue)
        {
            return cell.IsEmpty ? "" : "failed";
        }

        if (cell.Latencies.Count == 0)
        {
            return Partial(Number(cell.Median), cell);
        }

        string value = $"{Number(Measure.Statistics.Median(cell.Latencies))} / {Number(Measure.Statistics.Quantile(cell.Latencies, 0.99))}";
        return Partial(cell.Stale == 0 ? value : string.Create(CultureInfo.InvariantCulture, $"{value} (**stale** {cell.Stale} of {cell.Latencies.Count})"), cell);
    }

    private static string Whole(Cell cell) => cell.HasValue ? Number(Measure.Statistics.Median(cell.Wholes)) : "";

    private static string Parts(Cell cell)
    {
        if (!cell.HasValue)
        {
            return "";
        }

        (double wall, double program, double client, double server) = cell.PerOperation;
        return $"{Number(wall)} = {Number(program)} + {Number(client)} + {Number(server)}";
    }

    private static string Spread(Cell cell) => cell.GoodRounds < 2 ? "" : cell.Spread.ToString("P0", CultureInfo.InvariantCulture).Replace(" ", "", StringComparison.Ordinal);

    private static string Partial(string value, Cell cell) => cell.GoodRounds == cell.Rounds ? value : $"{value} ({cell.GoodRounds} of {cell.Rounds} rounds)";

    /// <summary>Three significant digits or whole numbers; thousands separated.</summary>
    private static string Number(double value) => value.ToString(value >= 100 ? "N0" : value >= 10 ? "0.0" : value >= 1 ? "0.00" : value > 0 ? "0.000" : "0", CultureInfo.InvariantCulture);

    private static void WriteMemory(StringBuilder text, Samples samples)
    {
        if (samples.Memory.Count == 0)
        {
            return;
        }

        text.Append("\n## Memory at the end\n\nMB (proportional set size), without what the files themselves occupy.\n\n| | daemons of the two nodes | servers |\n|---|--:|--:|\n");
        foreach (Measure.MemoryUse use in samples.Memory)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {use.System} | {Number(use.ClientBytes / 1e6)} | {Number(use.ServerBytes / 1e6)} |\n");
        }
    }

    private static void WriteFailures(StringBuilder text, Samples samples, string[] systems, Row[] rows)
    {
        var failures = new StringBuilder();
        foreach (string system in systems)
        {
            foreach (Row row in rows)
            {
                if (samples.Of(row.Id, system) is { Failure: { } reason } cell)
                {
                    failures.Append(CultureInfo.InvariantCulture, $"- {system}, {row.Id}: failed in {cell.Rounds - cell.GoodRounds} of {cell.Rounds} rounds: {reason.ReplaceLineEndings(" ")}\n");
                }
            }
        }

        if (failures.Length > 0)
        {
            text.Append("\n## Failures\n\n").Append(failures);
        }
    }
}
