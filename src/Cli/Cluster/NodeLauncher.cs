using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Starts a node: its keeper, which starts and supervises the daemon.</summary>
internal static class NodeLauncher
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private const int AnswerMs = 2000;

    /// <summary>A daemon that lives accepts at once; milliseconds.</summary>
    private const int ConnectMs = 500;

    /// <summary>The nodes that were ever started here.</summary>
    public static IReadOnlyList<string> Names(ClusterPaths paths) => Directory.Exists(paths.Nodes)
        ? [.. Directory.EnumerateDirectories(paths.Nodes).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)]
        : [];

    /// <summary>The record of a node, or null.</summary>
    public static NodeRecord? Load(ClusterPaths paths, string name) => JsonFiles.Load(RecordFile(paths, name), JsonFiles.Context.NodeRecord);

    /// <summary>What the daemon tells; null when it does not answer.</summary>
    public static async Task<NodeStatusReply?> StatusAsync(ClusterPaths paths, string name, int timeoutMs = AnswerMs)
    {
        if (!File.Exists(paths.NodeSocket(name)))
        {
            return null;
        }

        using var client = new RpcClient(Endpoint.Unix(paths.NodeSocket(name)));
        var status = await client.CallAsync<NodeStatusRequest, NodeStatusReply>(default, timeoutMs: timeoutMs).ConfigureAwait(false);
        return status.IsOk ? status.Value : null;
    }

    /// <summary>Makes sure that the keeper and the daemon of a node run. Throws a <see cref="StartupException"/> with their own words.</summary>
    /// <param name="paths">The cluster.</param>
    /// <param name="name">Node name.</param>
    /// <param name="controller">Where the node finds the controller.</param>
    /// <param name="nodeArguments">Further flags of the daemon.</param>
    /// <param name="stopping">Gives up.</param>
    public static async Task EnsureRunningAsync(
        ClusterPaths paths, string name, string controller, IReadOnlyList<string> nodeArguments, CancellationToken stopping)
    {
        Self.PrepareChildren(paths.State);
        ClusterPaths.MakePrivateDirectory(paths.Node(name));
        ClusterPaths.MakePrivateDirectory(paths.Logs);
        ClusterPaths.MakePrivateDirectory(Path.GetDirectoryName(paths.NodeSocket(name))!);
        using var single = await TakeAsync(Path.Combine(paths.Node(name), "start.lock"), stopping).ConfigureAwait(false);
        if (await StatusAsync(paths, name).ConfigureAwait(false) is not null)
        {
            return;
        }

        if (KeeperAnswers(paths, name))
        {
            // It is starting a daemon, or waiting to.
            if (await StatusAsync(paths, name, (int)s_patience.TotalMilliseconds).ConfigureAwait(false) is null)
            {
                throw new StartupException($"the daemon of node {name} does not start: see {paths.Log("node-" + name)}");
            }

            return;
        }

        using var listener = new NotifyListener(paths.Socket($"nodes/{name}/notify.sock"));
        var started = new TaskCompletionSource<Notification>(TaskCreationOptions.RunContinuationsAsynchronously);
        listener.Received += notification => started.TrySetResult(notification);
        var log = paths.Log("node-" + name);
        List<string> command =
        [
            .. Self.Command, "keeper", "--name", name, "--socket", paths.KeeperSocket(name), "--",
            .. Self.Command, "node", "--name", name, "--listen", "unix:" + paths.NodeSocket(name), "--controller", controller,
            "--keeper", paths.KeeperSocket(name), "--volumes", Path.Combine(paths.Node(name), "volumes"), "--notify-socket", listener.Path, .. nodeArguments,
        ];
        using var keeper = ChildProcess.Start(command, log);
        JsonFiles.Save(RecordFile(paths, name), new NodeRecord(name, keeper.Record, command, log), JsonFiles.Context.NodeRecord);
        try
        {
            await WaitAsync(name, keeper, started.Task, log, stopping).ConfigureAwait(false);
        }
        catch
        {
            await StopAsync(paths, name).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Starts the keeper again after it died; it adopts the daemon, which lives on.</summary>
    public static ChildProcess RestartKeeper(ClusterPaths paths, NodeRecord node)
    {
        Self.PrepareChildren(paths.State);
        var keeper = ChildProcess.Start(node.Command, node.Log);
        JsonFiles.Save(RecordFile(paths, node.Name), node with { Keeper = keeper.Record }, JsonFiles.Context.NodeRecord);
        return keeper;
    }

    /// <summary>Ends the daemon and the keeper of a node, however they are.</summary>
    public static async Task StopAsync(ClusterPaths paths, string name)
    {
        try
        {
            KeeperControl.Shutdown(paths.KeeperSocket(name), TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(20));
        }
        catch (KeeperException)
        {
            // None runs, or it hangs: then it ends by its record.
        }

        if (Load(paths, name) is { } record && ChildProcess.Find(record.Keeper) is { } keeper)
        {
            using (keeper)
            {
                if (!await keeper.EndsWithinAsync(TimeSpan.FromSeconds(2)).ConfigureAwait(false))
                {
                    await keeper.StopAsync(TimeSpan.FromSeconds(2)).ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>Does the daemon listen, or is there a keeper that will start one? Without both nobody is worth waiting for.</summary>
    public static async Task<bool> IsThereAsync(ClusterPaths paths, string name)
    {
        if (!File.Exists(paths.NodeSocket(name)))
        {
            return false;
        }

        using var client = new RpcClient(Endpoint.Unix(paths.NodeSocket(name)));
        return await client.ConnectAsync(ConnectMs).ConfigureAwait(false) == Status.OK || KeeperAnswers(paths, name);
    }

    /// <summary>Does a keeper listen?</summary>
    public static bool KeeperAnswers(ClusterPaths paths, string name) => KeeperStatusOf(paths, name) is not null;

    /// <summary>What the keeper tells; null when none runs.</summary>
    public static KeeperStatus? KeeperStatusOf(ClusterPaths paths, string name)
    {
        if (!File.Exists(paths.KeeperSocket(name)))
        {
            return null;
        }

        try
        {
            return KeeperControl.Status(paths.KeeperSocket(name));
        }
        catch (KeeperException)
        {
            return null;
        }
    }

    private static string RecordFile(ClusterPaths paths, string name) => Path.Combine(paths.Node(name), "node.json");

    private static async Task WaitAsync(string name, ChildProcess keeper, Task<Notification> started, string log, CancellationToken stopping)
    {
        try
        {
            await Task.WhenAny(started, keeper.Exited).WaitAsync(s_patience, stopping).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new StartupException($"the daemon of node {name} was not ready after {s_patience.TotalSeconds:0} s: see {log}");
        }

        if (!started.IsCompleted)
        {
            throw new StartupException($"the keeper of node {name} did not start ({await keeper.Exited.ConfigureAwait(false)}): see {log}");
        }

        var notification = await started.ConfigureAwait(false);
        if (!notification.IsReady)
        {
            throw new StartupException($"node {name} did not start: {notification.Failure}");
        }
    }

    /// <summary>One start at a time. A file lock has no event to wait for, so it is asked for again until the deadline.</summary>
    private static async Task<ProcessControlLock> TakeAsync(string path, CancellationToken stopping)
    {
        var deadline = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (true)
        {
            var error = ProcessControlLock.TryTake(path, out var taken, out var owner);
            if (error == Errno.OK)
            {
                return taken!;
            }

            if (error != Errno.EAGAIN || Environment.TickCount64 >= deadline)
            {
                throw new StartupException(error == Errno.EAGAIN
                    ? $"process {owner} has been starting this node for {s_patience.TotalSeconds:0} s: see what hangs there"
                    : $"cannot create {path}: {error}");
            }

            await Task.Delay(20, stopping).ConfigureAwait(false);
        }
    }
}
