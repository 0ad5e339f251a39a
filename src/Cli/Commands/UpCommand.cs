using System.CommandLine;
using System.Runtime.InteropServices;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Cli.Roles;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Logging;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Interop;
using Microsoft.Extensions.Logging;
using Serilog.Extensions.Logging;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs up DIR</c>: a whole cluster on this machine, with volume tmp mounted at DIR.</summary>
internal static class UpCommand
{
    private static readonly TimeSpan s_detachPatience = TimeSpan.FromSeconds(180);

    /// <summary>The options, from flags, variables and file as those of the roles.</summary>
    public static readonly IReadOnlyList<OptionSpec> Specs =
    [
        new("state", OptionKind.Path, null, "State directory [/var/lib/ephemeralfs for root, else $XDG_RUNTIME_DIR/ephemeralfs]") { ValueName = "DIR" },
        new("capacity", OptionKind.Size, null, "What the default tiers hold together [a quarter of the memory and half of the disk]") { Check = AtLeastTiers },
        new("storage-servers", OptionKind.Integer, "2", "Number of storage servers") { ValueName = "N", Check = value => value.Length < 4 && value.Any(c => c != '0') ? null : "must be between 1 and 999" },
        new("tier", OptionKind.Text, null, "A tier instead of the default ones: CLASS=PATH:SIZE with class dram, nvme, ssd, hdd or null") { ValueName = "TIER", Repeatable = true, Check = TierSpec.Error },
        new("port", OptionKind.Integer, null, "Serve on 127.0.0.1 at consecutive ports from this one (0: any free ones) instead of on unix sockets")
        {
            ValueName = "PORT",
            Check = value => value.Length <= 5 && int.Parse(value, System.Globalization.CultureInfo.InvariantCulture) <= 64000 ? null : "must be a port up to 64000",
        },
        new("listen", OptionKind.Text, "unix", "unix, or tcp:ADDRESS:PORT as --port does for another address") { ValueName = "ADDRESS", Check = ListenError },
        CommonOptions.Metrics with { Check = value => value is "off" or "localhost:0" or "[::1]:0" || (value.StartsWith("127.", StringComparison.Ordinal) && value.EndsWith(":0", StringComparison.Ordinal) && CommonOptions.Metrics.Check!(value) is null) ? null : "must be off or a loopback address with port 0, such as 127.0.0.1:0: each role takes a port of its own" },
        new("node", OptionKind.Text, "node-1", "Name of the node") { ValueName = "NAME", Check = CommonOptions.NameError },
        new("csi", OptionKind.Text, null, "Also serve the CSI driver on this socket: unix:/PATH") { ValueName = "unix:PATH", Check = CsiRole.EndpointError },
        new("kubelet", OptionKind.Path, null, "With --csi: kubelet's directory, to register there") { ValueName = "DIR" },
        new("mount-options", OptionKind.Text, null, "Mount options, separated by commas: ro, nosuid, nodev, noexec, allow_other, nonempty") { ValueName = "OPTIONS", Check = NodeMounts.OptionsError },
        new("size", OptionKind.Size, null, "Quota of volume tmp, bytes [none]") { Check = AboveZero },
        new("inodes", OptionKind.Integer, null, "Quota of volume tmp, files and directories [none]") { ValueName = "N", Check = AboveZero },
        new("keep", OptionKind.Switch, "false", "Keep volumes when the cluster stops, for the next 'up --keep'; otherwise they are gone"),
        CommonOptions.LogLevel,
        CommonOptions.LogFormat,
    ];

    public static Command Create()
    {
        var directory = new Argument<string>("dir") { HelpName = "DIR", Description = "An empty directory, where volume tmp is mounted" };
        var detach = new Option<bool>("--detach", "-d") { Description = "Return once DIR is usable; the cluster goes on in the background" };
        var notify = new Option<string?>("--notify-socket") { Hidden = true };
        var command = new Command("up", "Start a cluster on this machine and mount it at DIR") { directory, detach, notify };
        var options = new SpecOptions(command, Specs);
        command.SetAction(async (parsed, _) =>
        {
            var values = options.Load(parsed);
            if (values.Has("port") && values.Text("listen") != "unix")
            {
                throw StartupException.Usage("--port and --listen exclude each other: give one of them");
            }

            var paths = ClusterPaths.Resolve(values.Has("state") ? values.Text("state") : null);
            return parsed.GetValue(detach)
                ? await DetachAsync(paths, parsed).ConfigureAwait(false)
                : await RunAsync(paths, parsed.GetValue(directory)!, values, parsed.GetValue(notify)).ConfigureAwait(false);
        });
        return command;
    }

    /// <summary>Starts this program again in the background, without --detach, and waits for its word.</summary>
    private static async Task<int> DetachAsync(ClusterPaths paths, ParseResult parsed)
    {
        var socket = paths.DetachSocket(Environment.ProcessId);
        using var listener = new NotifyListener(socket);
        var arguments = parsed.Tokens.Select(t => t.Value).Where(t => t is not "--detach" and not "-d");
        Self.PrepareChildren(paths.State);
        using var supervisor = ChildProcess.Start([.. Self.Command, .. arguments, "--notify-socket", socket], "/dev/null");
        try
        {
            await listener.WaitUntilReadyAsync(supervisor, "the cluster", paths.Log("supervisor"), s_detachPatience, CancellationToken.None).ConfigureAwait(false);
        }
        catch (StartupException)
        {
            // It has said why; what it made is gone when it has ended.
            await supervisor.EndsWithinAsync(s_detachPatience).ConfigureAwait(false);
            throw;
        }

        await SummaryAsync(paths, detached: true).ConfigureAwait(false);
        return ExitCodes.Success;
    }

    private static async Task<int> RunAsync(ClusterPaths paths, string directory, RoleOptions values, string? notify)
    {
        using var stopping = new CancellationTokenSource();
        using var interrupt = OnSignal(PosixSignal.SIGINT, stopping);
        using var terminate = OnSignal(PosixSignal.SIGTERM, stopping);
        using var hangUp = OnSignal(PosixSignal.SIGHUP, stopping);
        var made = false;
        try
        {
            made = StateDirectory.Make(paths);
            using var taken = TakeLock(paths);
            return await RunLockedAsync(paths, directory, values, made, notify, stopping.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (notify is not null)
        {
            var line = e is OperationCanceledException ? "it was told to stop" : StartupErrors.Describe(e);
            ServiceNotifier.Send(notify, $"{RoleHost.FailedKey}={line}", $"MAINPID={Environment.ProcessId}");
            throw;
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            throw new StartupException("stopped before everything had started", ExitCodes.Failure);
        }
        finally
        {
            StateDirectory.RemoveIfEmpty(paths, made);
        }
    }

    private static async Task<int> RunLockedAsync(
        ClusterPaths paths, string directory, RoleOptions values, bool made, string? notify, CancellationToken stopping)
    {
        var keep = values.IsOn("keep");
        var before = ClusterFile.Load(paths);
        var crashed = before is not null || ClusterProcesses.Find(paths).Any(p => !IsAncestor(p.Pid));
        var kept = ClusterFile.LoadKept(paths);
        if (crashed)
        {
            // The last supervisor was killed. Its volumes are gone, unless both sides say otherwise.
            Console.Error.WriteLine($"ephemeralfs: cleaning up what the last cluster in {paths.State} left");
        }

        if (crashed || kept is not null)
        {
            await Teardown.RunAsync(paths, removeData: !(keep && (before ?? kept) is { Keep: true }), line => Console.Error.WriteLine($"ephemeralfs: {line}")).ConfigureAwait(false);
            made |= (before ?? kept)?.MadeState ?? false;
        }

        var path = NodeMounts.Check(directory, values.Text("mount-options"));
        if (notify is not null)
        {
            ClusterPaths.MakePrivateDirectory(paths.Logs);
        }

        await using var log = RoleLogging.Create("up", LogOptions(values, notify is null ? null : paths.Log("supervisor")));
        using var loggers = new SerilogLoggerFactory(log);
        await using var supervisor = new Supervisor(Options(values, path), paths, loggers.CreateLogger("EphemeralFs"));
        await supervisor.StartAsync(made, stopping).ConfigureAwait(false);
        loggers.CreateLogger("EphemeralFs").LogDebug("volume {Volume} is mounted at {Directory}", Supervisor.Volume, path);
        if (notify is null)
        {
            await SummaryAsync(paths, detached: false).ConfigureAwait(false);
        }
        else
        {
            ServiceNotifier.Send(notify, "READY=1", $"MAINPID={Environment.ProcessId}");
        }

        var told = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using (stopping.Register(() => told.TrySetResult()))
        {
            await told.Task.ConfigureAwait(false);
        }

        if (notify is null)
        {
            Console.Error.WriteLine("ephemeralfs: stopping");
        }

        return ExitCodes.Success;
    }

    private static async Task SummaryAsync(ClusterPaths paths, bool detached)
    {
        var view = await ClusterStatus.ReadAsync(paths).ConfigureAwait(false) ?? throw ClusterOptions.NotRunning(paths);
        var program = Environment.GetEnvironmentVariable("EPHEMERALFS_TEST_PROGRAM") ?? "./ephemeralfs";
        var state = ClusterPaths.Default == paths.State ? "" : $" --state {paths.State}";
        Console.WriteLine($"volume tmp is mounted at {view.Directory}");
        foreach (var role in view.Roles)
        {
            var tiers = string.Join(", ", view.Tiers.Where(t => role.Role == "storage" && t.Server == role.Name).Select(t => $"{t.Tier} {ByteSize.Format((long)t.CapacityBytes)} in {t.Path}"));
            Console.WriteLine($"  {role.Role,-10} {role.Name,-12} process {role.Pid,-8} {(tiers.Length > 0 ? tiers : role.Endpoint)}");
        }

        Console.WriteLine($"try:  cp -r /usr/share/doc {view.Directory}/ && du -sh {view.Directory} && df -h {view.Directory}");
        Console.WriteLine($"      {program} status{state}        {program} mount tmp DIR --node node-2{state}");
        Console.WriteLine(detached
            ? $"stop: {program} down{state}"
            : "stop: Ctrl-C (unmounts and removes everything)");
    }

    private static UpOptions Options(RoleOptions values, string directory) => new()
    {
        Directory = directory,
        Tiers = [.. values.List("tier").Select(text => TierSpec.TryParse(text, out var tier, out var error) ? tier : throw StartupException.Usage($"--tier: '{text}' {error}"))],
        StorageServers = (int)values.Integer("storage-servers"),
        CapacityBytes = values.Size("capacity"),
        Listen = values.Has("port") ? $"tcp:127.0.0.1:{values.Text("port")}" : values.Text("listen"),
        Metrics = values.Text("metrics"),
        Node = values.Text("node"),
        Csi = values.Has("csi") ? "unix:" + CsiRole.SocketOf(values.Text("csi")) : "",
        Kubelet = values.Path("kubelet"),
        MountOptions = values.Text("mount-options"),
        VolumeBytes = values.Size("size"),
        VolumeInodes = values.Integer("inodes"),
        Keep = values.IsOn("keep"),
        LogLevel = values.Text("log-level"),
    };

    /// <summary>In the background the supervisor logs to its file; on a terminal only what matters comes through.</summary>
    private static RoleOptions LogOptions(RoleOptions values, string? file)
    {
        var given = new Dictionary<string, string[]> { ["log-level"] = [values.Text("log-level")], ["log-format"] = [values.Text("log-format")] };
        if (file is not null)
        {
            given["log-file"] = [file];
        }

        return OptionLoader.Load(CommonOptions.All, CommonOptions.All, new Dictionary<string, string>(), given);
    }

    private static ProcessControlLock TakeLock(ClusterPaths paths)
    {
        var error = ProcessControlLock.TryTake(paths.SupervisorLock, out var taken, out var owner);
        return error switch
        {
            Errno.OK => taken!,
            Errno.EAGAIN => throw new StartupException(
                $"a cluster runs in {paths.State} already (process {owner}{(ClusterFile.Load(paths) is { } c ? $", mounted at {c.Directory}" : "")}): use it, stop it with 'ephemeralfs down', or choose another --state"),
            _ => throw new StartupException($"cannot write to {paths.State} ({error}): choose another directory with --state"),
        };
    }

    private static bool IsAncestor(int pid)
    {
        for (var at = Environment.ProcessId; at > 1; at = ProcessControlThreads.Parent(at))
        {
            if (at == pid)
            {
                return true;
            }
        }

        return false;
    }

    private static string? AtLeastTiers(string value) =>
        ByteSize.TryParse(value, out var bytes) && bytes >= 16L << 20 ? null : "is too small: give at least 16M";

    /// <summary>0 would be no quota at all, as leaving it out is.</summary>
    private static string? AboveZero(string value) => value.Any(c => c is > '0' and <= '9') ? null : "must be above 0; leave it out for no quota";

    private static string? ListenError(string value) =>
        value == "unix" || (value.StartsWith("tcp:", StringComparison.Ordinal) && Rpc.Endpoint.TryParse(value, out _, out _))
            ? null
            : "must be unix or tcp:ADDRESS:PORT";

    private static PosixSignalRegistration OnSignal(PosixSignal signal, CancellationTokenSource stopping) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            // A second Ctrl-C ends it at once; 'down' then cleans up.
            context.Cancel = !stopping.IsCancellationRequested || signal == PosixSignal.SIGHUP;
            stopping.Cancel();
        });
}
