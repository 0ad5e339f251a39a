using EphemeralFs.CsiDriver.Grpc;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.CsiDriver.Logging;

/// <summary>One line for each call: method, code, milliseconds and the request without its secrets.</summary>
public sealed class CallLog
{
    /// <summary>Of the request in a line, in characters. Requests of Kubernetes have some 1,000; one of 4 MiB must not become a line of 4 MiB.</summary>
    public const int MaxRequestLength = 4096;

    /// <summary>Shorter values are not looked for in messages: they are in ordinary words.</summary>
    private const int MinSecretLength = 4;

    private static readonly JsonFormatter s_json = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    private readonly ILogger _logger;

    /// <summary>A log.</summary>
    public CallLog(ILogger logger) => _logger = logger;

    /// <summary>Writes the line. For <see cref="GrpcServerOptions.Completed"/>.</summary>
    public void Completed(GrpcCallReport report)
    {
        var level = Level(report);
        if (!_logger.IsEnabled(level))
        {
            return;
        }

        var (request, secrets) = Describe(report.Request);
        var milliseconds = report.Elapsed.TotalMilliseconds;
        if (report.Code == GrpcStatusCode.OK)
        {
            _logger.Log(level, "{Method} {Code} {ElapsedMs:0.0} ms {Request}", report.FullMethod, report.Code, milliseconds, request);
            return;
        }

        // A stack is for what nobody foresaw, and for causes that a handler kept.
        var error = report.Code == GrpcStatusCode.Internal ? report.Error : report.Error?.InnerException;
        var trace = error?.ToString();
        if (trace is not null && secrets.Any(secret => trace.Contains(secret, StringComparison.Ordinal)))
        {
            _logger.Log(
                level,
                "{Method} {Code} {ElapsedMs:0.0} ms {Request} {Message} {Error}",
                report.FullMethod,
                report.Code,
                milliseconds,
                request,
                Without(report.Message, secrets),
                Without(trace, secrets));
            return;
        }

        _logger.Log(
            level,
            error,
            "{Method} {Code} {ElapsedMs:0.0} ms {Request} {Message}",
            report.FullMethod,
            report.Code,
            milliseconds,
            request,
            Without(report.Message, secrets));
    }

    /// <summary>What kubelet and probes ask all the time is not worth a line when it went well.</summary>
    private static LogLevel Level(GrpcCallReport report) => report.Code switch
    {
        GrpcStatusCode.OK when IsRoutine(report.FullMethod[(report.FullMethod.LastIndexOf('/') + 1)..]) => LogLevel.Debug,
        GrpcStatusCode.OK => LogLevel.Information,
        GrpcStatusCode.Internal => LogLevel.Error,
        _ => LogLevel.Warning,
    };

    private static bool IsRoutine(string method) =>
        method is "Probe" or "NodeGetVolumeStats" or "GetPluginCapabilities" or "GetInfo" || method.EndsWith("GetCapabilities", StringComparison.Ordinal);

    private static (string Json, IReadOnlyCollection<string> Secrets) Describe(IMessage? request)
    {
        if (request is null)
        {
            return ("-", []);
        }

        var json = s_json.Format(SecretFields.Strip(request, out var found));
        var secrets = found.Where(secret => secret.Length >= MinSecretLength).OrderByDescending(secret => secret.Length).ToArray();

        // The same secret may stand elsewhere, where it should not.
        json = Without(json, secrets);
        return (json.Length <= MaxRequestLength ? json : $"{json[..MaxRequestLength]}... ({json.Length} characters)", secrets);
    }

    private static string Without(string text, IReadOnlyCollection<string> secrets) =>
        secrets.Aggregate(text, static (result, secret) => result.Replace(secret, SecretFields.Stripped, StringComparison.Ordinal));
}
