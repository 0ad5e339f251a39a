using System.Globalization;
using System.Text.Json;
using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Rows;

namespace EphemeralFs.Bench;

/// <summary>From a group's name to the code that measures its rows.</summary>
internal static class Groups
{
    /// <summary>Measures a group in a work directory of its own, which is gone afterwards.</summary>
    public static void Run(RunOptions options)
    {
        var runner = new RowRunner(options);
        if (options.Redis is not null)
        {
            RunValues(options, runner);
            return;
        }

        string work = Path.Combine(options.A, options.WorkName);
        try
        {
            RunFiles(options, runner);
        }
        finally
        {
            if (Directory.Exists(work))
            {
                Directory.Delete(work, recursive: true);
            }
        }
    }

    public static void Print(IReadOnlyList<string> wanted, bool values)
    {
        string? unknown = wanted.FirstOrDefault(name => !RowTable.All.Any(row => row.Id == name || row.Group == name));
        if (unknown is not null)
        {
            throw new BenchException($"there is no row or group {unknown}; groups: {string.Join(' ', RowTable.All.Select(row => row.Group).Distinct())}");
        }

        foreach (string group in RowTable.All.Where(row => RowTable.Selects(wanted, row) && (row.Values || !values)).Select(row => row.Group).Distinct())
        {
            Console.WriteLine(group);
        }
    }

    /// <param name="options">Which group of which system in which round.</param>
    /// <param name="reason">Why it has no values.</param>
    /// <param name="values">Only the rows that a store of values has.</param>
    /// <param name="except">Rows that did report.</param>
    public static void PrintFailed(RunOptions options, string reason, bool values, IReadOnlyList<string> except)
    {
        foreach (Row row in RowTable.OfGroup(options.Group, values).Where(row => options.Wants(row.Id) && !except.Contains(row.Id)))
        {
            Console.WriteLine(JsonSerializer.Serialize(new Measurement(options.System, options.Round, row.Id) { Failed = reason }, JsonStyle.Line));
        }
    }

    private static void RunFiles(RunOptions options, RowRunner runner)
    {
        (string kind, string size) = Parts(options.Group);
        switch (kind)
        {
            case "metadata": MetadataRows.Run(options, runner, int.Parse(size, CultureInfo.InvariantCulture)); break;
            case "small": SmallFileRows.Run(options, runner, size, RowTable.SmallSizes[size]); break;
            case "stream": StreamRows.Run(options, runner, size, (int)RowTable.RequestSizes[size]); break;
            case "handover": HandOverRows.RunFiles(options, runner, size, RowTable.HandOverSizes[size]); break;
            case "random": RandomRows.Run(options, runner); break;
            case "tree": ProgramRows.Tree(options, runner); break;
            case "git": ProgramRows.Git(options, runner); break;
            case "make": ProgramRows.Make(options, runner); break;
            case "sqlite": ProgramRows.Sqlite(options, runner); break;
            default: throw new BenchException($"there is no group {options.Group}");
        }
    }

    private static void RunValues(RunOptions options, RowRunner runner)
    {
        (string kind, string size) = Parts(options.Group);
        switch (kind)
        {
            case "small": ValueRows.RunSmall(options, runner, size, RowTable.SmallSizes[size]); break;
            case "handover": ValueRows.RunHandOver(options, runner, size, RowTable.HandOverSizes[size]); break;
            default: throw new BenchException($"a store of values has no group {options.Group}");
        }
    }

    /// <summary>A group's name is its kind, and what it varies.</summary>
    private static (string Kind, string Varies) Parts(string group) => group.Split('-') is [var kind, var varies] ? (kind, varies) : (group, "");
}
