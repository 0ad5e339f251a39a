using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc;

namespace EphemeralFs.Controller;

/// <summary>Configuration of a controller.</summary>
public sealed record ControllerOptions
{
    /// <summary>Where it serves.</summary>
    public required Endpoint Listen { get; init; }

    /// <summary>Directory of its journal; must exist.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>A server that was silent for so long is taken for dead, milliseconds.</summary>
    public int AliveTimeoutMs { get; init; } = 5000;

    /// <summary>The bound of a request to a metadata server, milliseconds.</summary>
    public int MetadataTimeoutMs { get; init; } = 5000;

    /// <summary>The options of the role.</summary>
    public static readonly IReadOnlyList<OptionSpec> Specs =
    [
        CommonOptions.Listen(null),
        new("state", OptionKind.Path, null, "Directory of its journal; it must exist") { ValueName = "DIR", Required = true },
        new("alive-timeout-ms", OptionKind.Integer, "5000", "A server that is silent for so long is taken for dead")
        {
            ValueName = "MS",
            Check = value => value.Length <= 7 && int.Parse(value, System.Globalization.CultureInfo.InvariantCulture) >= 1000 ? null : "must be between 1000 (one heartbeat) and 9999999",
        },
    ];

    /// <summary>From checked values.</summary>
    public static ControllerOptions From(RoleOptions options) => new()
    {
        Listen = options.Endpoint("listen")!,
        StateDirectory = options.Path("state"),
        AliveTimeoutMs = (int)options.Integer("alive-timeout-ms"),
    };
}
