using EphemeralFs.Cli.Output;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Puts together what the controller, the records, the nodes and the mount table say.</summary>
internal static class ClusterStatus
{
    private const int ControllerMs = 4000;

    /// <summary>The status; null when there is no cluster.</summary>
    public static async Task<StatusView?> ReadAsync(ClusterPaths paths, Endpoint? controllerFlag = null)
    {
        var cluster = ClusterFile.Load(paths);
        var controller = controllerFlag ?? (Endpoint.TryParse(cluster?.Controller, out var recorded, out _) ? recorded : null);
        if (controller is null)
        {
            return null;
        }

        var answer = await AskControllerAsync(controller).ConfigureAwait(false);
        if (answer is null && cluster is null)
        {
            return null;
        }

        var nodes = await Task.WhenAll(NodeLauncher.Names(paths).Select(async name =>
            (Name: name, Status: await NodeLauncher.StatusAsync(paths, name).ConfigureAwait(false), Keeper: NodeLauncher.KeeperStatusOf(paths, name)))).ConfigureAwait(false);

        var (servers, volumes) = answer ?? ([], []);
        var roles = Roles(cluster, servers);
        foreach (var (name, status, keeper) in nodes)
        {
            var record = NodeLauncher.Load(paths, name);
            AddNode(roles, paths, name, status, keeper, record);
        }

        roles = [.. await Task.WhenAll(roles.Select(WithOwnWordsAsync)).ConfigureAwait(false)];

        var tiers = servers.SelectMany(s => s.Tiers.Select(t => new TierView(
            s.Name, t.Tier.ToString().ToLowerInvariant(), t.Path, t.CapacityBytes, t.UsedBytes, t.Blocks, t.Healthy))).ToArray();
        var mounts = Mounts(paths, nodes.Select(n => (n.Name, n.Status)));
        var supervisor = cluster is null ? null : new SupervisorView(cluster.Supervisor.Pid, cluster.Supervisor.IsAlive);
        return new StatusView(
            1,
            paths.State,
            cluster?.Directory,
            cluster?.StartedAt,
            roles.All(r => r.Health == "ok") && tiers.All(t => t.Healthy) && mounts.All(m => m.Alive) && supervisor is not { Alive: false },
            supervisor,
            roles,
            tiers,
            [.. volumes.Select(VolumeView.From)],
            mounts);
    }

    /// <summary>What the controller tells, also while it does not know everything: whoever asks wants to see what is wrong. Null when it does not answer.</summary>
    private static async Task<(ServerStatus[] Servers, VolumeStatus[] Volumes)?> AskControllerAsync(Endpoint controller)
    {
        using var client = new RpcClient(controller);
        var asked = client.ListServersAsync(timeoutMs: ControllerMs);
        var volumes = await client.ListVolumesAsync(known: true, ControllerMs).ConfigureAwait(false);
        var servers = await asked.ConfigureAwait(false);
        return servers.IsOk && volumes.IsOk ? (servers.Value.Servers, volumes.Value.Volumes) : null;
    }

    private static List<RoleView> Roles(ClusterFile? cluster, ServerStatus[] servers)
    {
        var roles = servers.Select(s =>
        {
            var record = cluster?.Roles.FirstOrDefault(r => r.Role == RoleName(s.Role) && r.Name == s.Name);
            var health = !s.Alive ? s.LastSeenMs > int.MaxValue ? "never heard of since the controller started" : $"silent for {s.LastSeenMs / 1000} s"
                : s.Tiers.FirstOrDefault(t => !t.Healthy) is { Path.Length: > 0 } failed ? $"tier {failed.Path} failed"
                : "ok";
            return new RoleView(RoleName(s.Role), s.Name, s.Id, (int)s.Pid, s.Alive, health, s.Endpoint, s.MetricsEndpoint, record?.Restarts ?? 0);
        }).ToList();
        foreach (var record in cluster?.Roles ?? [])
        {
            if (!roles.Any(r => r.Role == record.Role && r.Name == record.Name))
            {
                // The CSI driver asks the controller, which does not know it: see WithOwnWordsAsync.
                var alive = record.Process.IsAlive;
                var health = !alive ? "dead" : record.Role == "csi" ? "ok" : "runs, but the controller does not know it";
                roles.Add(new RoleView(record.Role, record.Name, 0, record.Process.Pid, alive, health, record.Endpoint, record.Metrics, record.Restarts));
            }
        }

        return roles;
    }

    /// <summary>What those say of themselves that do more than the controller sees: mount, and serve kubelet.</summary>
    private static async Task<RoleView> WithOwnWordsAsync(RoleView role)
    {
        if (role is not { Role: "node" or "csi", Health: "ok", Metrics.Length: > 0 })
        {
            return role;
        }

        using var client = new HttpClient { Timeout = TimeSpan.FromMilliseconds(ControllerMs) };
        try
        {
            using var answer = await client.GetAsync(new Uri(role.Metrics + "/healthz")).ConfigureAwait(false);
            return role with { Health = (await answer.Content.ReadAsStringAsync().ConfigureAwait(false)).TrimEnd() };
        }
        catch (Exception e) when (e is HttpRequestException or TaskCanceledException)
        {
            return role with { Health = "does not answer" };
        }
    }

    private static string RoleName(ServerRole role) => role.ToString().ToLowerInvariant();

    private static void AddNode(
        List<RoleView> roles, ClusterPaths paths, string name, NodeStatusReply? status, FuseMount.Keeper.KeeperStatus? keeper, NodeRecord? record)
    {
        var index = roles.FindIndex(r => r.Role == "node" && r.Name == name);
        var known = index >= 0 ? roles[index] : new RoleView("node", name, 0, 0, false, "", "unix:" + paths.NodeSocket(name), "", 0);
        var node = known with
        {
            Pid = keeper?.DaemonPid ?? known.Pid,
            Alive = status is not null,
            Health = status is not null ? "ok" : "does not answer",
            Restarts = keeper?.Restarts ?? 0,
        };
        if (index >= 0)
        {
            roles[index] = node;
        }
        else
        {
            roles.Add(node);
        }

        roles.Add(new RoleView(
            "keeper", name, 0, keeper?.KeeperPid ?? record?.Keeper.Pid ?? 0, keeper is not null, keeper is null ? "dead" : "ok", "unix:" + paths.KeeperSocket(name), "", 0));
    }

    private static List<MountView> Mounts(ClusterPaths paths, IEnumerable<(string Name, NodeStatusReply? Status)> nodes)
    {
        var mounts = new List<MountView>();
        foreach (var (name, status) in nodes)
        {
            mounts.AddRange((status?.Mounts ?? []).Select(m => new MountView(name, m.Volume, m.Directory, m.Options, true)));
        }

        // What was mounted, and nobody answers for.
        foreach (var (node, directory) in MountRecords.All(paths))
        {
            if (!mounts.Any(m => m.Directory == directory) && MountRecords.IsMounted(directory))
            {
                mounts.Add(new MountView(node, "", directory, "", false));
            }
        }

        return mounts;
    }
}
