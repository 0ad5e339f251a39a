using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>Sequences as text: one JSON object per line, to be printed, kept in a test or a file, and run again.</summary>
public static class OpText
{
    private static readonly JsonSerializerOptions Options = new()
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault,
        Converters = { new JsonStringEnumConverter() },
        Encoder = JavaScriptEncoder.Default,
    };

    public static string Write(Op op) => JsonSerializer.Serialize(op, Options);

    public static string Write(IEnumerable<Op> ops)
    {
        var text = new StringBuilder();
        foreach (var op in ops)
        {
            text.Append(Write(op)).Append('\n');
        }
        return text.ToString();
    }

    /// <exception cref="JsonException">A line is not an operation.</exception>
    public static IReadOnlyList<Op> Read(string text) =>
        [.. text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonSerializer.Deserialize<Op>(line, Options) ?? throw new JsonException(line))];
}
