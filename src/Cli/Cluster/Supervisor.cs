using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Cli.Cluster;

/// <summary>What <c>up</c> was asked for.</summary>
internal sealed record UpOptions
{
    /// <summary>Where volume tmp is mounted; checked already.</summary>
    public required string Directory { get; init; }

    public required IReadOnlyList<TierSpec> Tiers { get; init; }

    public int StorageServers { get; init; } = 2;

    /// <summary>Of the default tiers together; 0: what memory and disk allow.</summary>
    public long CapacityBytes { get; init; }

    /// <summary>"unix", "tcp:ADDRESS:0", or "tcp:ADDRESS:PORT": the first of consecutive ports.</summary>
    public string Listen { get; init; } = "unix";

    /// <summary>For all roles: HOST:0 or off.</summary>
    public string Metrics { get; init; } = "127.0.0.1:0";

    public string Node { get; init; } = "node-1";

    /// <summary>Where the CSI driver serves, unix:/PATH; "" for no driver.</summary>
    public string Csi { get; init; } = "";

    /// <summary>Kubelet's directory; "" for none.</summary>
    public string Kubelet { get; init; } = "";

    public string MountOptions { get; init; } = "";

    /// <summary>Quota of volume tmp, bytes; 0 for none.</summary>
    public long VolumeBytes { get; init; }

    /// <summary>Quota of volume tmp, inodes; 0 for none.</summary>
    public long VolumeInodes { get; init; }

    public bool Keep { get; init; }

    public string LogLevel { get; init; } = "information";
}

/// <summary>Starts a cluster, keeps it running, takes it down. One for each state directory; the lock sees to that.</summary>
internal sealed class Supervisor(UpOptions options, ClusterPaths paths, ILogger logger) : IAsyncDisposable
{
    /// <summary>The volume that <c>up</c> makes and mounts.</summary>
    public const string Volume = "tmp";

    private readonly Lock _lock = new(); // guards the writing of cluster.json
    private readonly List<RoleProcess> _roles = [];
    private NotifyListener? _listener;
    private NodeWatcher? _nodes;
    private TierPlan? _plan;
    private string _controller = "";
    private bool _madeState;

    /// <summary>What runs, for the lines that are printed.</summary>
    public ClusterFile? Cluster { get; private set; }

    /// <summary>The tiers of each storage server.</summary>
    public TierPlan Plan => _plan!;

    /// <summary>Starts everything; when it returns the directory is usable. Throws <see cref="StartupException"/>; the caller then stops it.</summary>
    public async Task StartAsync(bool madeState, CancellationToken stopping)
    {
        _madeState = madeState;
        Self.PrepareChildren(paths.State);
        _plan = TierPlan.Make(paths, options.Tiers, options.StorageServers, options.CapacityBytes);
        MakeDirectories(_plan);
        // It configures 'up'; the roles have other options.
        Environment.SetEnvironmentVariable(OptionLoader.ConfigVariable, null);
        _listener = new NotifyListener(paths.Socket("supervisor.sock"));
        Save();

        var port = 0;
        var controller = Add("controller", "controller", port++, ["--state", Made("controller")]);
        await controller.StartAsync(stopping).ConfigureAwait(false);
        _controller = controller.Record!.Endpoint;

        var metadata = Add("metadata", "metadata-1", port++, ["--name", "metadata-1", "--state", Made("metadata"), "--controller", _controller]);
        var servers = new List<RoleProcess> { metadata };
        for (var i = 0; i < _plan.Servers.Count; i++)
        {
            var name = TierPlan.ServerName(i);
            List<string> arguments = ["--name", name, "--state", Made(name), "--controller", _controller];
            foreach (var tier in _plan.Servers[i])
            {
                arguments.AddRange(["--tier", tier.ToString()]);
            }

            servers.Add(Add("storage", name, port++, arguments));
        }

        // The node's process starts beside the servers; the mount waits for all of them.
        var node = NodeLauncher.EnsureRunningAsync(paths, options.Node, _controller, ["--metrics", options.Metrics, "--log-level", options.LogLevel], stopping);
        await Task.WhenAll([.. servers.Select(s => s.StartAsync(stopping)), node]).ConfigureAwait(false);
        await MakeVolumeAsync(stopping).ConfigureAwait(false);
        await NodeMounts.MountAsync(paths, options.Node, Volume, options.Directory, options.MountOptions).ConfigureAwait(false);
        if (options.Csi.Length > 0)
        {
            List<string> arguments = ["--node", options.Node, "--controller-address", _controller, "--node-socket", paths.NodeSocket(options.Node)];
            arguments.AddRange(options.Kubelet.Length > 0 ? ["--kubelet", options.Kubelet] : []);
            await Add("csi", "csi", options.Csi, arguments).StartAsync(stopping).ConfigureAwait(false);
        }

        _roles.ForEach(role => role.Watch());
        _nodes = new NodeWatcher(paths, logger);
        Save();
    }

    /// <summary>Stops everything and removes what it left. Never throws.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (var role in _roles)
        {
            await role.DisposeAsync().ConfigureAwait(false);
        }

        if (_nodes is not null)
        {
            await _nodes.DisposeAsync().ConfigureAwait(false);
        }

        _listener?.Dispose();
        await Teardown.RunAsync(paths, removeData: !options.Keep, line => logger.LogWarning("{Problem}", line)).ConfigureAwait(false);
    }

    private RoleProcess Add(string role, string name, int portIndex, IReadOnlyList<string> arguments) => Add(role, name, ListenOf(name, portIndex), arguments);

    private RoleProcess Add(string role, string name, string listen, IReadOnlyList<string> arguments)
    {
        var process = new RoleProcess(
            role, name, listen, options.Metrics, [.. arguments, "--log-level", options.LogLevel], paths, _listener!, logger);
        process.Changed += Save;
        _roles.Add(process);
        return process;
    }

    private string ListenOf(string name, int portIndex)
    {
        if (options.Listen == "unix")
        {
            return "unix:" + paths.Socket(name + ".sock");
        }

        var colon = options.Listen.LastIndexOf(':');
        var first = int.Parse(options.Listen.AsSpan(colon + 1), System.Globalization.CultureInfo.InvariantCulture);
        return $"{options.Listen[..colon]}:{(first == 0 ? 0 : first + portIndex)}";
    }

    private string Made(string name)
    {
        var path = Path.Combine(paths.State, name);
        ClusterPaths.MakePrivateDirectory(path);
        return path;
    }

    private void MakeDirectories(TierPlan plan)
    {
        ClusterPaths.MakePrivateDirectory(paths.Logs);
        ClusterPaths.MakePrivateDirectory(Path.GetDirectoryName(paths.Socket("supervisor.sock"))!);
        foreach (var path in plan.Made)
        {
            ClusterPaths.MakePrivateDirectory(path);
        }
    }

    private async Task MakeVolumeAsync(CancellationToken stopping)
    {
        using var client = new RpcClient(Endpoint.Parse(_controller));
        var made = await client.CallAsync<AddVolumeRequest, VolumeStatus>(
            new(Volume, (ulong)options.VolumeBytes, (ulong)options.VolumeInodes), cancellation: stopping).ConfigureAwait(false);
        if (!made.IsOk)
        {
            throw new StartupException(made.Status == Status.VolumeExists
                ? $"volume {Volume} was kept with another quota: give the same --size and --inodes, or start without --keep"
                : $"volume {Volume} cannot be made ({made.Status}): see {paths.Logs}");
        }
    }

    private void Save()
    {
        lock (_lock)
        {
            Cluster = new ClusterFile(
                ClusterFile.CurrentVersion,
                options.Directory,
                _controller,
                options.Node,
                ProcessRecord.Self,
                [.. _roles.Select(r => r.Record).OfType<RoleRecord>()],
                _plan!.Owned,
                options.Keep,
                _madeState,
                Cluster?.StartedAt ?? DateTimeOffset.UtcNow);
            Cluster.Save(paths);
        }
    }
}
