using System.Text.Json;
using EphemeralFs.Bench.Measure;

namespace EphemeralFs.Bench.Report;

/// <summary>All lines of a run.</summary>
/// <param name="About">Of the run.</param>
/// <param name="Measurements">In the order in which they were made.</param>
/// <param name="Memory">By system.</param>
internal sealed record Samples(About? About, IReadOnlyList<Measurement> Measurements, IReadOnlyList<MemoryUse> Memory)
{
    /// <summary>In the order in which they were first measured.</summary>
    public IEnumerable<string> Systems => Measurements.Select(sample => sample.System).Distinct();

    public static Samples Read(string path)
    {
        About? about = null;
        List<Measurement> measurements = [];
        List<MemoryUse> memory = [];
        foreach (string line in File.ReadLines(path).Where(line => line.Length > 0))
        {
            try
            {
                using JsonDocument document = JsonDocument.Parse(line);
                JsonElement root = document.RootElement;
                if (root.TryGetProperty("about", out JsonElement aboutLine))
                {
                    about = aboutLine.Deserialize<About>(JsonStyle.Line);
                }
                else if (root.TryGetProperty("memory", out JsonElement memoryLine))
                {
                    memory.Add(memoryLine.Deserialize<MemoryUse>(JsonStyle.Line)!);
                }
                else
                {
                    measurements.Add(root.Deserialize<Measurement>(JsonStyle.Line)!);
                }
            }
            catch (JsonException e)
            {
                throw new BenchException($"{path}: not a sample: {line} ({e.Message})");
            }
        }

        return new Samples(about, measurements, memory);
    }

    public Cell Of(string row, string system) => new([.. Measurements.Where(sample => sample.Row == row && sample.System == system)]);
}
