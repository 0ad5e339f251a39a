using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace EphemeralFs.Bench;

/// <summary>How samples are written: camel case, nothing for what is absent.</summary>
internal static class JsonStyle
{
    public static readonly JsonSerializerOptions Line = Make(indented: false);

    public static readonly JsonSerializerOptions Document = Make(indented: true);

    private static JsonSerializerOptions Make(bool indented) => new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = indented,
    };
}
