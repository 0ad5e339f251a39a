using EphemeralFs.Hosting.Options;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Hosting;

/// <summary>A role as the program knows it: how it is configured and how it starts.</summary>
/// <param name="Name">Subcommand and name in logs.</param>
/// <param name="Summary">One line for the help.</param>
/// <param name="Options">Its own options; the common ones are added.</param>
/// <param name="StartAsync">Starts it; throws when it cannot, best a <see cref="StartupException"/>.</param>
public sealed record RoleDefinition(
    string Name,
    string Summary,
    IReadOnlyList<OptionSpec> Options,
    Func<RoleContext, CancellationToken, Task<IRunningRole>> StartAsync)
{
    /// <summary>Its own and the common options.</summary>
    public IReadOnlyList<OptionSpec> AllOptions { get; } = [.. Options, .. CommonOptions.All];
}

/// <summary>What a role is given to start with.</summary>
public sealed class RoleContext
{
    private readonly Func<string> _metricsEndpoint;

    internal RoleContext(RoleOptions options, ILoggerFactory loggers, Func<string> metricsEndpoint)
    {
        Options = options;
        Loggers = loggers;
        Logger = loggers.CreateLogger("EphemeralFs");
        _metricsEndpoint = metricsEndpoint;
    }

    /// <summary>Checked values.</summary>
    public RoleOptions Options { get; }

    /// <summary>For the role's lines.</summary>
    public ILogger Logger { get; }

    /// <summary>For named parts of the role.</summary>
    public ILoggerFactory Loggers { get; }

    /// <summary>Where this process serves its metrics, <c>http://…</c>; "" when it does not or not yet.</summary>
    public string MetricsEndpoint => _metricsEndpoint();
}

/// <summary>A role that serves. Disposing it stops it cleanly.</summary>
public interface IRunningRole : IAsyncDisposable
{
    /// <summary>Where it serves, with the real port.</summary>
    string Endpoint { get; }

    /// <summary>Its values for <c>/metrics</c>.</summary>
    IEnumerable<(string Name, string Labels, double Value)> Metrics();

    /// <summary>Null when it is well; else what is wrong, for <c>/healthz</c>.</summary>
    string? Problem { get; }

    /// <summary>Completes when the role ends by itself, such as by a request to shut down.</summary>
    Task Completion { get; }
}
