using System.Net.Sockets;
using EphemeralFs.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>How a <see cref="GrpcServer"/> serves.</summary>
public sealed record GrpcServerOptions
{
    /// <summary>Absolute paths of the sockets, each made with mode 0600. There is never a TCP listener.</summary>
    public required IReadOnlyList<string> Sockets { get; init; }

    /// <summary>Longest request that is accepted, bytes; a longer one is RESOURCE_EXHAUSTED. 4 MiB as in the other implementations of gRPC.</summary>
    public int MaxRequestBytes { get; init; } = 4 << 20;

    /// <summary>How long calls may go on when the server stops, milliseconds; then their tokens are cancelled and they are UNAVAILABLE.</summary>
    public int StopTimeoutMs { get; init; } = 5000;

    /// <summary>Told of each call once, just before it is answered; such as <see cref="Logging.CallLog.Completed"/>. Called on any thread.</summary>
    public Action<GrpcCallReport>? Completed { get; init; }
}

/// <summary>Serves unary gRPC methods over HTTP/2 on unix sockets, by Kestrel. Disposing it stops it and removes the sockets.</summary>
/// <remarks>
/// Calls, statuses and messages are all that the rest of the driver knows of gRPC: with Grpc.AspNetCore only this folder would change
/// (docs/decisions/0016). No <c>status.details</c> are ever sent, as the CSI specification demands.
/// </remarks>
public sealed class GrpcServer : IAsyncDisposable
{
    /// <summary>Connections at a time. Kubelet, sidecars and probes hold a handful; the bound is on what a client that leaks them can cost.</summary>
    private const int MaxConnections = 256;

    /// <summary>Calls at a time on one connection. A sidecar of the provisioner works on 100 claims at once; more than this wait at the client.</summary>
    private const int MaxStreams = 256;

    /// <summary>After the tokens of all calls were cancelled, milliseconds.</summary>
    private const int AbortTimeoutMs = 2000;

    private readonly WebApplication _application;
    private readonly GrpcEndpoint _endpoint;
    private readonly GrpcServerOptions _options;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping;
    private int _disposed;

    private GrpcServer(WebApplication application, GrpcEndpoint endpoint, GrpcServerOptions options, ILogger logger, CancellationTokenSource stopping)
    {
        _application = application;
        _endpoint = endpoint;
        _options = options;
        _logger = logger;
        _stopping = stopping;
    }

    /// <summary>Where it listens.</summary>
    public IReadOnlyList<string> Sockets => _options.Sockets;

    /// <summary>Starts serving; a socket that a dead process left is replaced.</summary>
    /// <param name="options">Where and how.</param>
    /// <param name="services">Each name once; all on each socket.</param>
    /// <param name="logger">For what is no call's.</param>
    /// <param name="cancellation">Ends the start.</param>
    /// <exception cref="StartupException">A socket is in use or cannot be made.</exception>
    public static async Task<GrpcServer> StartAsync(
        GrpcServerOptions options, IReadOnlyList<GrpcService> services, ILogger logger, CancellationToken cancellation)
    {
        foreach (var path in options.Sockets)
        {
            GrpcSocket.Clear(path);
        }

        var stopping = new CancellationTokenSource();
        var endpoint = new GrpcEndpoint(services, options, logger, stopping.Token);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders().AddProvider(new ForwardingLoggerProvider(logger)).SetMinimumLevel(LogLevel.Warning);
        builder.WebHost
            .UseKestrelCore()
            .UseSockets(sockets => sockets.CreateBoundListenSocket = GrpcSocket.Bind)
            .ConfigureKestrel(kestrel => Configure(kestrel, options));
        var application = builder.Build();
        application.Run(endpoint.AnswerAsync);
        try
        {
            await application.StartAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await application.DisposeAsync().ConfigureAwait(false);
            stopping.Dispose();
            if (e is IOException { InnerException: AddressInUseException })
            {
                throw GrpcSocket.InUse(string.Join(" or ", options.Sockets), e);
            }

            if (e is IOException or SocketException)
            {
                throw new StartupException($"cannot listen on {string.Join(" and ", options.Sockets)}: {e.Message}", e);
            }

            throw;
        }

        return new GrpcServer(application, endpoint, options, logger, stopping);
    }

    /// <summary>Closes the sockets and removes their files, lets calls end for <see cref="GrpcServerOptions.StopTimeoutMs"/>, then cancels them.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        _stopping.CancelAfter(_options.StopTimeoutMs);
        using var deadline = new CancellationTokenSource(_options.StopTimeoutMs + AbortTimeoutMs);
        await _application.StopAsync(deadline.Token).ConfigureAwait(false);
        await _stopping.CancelAsync().ConfigureAwait(false); // handlers whose call was answered before they ended
        var running = _endpoint.Running;
        await Task.WhenAny(Task.WhenAll(running.Select(pair => pair.Key)), Task.Delay(AbortTimeoutMs)).ConfigureAwait(false);
        var stuck = _endpoint.Running;
        foreach (var (_, method) in stuck)
        {
            _logger.LogError("{Method} has not ended, though its call was cancelled; the server is closed around it", method);
        }

        await _application.DisposeAsync().ConfigureAwait(false);
        if (stuck.Count == 0)
        {
            _stopping.Dispose();
        }
    }

    private static void Configure(KestrelServerOptions kestrel, GrpcServerOptions options)
    {
        kestrel.AddServerHeader = false;
        kestrel.Limits.MaxConcurrentConnections = MaxConnections;
        kestrel.Limits.Http2.MaxStreamsPerConnection = MaxStreams;

        // A message has its own bound, and a call its own deadline; a peer that is slow is a busy machine.
        kestrel.Limits.MaxRequestBodySize = null;
        kestrel.Limits.MinRequestBodyDataRate = null;
        kestrel.Limits.MinResponseDataRate = null;

        // Sidecars hold one connection for days and exit when it is lost. A unix socket tells when its peer is gone: no pings of ours are needed,
        // those of clients are answered. (Kestrel adds this to the time of day: InfiniteTimeSpan, which is -1 ms, ends what is idle at the next second.)
        kestrel.Limits.KeepAliveTimeout = TimeSpan.FromDays(3650);
        foreach (var path in options.Sockets)
        {
            kestrel.ListenUnixSocket(path, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.Use(AnyAuthority.Use);
            });
        }
    }
}

/// <summary>Passes what Kestrel complains about on to the log of the driver.</summary>
internal sealed class ForwardingLoggerProvider(ILogger logger) : ILoggerProvider
{
    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) => logger;

    /// <inheritdoc/>
    public void Dispose()
    {
        // The logger belongs to whoever gave it.
    }
}
