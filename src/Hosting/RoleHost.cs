using System.Runtime.InteropServices;
using EphemeralFs.Hosting.Logging;
using EphemeralFs.Hosting.Metrics;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc;
using Microsoft.Extensions.Logging;
using Serilog.Extensions.Logging;

namespace EphemeralFs.Hosting;

/// <summary>The life of a process that is one role: log, metrics, start, readiness, signals, clean stop.</summary>
public static class RoleHost
{
    /// <summary>Line of a readiness datagram that carries the role's endpoint.</summary>
    public const string EndpointKey = "X_EPHEMERALFS_ENDPOINT";

    /// <summary>Line of a readiness datagram that carries the metrics endpoint.</summary>
    public const string MetricsKey = "X_EPHEMERALFS_METRICS";

    /// <summary>Line of a datagram that says why the start failed.</summary>
    public const string FailedKey = "X_EPHEMERALFS_FAILED";

    /// <summary>Runs until SIGTERM or SIGINT (a second one ends at once), or until the role ends by itself. Returns the exit code.</summary>
    public static async Task<int> RunAsync(RoleDefinition role, RoleOptions options)
    {
        var trace = options.Text(CommonOptions.Trace.Name);
        if (trace.Length > 0)
        {
            // The tracers read the variable when they are first used, which is after this.
            Environment.SetEnvironmentVariable(CommonOptions.Trace.Variable, trace);
        }

        var notify = options.Path(CommonOptions.NotifySocket.Name);
        using var stopping = new CancellationTokenSource();
        using var terminate = HandleSignal(PosixSignal.SIGTERM, stopping);
        using var interrupt = HandleSignal(PosixSignal.SIGINT, stopping);
        try
        {
            await using var log = RoleLogging.Create(role.Name, options);
            using var loggers = new SerilogLoggerFactory(log);
            return await RunAsync(role, options, loggers, notify, stopping.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            return ExitCodes.Success; // told to stop before it had started
        }
        catch (Exception e)
        {
            ServiceNotifier.Send(notify, $"{FailedKey}={StartupErrors.Describe(e)}", $"STATUS={StartupErrors.Describe(e)}", $"MAINPID={Environment.ProcessId}");
            return StartupErrors.Report(e);
        }
    }

    private static async Task<int> RunAsync(RoleDefinition role, RoleOptions options, ILoggerFactory loggers, string notify, CancellationToken stopping)
    {
        IRunningRole? running = null;
        MetricsServer? metrics = null;
        var context = new RoleContext(options, loggers, () => Volatile.Read(ref metrics)?.Endpoint ?? "");
        RpcTrace.Sink = line => context.Logger.LogInformation("{Line}", line);
        AppDomain.CurrentDomain.UnhandledException += (_, e) => context.Logger.LogCritical(e.ExceptionObject as Exception, "unhandled exception");
        TaskScheduler.UnobservedTaskException += (_, e) => context.Logger.LogError(e.Exception, "unhandled exception in a task that nobody waits for");

        // Beside the role's own start: a web server takes as long to start as a role.
        var address = options.Text(CommonOptions.Metrics.Name);
        MetricsServer.CheckFree(address);
        var metricsStart = address == "off"
            ? Task.FromResult<MetricsServer?>(null)
            : Task.Run<MetricsServer?>(
                async () => await MetricsServer.StartAsync(
                    address,
                    () => Volatile.Read(ref running)?.Metrics() ?? [],
                    () => Volatile.Read(ref running) is { } r ? r.Problem : "starting",
                    stopping).ConfigureAwait(false),
                stopping);
        try
        {
            Volatile.Write(ref running, await role.StartAsync(context, stopping).ConfigureAwait(false));
            Volatile.Write(ref metrics, await metricsStart.ConfigureAwait(false));
            context.Logger.LogInformation("ready on {Endpoint}, metrics on {Metrics}", running!.Endpoint, metrics?.Endpoint ?? "off");
            ServiceNotifier.Send(
                notify,
                "READY=1",
                $"MAINPID={Environment.ProcessId}",
                $"{EndpointKey}={running.Endpoint}",
                $"{MetricsKey}={metrics?.Endpoint ?? ""}");

            var told = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using (stopping.Register(() => told.TrySetResult()))
            {
                await (await Task.WhenAny(told.Task, running.Completion).ConfigureAwait(false)).ConfigureAwait(false);
            }

            context.Logger.LogInformation("stopping");
            ServiceNotifier.Send(notify, "STOPPING=1", $"MAINPID={Environment.ProcessId}");
            return ExitCodes.Success;
        }
        finally
        {
            if (running is not null)
            {
                await running.DisposeAsync().ConfigureAwait(false);
            }

            if (await StartedAsync(metricsStart).ConfigureAwait(false) is { } server)
            {
                await server.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>What came of the start of the metrics server, when something else failed first.</summary>
    private static async Task<MetricsServer?> StartedAsync(Task<MetricsServer?> start)
    {
        await start.ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default).ConfigureAwait(false);
        return start.IsCompletedSuccessfully ? start.Result : null;
    }

    private static PosixSignalRegistration HandleSignal(PosixSignal signal, CancellationTokenSource stopping) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            // The first asks; at the second the default action ends the process.
            context.Cancel = !stopping.IsCancellationRequested;
            stopping.Cancel();
        });
}
