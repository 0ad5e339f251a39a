using System.CommandLine;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs down</c>: stops everything of a cluster and removes what it left, also after a crash of any part.</summary>
internal static class DownCommand
{
    /// <summary>A supervisor that stops cleanly takes seconds; one that has not by then hangs.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    public static Command Create()
    {
        var purge = new Option<bool>("--purge") { Description = "Also remove the volumes of a cluster that was started with --keep" };
        var command = new Command("down", "Stop the cluster: unmount, end all its processes, remove its files") { purge };
        var options = new ClusterOptions(command);
        command.SetAction((parsed, _) => RunAsync(options.Paths(parsed), parsed.GetValue(purge)));
        return command;
    }

    private static async Task<int> RunAsync(ClusterPaths paths, bool purge)
    {
        var cluster = LoadOrNull(paths);
        var kept = cluster ?? LoadOrNull(paths, ClusterFile.LoadKept);
        if (!Directory.Exists(paths.State) && ClusterProcesses.Find(paths).Count == 0)
        {
            Console.WriteLine($"nothing runs in {paths.State}");
            return ExitCodes.Success;
        }

        var problems = new List<string>();
        if (Supervisor(paths, cluster) is { } supervisor)
        {
            using (supervisor)
            {
                await supervisor.StopAsync(s_patience).ConfigureAwait(false);
            }
        }

        using (Directory.Exists(paths.State) ? Take(paths) : null)
        {
            // With --keep only the data stays; everything else goes all the same.
            await Teardown.RunAsync(paths, removeData: purge || kept is not { Keep: true }, problems.Add).ConfigureAwait(false);
        }

        StateDirectory.RemoveIfEmpty(paths, kept?.MadeState ?? false);
        foreach (var problem in problems)
        {
            Console.Error.WriteLine($"ephemeralfs: {problem}");
        }

        return problems.Count == 0 ? ExitCodes.Success : ExitCodes.Failure;
    }

    /// <summary>The process of 'up', by the record or, when that is lost, by the lock that it holds.</summary>
    private static ChildProcess? Supervisor(ClusterPaths paths, ClusterFile? cluster)
    {
        if (cluster is not null)
        {
            return ChildProcess.Find(cluster.Supervisor);
        }

        if (!File.Exists(paths.SupervisorLock))
        {
            return null;
        }

        if (ProcessControlLock.TryTake(paths.SupervisorLock, out var taken, out var owner) == Errno.OK)
        {
            taken!.Dispose();
            return null;
        }

        // The lock says which process, its command line that it is no other 'down'.
        var record = ProcessRecord.Of(owner);
        return ClusterProcesses.Arguments(owner).Contains("up") ? ChildProcess.Find(record) : null;
    }

    private static ClusterFile? LoadOrNull(ClusterPaths paths, Func<ClusterPaths, ClusterFile?>? load = null)
    {
        try
        {
            return (load ?? ClusterFile.Load)(paths);
        }
        catch (StartupException)
        {
            return null; // damaged: the teardown says so and goes by the marks of the processes
        }
    }

    private static ProcessControlLock Take(ClusterPaths paths)
    {
        var error = ProcessControlLock.TryTake(paths.SupervisorLock, out var taken, out var owner);
        return error switch
        {
            Errno.OK => taken!,
            Errno.EAGAIN => throw new StartupException($"process {owner} is starting or stopping this cluster: wait for it, or end it"),
            _ => throw new StartupException($"cannot lock {paths.SupervisorLock} ({error}): run as the user who started the cluster"),
        };
    }
}
