using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Hosting.Metrics;

/// <summary>Serves <c>/metrics</c> (Prometheus text), <c>/healthz</c> (is all well?) and <c>/livez</c> (does the process answer?).</summary>
public sealed class MetricsServer : IAsyncDisposable
{
    private readonly WebApplication _application;

    private MetricsServer(WebApplication application) => _application = application;

    /// <summary>Base address with the real port: <c>http://127.0.0.1:9100</c>.</summary>
    public string Endpoint => _application.Urls.First();

    /// <summary>Throws when the address is taken, before anything else starts. Costs nothing, unlike <see cref="StartAsync"/>.</summary>
    public static void CheckFree(string address)
    {
        if (address == "off")
        {
            return;
        }

        var (ip, port) = Parse(address);
        using var probe = new System.Net.Sockets.Socket(ip.AddressFamily, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp);
        try
        {
            probe.Bind(new IPEndPoint(ip, port));
            probe.Listen(1);
        }
        catch (System.Net.Sockets.SocketException e)
        {
            throw InUse(address, e);
        }
    }

    /// <summary>Starts serving.</summary>
    /// <param name="address">ADDRESS:PORT; port 0 is any free one.</param>
    /// <param name="values">Read at each request.</param>
    /// <param name="healthy">Null when all is well, else what is wrong (then <c>/healthz</c> answers 503).</param>
    /// <param name="stopping">Ends the start.</param>
    public static async Task<MetricsServer> StartAsync(
        string address,
        Func<IEnumerable<(string Name, string Labels, double Value)>> values,
        Func<string?> healthy,
        CancellationToken stopping)
    {
        var (ip, port) = Parse(address);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.Listen(ip, port);
            options.AddServerHeader = false;
            options.Limits.MaxRequestBodySize = 0;
            options.Limits.MaxConcurrentConnections = 64;
        });
        var application = builder.Build();
        application.Run(context => AnswerAsync(context, values, healthy));
        try
        {
            await application.StartAsync(stopping).ConfigureAwait(false);
        }
        catch (IOException e) when (e.InnerException is Microsoft.AspNetCore.Connections.AddressInUseException or System.Net.Sockets.SocketException)
        {
            await application.DisposeAsync().ConfigureAwait(false);
            throw InUse(address, e);
        }

        return new MetricsServer(application);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        await _application.StopAsync(deadline.Token).ConfigureAwait(false);
        await _application.DisposeAsync().ConfigureAwait(false);
    }

    private static (IPAddress Ip, int Port) Parse(string address)
    {
        var colon = address.LastIndexOf(':');
        var host = address[..colon].Trim('[', ']');
        return (host == "localhost" ? IPAddress.Loopback : IPAddress.Parse(host), int.Parse(address.AsSpan(colon + 1), System.Globalization.CultureInfo.InvariantCulture));
    }

    private static StartupException InUse(string address, Exception e) =>
        new($"--metrics {address} is in use: stop the other process, choose another port, or use port 0 for any free one", e);

    private static Task AnswerAsync(HttpContext context, Func<IEnumerable<(string Name, string Labels, double Value)>> values, Func<string?> healthy)
    {
        switch (context.Request.Path.Value)
        {
            case "/metrics":
                context.Response.ContentType = MetricsText.ContentType;
                return context.Response.WriteAsync(MetricsText.Format(values().Concat(ProcessMetrics.Read())));
            case "/healthz":
                var problem = healthy();
                context.Response.StatusCode = problem is null ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
                return context.Response.WriteAsync((problem ?? "ok") + "\n");
            case "/livez":
                return context.Response.WriteAsync("ok\n");
            default:
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                return context.Response.WriteAsync("there are /metrics, /healthz and /livez\n");
        }
    }
}
