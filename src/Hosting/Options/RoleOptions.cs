using System.Globalization;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Hosting.Options;

/// <summary>The values of a role's options, checked: defaults, overridden by the file, by the environment, by flags.</summary>
public sealed class RoleOptions
{
    private readonly Dictionary<string, string[]> _values;

    internal RoleOptions(Dictionary<string, string[]> values) => _values = values;

    /// <summary>Whether anybody gave a value (a default counts).</summary>
    public bool Has(string name) => _values.TryGetValue(name, out var values) && values.Length > 0;

    /// <summary>The value, or "" when there is none.</summary>
    public string Text(string name) => _values.TryGetValue(name, out var values) && values.Length > 0 ? values[^1] : "";

    /// <summary>All values of a repeatable option.</summary>
    public IReadOnlyList<string> List(string name) => _values.TryGetValue(name, out var values) ? values : [];

    /// <summary>A number; 0 when there is none.</summary>
    public long Integer(string name) => Has(name) ? long.Parse(Text(name), CultureInfo.InvariantCulture) : 0;

    /// <summary>Bytes; 0 when there is none.</summary>
    public long Size(string name) => ByteSize.TryParse(Text(name), out var bytes) ? bytes : 0;

    /// <summary>Whether a switch is on.</summary>
    public bool IsOn(string name) => Text(name) is "true";

    /// <summary>An absolute path, or "" when there is none.</summary>
    public string Path(string name) => Has(name) ? System.IO.Path.GetFullPath(Text(name)) : "";

    /// <summary>An address, or null when there is none.</summary>
    public Endpoint? Endpoint(string name) => Has(name) && Rpc.Endpoint.TryParse(Text(name), out var endpoint, out _) ? endpoint : null;
}
