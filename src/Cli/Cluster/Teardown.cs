using EphemeralFs.Core;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Takes a cluster away whole, whatever of it still stands: mounts, nodes, roles, directories. Repeatable.</summary>
internal static class Teardown
{
    private const int UnmountMs = 10_000;

    private static readonly TimeSpan s_rolePatience = TimeSpan.FromSeconds(10);

    /// <summary>Everything but the supervisor, which is either the caller or already gone.</summary>
    /// <param name="paths">The cluster.</param>
    /// <param name="removeData">Also remove the volumes.</param>
    /// <param name="problem">Receives a line for what could not be done.</param>
    public static async Task RunAsync(ClusterPaths paths, bool removeData, Action<string> problem)
    {
        var cluster = LoadLeniently(paths.File, ClusterFile.Load, paths, problem);
        var kept = LoadLeniently(paths.Kept, ClusterFile.LoadKept, paths, problem);
        var published = Published(paths);
        await UnmountAllAsync(paths, problem).ConfigureAwait(false);
        await Task.WhenAll(NodeLauncher.Names(paths).Select(name => NodeLauncher.StopAsync(paths, name))).ConfigureAwait(false);
        // What died while it was being unmounted has left its mount behind.
        UnmountDead(paths, published, problem);
        await StopRolesAsync(cluster).ConfigureAwait(false);
        await StopStrayAsync(paths, problem).ConfigureAwait(false);
        UnmountDead(paths, published, problem);
        RemoveFiles(paths, cluster, kept, removeData, problem);
    }

    /// <summary>Unmounts one directory: by its daemon when that answers, else directly.</summary>
    /// <param name="paths">The cluster.</param>
    /// <param name="node">The node that mounted it.</param>
    /// <param name="directory">Where.</param>
    /// <param name="lazy">Also while it is in use.</param>
    /// <param name="abort">
    /// Nobody is going to serve it any more. A daemon that was killed while the kernel had it wait holds the connection for ever, and programs wait for its answers
    /// until it is ended.
    /// </param>
    /// <returns>What is in the way; null when it is done.</returns>
    public static async Task<string?> UnmountAsync(ClusterPaths paths, string node, string directory, bool lazy, bool abort = false)
    {
        if (await NodeLauncher.IsThereAsync(paths, node).ConfigureAwait(false))
        {
            using var client = new RpcClient(Endpoint.Unix(paths.NodeSocket(node)));
            var done = await client.CallAsync<UnmountRequest, Empty>(new(directory, lazy), timeoutMs: UnmountMs).ConfigureAwait(false);
            if (done.IsOk && !MountRecords.IsMounted(directory))
            {
                MountRecords.Remove(paths, directory);
                return null;
            }

            if (done.Status == Errno.EBUSY.ToStatus())
            {
                return $"{directory} is in use: see who with 'fuser -vm {directory}', or unmount with --lazy";
            }
        }

        try
        {
            if (MountRecords.IsMounted(directory))
            {
                FuseMounter.Unmount(directory, lazy, abort);
            }

            MountRecords.Remove(paths, directory);
            return null;
        }
        catch (MountException e)
        {
            return e.Message;
        }
    }

    private static ClusterFile? LoadLeniently(string file, Func<ClusterPaths, ClusterFile?> load, ClusterPaths paths, Action<string> problem)
    {
        try
        {
            return load(paths);
        }
        catch (Hosting.StartupException)
        {
            problem($"{file} is damaged; going by the marks of the processes");
            return null;
        }
    }

    private static async Task UnmountAllAsync(ClusterPaths paths, Action<string> problem)
    {
        // The newest first: one may lie within another.
        foreach (var (node, directory) in MountRecords.All(paths).OrderByDescending(m => m.Directory.Length))
        {
            if (await UnmountAsync(paths, node, directory, lazy: true, abort: true).ConfigureAwait(false) is { } error)
            {
                problem(error);
            }
        }
    }

    /// <summary>Mounts that have no record, of volumes that were published for pods: they lie in their node's directory, and at the places that they were published at.</summary>
    private static IReadOnlyList<string> Published(ClusterPaths paths)
    {
        var all = MountTable.Read().Where(mount => mount.Type == MountTable.FileSystemType).ToArray();
        var devices = all.Where(mount => mount.MountPoint.StartsWith(paths.Nodes + "/", StringComparison.Ordinal)).Select(mount => mount.Device).ToHashSet();
        return [.. all.Where(mount => devices.Contains(mount.Device)).Select(mount => mount.MountPoint)];
    }

    private static void UnmountDead(ClusterPaths paths, IEnumerable<string> published, Action<string> problem)
    {
        foreach (var directory in MountRecords.All(paths).Select(mount => mount.Directory).Concat(published).ToArray())
        {
            try
            {
                // Several mounts may lie over one another.
                for (var i = 0; i < 16 && MountRecords.IsMounted(directory); i++)
                {
                    FuseMounter.Unmount(directory, lazy: true, abort: true);
                }

                MountRecords.Remove(paths, directory);
            }
            catch (MountException e)
            {
                problem(e.Message);
            }
        }
    }

    private static async Task StopRolesAsync(ClusterFile? cluster)
    {
        // The controller last: the others tell it that they go.
        var roles = (cluster?.Roles ?? []).ToLookup(role => role.Role == "controller");
        foreach (var group in new[] { roles[false], roles[true] })
        {
            await Task.WhenAll(group.Select(async role =>
            {
                if (ChildProcess.Find(role.Process) is { } process)
                {
                    using (process)
                    {
                        await process.StopAsync(s_rolePatience).ConfigureAwait(false);
                    }
                }
            })).ConfigureAwait(false);
        }
    }

    /// <summary>What no record names: processes that were being started when somebody was killed.</summary>
    private static async Task StopStrayAsync(ClusterPaths paths, Action<string> problem)
    {
        for (var round = 0; round < 3; round++)
        {
            var strays = ClusterProcesses.Find(paths);
            if (strays.Count == 0)
            {
                return;
            }

            await Task.WhenAll(strays.Select(async record =>
            {
                if (ChildProcess.Find(record) is { } process)
                {
                    using (process)
                    {
                        await process.StopAsync(TimeSpan.FromSeconds(3)).ConfigureAwait(false);
                    }
                }
            })).ConfigureAwait(false);
        }

        foreach (var record in ClusterProcesses.Find(paths))
        {
            problem($"process {record.Pid} does not end");
        }
    }

    private static void RemoveFiles(ClusterPaths paths, ClusterFile? cluster, ClusterFile? kept, bool removeData, Action<string> problem)
    {
        List<string> gone = [paths.Nodes, paths.Mounts, paths.File, paths.ShortSockets, .. paths.AbandonedDetachSockets];
        if (Environment.GetEnvironmentVariable(Hosting.StartupErrors.DebugVariable) is not "1")
        {
            gone.Add(paths.Logs);
        }

        if (Directory.Exists(paths.State))
        {
            gone.AddRange(Directory.EnumerateFiles(paths.State, "*.sock"));
            gone.AddRange(Directory.EnumerateFiles(paths.State, "cluster.json.*.new"));
            if (removeData)
            {
                gone.AddRange([Path.Combine(paths.State, "controller"), Path.Combine(paths.State, "metadata")]);
                gone.AddRange(Directory.EnumerateDirectories(paths.State, "storage-*"));
            }
        }

        if (removeData)
        {
            gone.AddRange([paths.Dram, paths.Kept, .. cluster?.Owned ?? [], .. kept?.Owned ?? []]);
        }
        else if (cluster is not null)
        {
            // The next `up` has to know what there is.
            File.Move(paths.File, paths.Kept, overwrite: true);
        }

        foreach (var path in gone)
        {
            try
            {
                if (Directory.Exists(path))
                {
                    Directory.Delete(path, recursive: true);
                }
                else
                {
                    File.Delete(path);
                }
            }
            catch (DirectoryNotFoundException)
            {
                // Gone with its parent.
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                problem($"cannot remove {path}: {e.Message}");
            }
        }
    }
}
