using System.Globalization;
using System.Text.Json;

namespace EphemeralFs.Bench.Report;

/// <summary>What a reader must know to judge the numbers. A line of <c>samples.jsonl</c>.</summary>
internal sealed record About
{
    public required string Date { get; init; }

    public required string Machine { get; init; }

    public required string Kernel { get; init; }

    /// <summary>/proc/loadavg before the first system was started: other work on the machine.</summary>
    public required string LoadBefore { get; init; }

    public required int Rounds { get; init; }

    public required bool Quick { get; init; }

    /// <summary>The commit that was measured.</summary>
    public required string Commit { get; init; }

    /// <summary>The systems' versions, in one line.</summary>
    public required string Versions { get; init; }

    public static void Print(Arguments arguments)
    {
        string processor = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(": ")[^1] ?? "unknown processor";
        string memory = File.ReadLines("/proc/meminfo").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        long gibibytes = long.Parse(memory, CultureInfo.InvariantCulture) >> 20;
        var about = new About
        {
            Date = DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture),
            Machine = string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessorCount} CPUs ({processor}), {gibibytes} GiB"),
            Kernel = File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
            LoadBefore = arguments.Optional("load") ?? "",
            Rounds = arguments.Number("round", 1),
            Quick = arguments.Flag("quick"),
            Commit = arguments.Optional("commit") ?? "unknown",
            Versions = arguments.Optional("versions") ?? "",
        };
        Console.WriteLine(JsonSerializer.Serialize(new { About = about }, JsonStyle.Line));
    }
}
