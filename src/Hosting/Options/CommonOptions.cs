namespace EphemeralFs.Hosting.Options;

/// <summary>The options that all roles share.</summary>
public static class CommonOptions
{
    public static readonly OptionSpec Metrics = new("metrics", OptionKind.Text, "127.0.0.1:0", "Where /metrics and /healthz are served, to whoever asks: ADDRESS:PORT (port 0: any), or off")
    {
        ValueName = "ADDRESS",
        Check = MetricsError,
    };

    public static readonly OptionSpec LogLevel = new("log-level", OptionKind.Text, "information", "Least level that is logged")
    {
        ValueName = "LEVEL",
        Choices = ["verbose", "debug", "information", "warning", "error", "fatal"],
    };

    public static readonly OptionSpec LogFormat = new("log-format", OptionKind.Text, "auto", "text, json, or auto: text on a terminal and json otherwise")
    {
        ValueName = "FORMAT",
        Choices = ["auto", "text", "json"],
    };

    public static readonly OptionSpec LogFile = new("log-file", OptionKind.Path, null, "Append log lines to this file instead of standard error");

    public static readonly OptionSpec SlowMs = new("slow-ms", OptionKind.Integer, "1000", "Log a line for operations slower than this many milliseconds (0: never)") { ValueName = "MS" };

    public static readonly OptionSpec Trace = new("trace", OptionKind.Text, null, "Print requests: fuse, rpc or both, separated by a comma")
    {
        ValueName = "WHAT",
        Check = value => value.Split(',').All(w => w is "fuse" or "rpc") ? null : "must be fuse, rpc or fuse,rpc",
    };

    public static readonly OptionSpec NotifySocket = new("notify-socket", OptionKind.Path, null, "Report readiness to this socket as sd_notify(3) does (also NOTIFY_SOCKET)");

    /// <summary>All of them.</summary>
    public static readonly IReadOnlyList<OptionSpec> All = [Metrics, LogLevel, LogFormat, LogFile, SlowMs, Trace, NotifySocket];

    /// <summary>Where a role serves.</summary>
    public static OptionSpec Listen(string? byDefault) => new("listen", OptionKind.Endpoint, byDefault, "Where it serves: unix:/PATH or tcp:IP:PORT (port 0: any)")
    {
        ValueName = "ADDRESS",
        Check = ListenError,
        Required = byDefault is null,
    };

    /// <summary>Where others find the role, when that is not where it listens.</summary>
    public static readonly OptionSpec Advertise = new("advertise", OptionKind.Endpoint, null, "The address that others are told, which must stay when the server moves [--listen]")
    {
        ValueName = "ADDRESS",
    };

    /// <summary>Where the controller is.</summary>
    public static readonly OptionSpec Controller = new("controller", OptionKind.Endpoint, null, "The controller's address")
    {
        ValueName = "ADDRESS",
        Required = true,
    };

    /// <summary>What a role is called.</summary>
    public static OptionSpec Name(string byDefault) => new("name", OptionKind.Text, byDefault, "Name of this server, unique among its role; keep it when it restarts")
    {
        ValueName = "NAME",
        Check = NameError,
    };

    /// <summary>Null for a good server or node name.</summary>
    public static string? NameError(string name) =>
        name.Length is > 0 and <= 63 && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') && name[0] is not '.' and not '-'
            ? null
            : "is no name: use 1 to 63 letters, digits, dots, dashes or underscores, beginning with a letter or digit";

    private static string? MetricsError(string value)
    {
        if (value == "off")
        {
            return null;
        }

        var colon = value.LastIndexOf(':');
        return colon > 0 && ushort.TryParse(value.AsSpan(colon + 1), out _)
            && (value[..colon] is "localhost" || System.Net.IPAddress.TryParse(value[..colon].Trim('[', ']'), out _))
                ? null
                : "must be off or an IP address of this machine with a port, such as 127.0.0.1:9100";
    }

    private static string? ListenError(string value) => Rpc.Endpoint.TryParse(value, out var endpoint, out _) && endpoint.Address is System.Net.DnsEndPoint
        ? "must have an IP address of this machine: names are for those who connect"
        : null;
}
