using System.Globalization;
using EphemeralFs.Core;

namespace EphemeralFs.Hosting.Options;

/// <summary>What values an option takes.</summary>
public enum OptionKind
{
    Text,

    /// <summary>A decimal number ≥ 0.</summary>
    Integer,

    /// <summary>Bytes, as <see cref="ByteSize"/> reads them.</summary>
    Size,

    /// <summary>true or false; as a flag the value may be left out.</summary>
    Switch,

    /// <summary><c>unix:/path</c> or <c>tcp:host:port</c>.</summary>
    Endpoint,

    /// <summary>A file or directory, made absolute.</summary>
    Path,
}

/// <summary>
/// An option of a role, declared once: the flag <c>--name</c>, the variable <c>EPHEMERALFS_NAME</c>, the key <c>name:</c> of the file
/// and the line of <c>--help</c> all come from here.
/// </summary>
/// <param name="Name">Lower case with dashes.</param>
/// <param name="Kind">What it takes.</param>
/// <param name="Default">Null when there is none.</param>
/// <param name="Help">One line.</param>
public sealed record OptionSpec(string Name, OptionKind Kind, string? Default, string Help)
{
    /// <summary>Prefix of all our environment variables.</summary>
    public const string Prefix = "EPHEMERALFS_";

    /// <summary>What stands for the value in the help.</summary>
    public string ValueName { get; init; } = Kind.ToString().ToUpperInvariant();

    /// <summary>May be given several times; in the file as a list, in the environment separated by blanks.</summary>
    public bool Repeatable { get; init; }

    /// <summary>Has to be given.</summary>
    public bool Required { get; init; }

    /// <summary>The only values that are allowed, if set.</summary>
    public string[]? Choices { get; init; }

    /// <summary>A further check: null, or what is wrong ("is too small: give at least 1").</summary>
    public Func<string, string?>? Check { get; init; }

    /// <summary>The flag.</summary>
    public string Flag => "--" + Name;

    /// <summary>The environment variable.</summary>
    public string Variable => VariableName ?? Prefix + Name.ToUpperInvariant().Replace('-', '_');

    /// <summary>Its name, where the usual one belongs to another role's option.</summary>
    public string? VariableName { get; init; }

    /// <summary>A variable that a specification of others names for it; ours counts more.</summary>
    public string? ForeignVariable { get; init; }

    /// <summary>Null when <paramref name="value"/> is acceptable, else what is wrong with it and what to do.</summary>
    public string? Validate(string value) => KindError(value) ?? (Choices is null || Choices.Contains(value, StringComparer.Ordinal)
        ? Check?.Invoke(value)
        : $"must be one of {string.Join(", ", Choices)}");

    private string? KindError(string value) => Kind switch
    {
        OptionKind.Integer => long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out _) ? null : "is no number: give a whole number, such as 8",
        OptionKind.Size => ByteSize.TryParse(value, out _) ? null : "is no size: give a number with K, M, G or T, such as 512M",
        OptionKind.Switch => value is "true" or "false" ? null : "must be true or false",
        OptionKind.Endpoint => Rpc.Endpoint.TryParse(value, out _, out var error) ? null : $"is no address ({error}): give unix:/PATH or tcp:HOST:PORT",
        OptionKind.Path => value.Length > 0 ? null : "is empty: give a path",
        _ => null,
    };
}
