using System.Globalization;
using EphemeralFs.Tests.Mount.Faults;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>What a process costs, as the kernel counts it.</summary>
/// <param name="Descriptors">Open descriptors.</param>
/// <param name="Threads">Threads.</param>
/// <param name="Bytes">Proportional set size, bytes: its own memory, and its share of what it has in common with others.</param>
/// <param name="CpuMs">Processor time since it began, milliseconds.</param>
/// <param name="Wakeups">How often its living threads have waited for something, since they began.</param>
internal sealed record ProcessCost(int Descriptors, int Threads, long Bytes, long CpuMs, long Wakeups)
{
    public const long MiB = 1 << 20;

    /// <summary>USER_HZ, which is 100 on all architectures that .NET knows.</summary>
    private const int TickMs = 10;

    public static ProcessCost Of(ClusterProcess process)
    {
        string directory = $"/proc/{process.Pid}";
        // pid (comm) state ppid …: utime and stime are the 14th and 15th field, and the second may hold spaces.
        string[] stat = File.ReadAllText($"{directory}/stat").Split(") ")[^1].Split(' ');
        var (descriptors, threads, _) = process.Usage();
        return new(
            descriptors,
            threads,
            Field($"{directory}/smaps_rollup", "Pss:") * 1024,
            (Number(stat[11]) + Number(stat[12])) * TickMs,
            Directory.EnumerateDirectories($"{directory}/task").Sum(Waits));
    }

    /// <summary>What its descriptors are and how many of each, the code that it has loaded left out.</summary>
    public static string DescribeDescriptors(ClusterProcess process) => string.Join(", ", Directory.EnumerateFiles($"/proc/{process.Pid}/fd")
        .Select(file => new FileInfo(file).LinkTarget ?? "gone")
        .Where(target => !target.EndsWith(".dll", StringComparison.Ordinal))
        .GroupBy(target => target.StartsWith('/') ? target : target.Split('[')[0], (target, all) => $"{all.Count()} {target}"));

    private static long Waits(string task)
    {
        try
        {
            return Field($"{task}/status", "voluntary_ctxt_switches:");
        }
        catch (IOException)
        {
            return 0; // a thread that has just ended
        }
    }

    private static long Field(string file, string name) =>
        Number(File.ReadLines(file).First(line => line.StartsWith(name, StringComparison.Ordinal)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1]);

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
