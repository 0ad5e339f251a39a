using System.Globalization;
using System.Text.Json;

namespace EphemeralFs.Bench.Measure;

/// <summary>A system's memory at the end of the run, in bytes. A line of <c>samples.jsonl</c>.</summary>
/// <param name="System">The system's name.</param>
/// <param name="ClientBytes">Proportional set size of the processes on the nodes.</param>
/// <param name="ServerBytes">Of the servers.</param>
internal sealed record MemoryUse(string System, long ClientBytes, long ServerBytes)
{
    public static void Print(Arguments arguments)
    {
        var use = new MemoryUse(arguments.Required("system"), Sum(arguments.Numbers("client")), Sum(arguments.Numbers("server")));
        Console.WriteLine(JsonSerializer.Serialize(new { Memory = use }, JsonStyle.Line));
    }

    private static long Sum(IEnumerable<int> pids) => pids.Sum(ProportionalSetSize);

    /// <summary>Pss of /proc/PID/smaps_rollup: shared pages are divided among those that map them. 0 if the process is gone.</summary>
    private static long ProportionalSetSize(int pid)
    {
        try
        {
            string? line = File.ReadLines($"/proc/{pid}/smaps_rollup").FirstOrDefault(line => line.StartsWith("Pss:", StringComparison.Ordinal));
            return line is null ? 0 : long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
