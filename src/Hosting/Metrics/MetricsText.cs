using System.Globalization;
using System.Text;

namespace EphemeralFs.Hosting.Metrics;

/// <summary>Writes values in the Prometheus text format, version 0.0.4.</summary>
public static class MetricsText
{
    /// <summary>Content type of the answer.</summary>
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    /// <summary>The values as text; those of one name stand together after its TYPE line, as the format asks.</summary>
    /// <param name="values">Name (<c>ephemeralfs_…</c>; counters end in <c>_total</c>), labels without braces (<c>tier="dram"</c>) or "", value.</param>
    public static string Format(IEnumerable<(string Name, string Labels, double Value)> values)
    {
        var text = new StringBuilder();
        foreach (var family in values.GroupBy(v => v.Name, StringComparer.Ordinal))
        {
            text.Append("# TYPE ").Append(family.Key).Append(family.Key.EndsWith("_total", StringComparison.Ordinal) ? " counter\n" : " gauge\n");
            foreach (var (_, labels, value) in family)
            {
                text.Append(family.Key);
                if (labels.Length > 0)
                {
                    text.Append('{').Append(labels).Append('}');
                }

                text.Append(' ').Append(Number(value)).Append('\n');
            }
        }

        return text.ToString();
    }

    /// <summary>A label with its value escaped.</summary>
    public static string Label(string name, string value) =>
        $"{name}=\"{value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"";

    private static string Number(double value) =>
        double.IsPositiveInfinity(value) ? "+Inf" : double.IsNegativeInfinity(value) ? "-Inf" : value.ToString("R", CultureInfo.InvariantCulture);
}
