using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.CsiDriver;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc;

namespace EphemeralFs.Cli.Roles;

/// <summary>Composes a CSI plugin: finds the cluster that it is to serve.</summary>
internal static class CsiRole
{
    public static readonly RoleDefinition Definition = new(
        "csi",
        "Run the CSI driver csi.ephemeralfs.io: volumes for pods",
        [
            new("endpoint", OptionKind.Text, null, "Socket on which CSI is served: unix:/PATH") { ValueName = "unix:PATH", Required = true, ForeignVariable = "CSI_ENDPOINT", Check = EndpointError },
            new("node", OptionKind.Text, null, "Name of this node in Kubernetes") { ValueName = "NAME", Required = true, ForeignVariable = "NODE_ID", VariableName = "EPHEMERALFS_CSI_NODE", Check = CommonOptions.NameError },
            new("kubelet", OptionKind.Path, null, "Kubelet's directory, to register there by itself [not registered]") { ValueName = "DIR" },
            new("controller", OptionKind.Switch, "false", "Serve the controller's services only") { VariableName = "EPHEMERALFS_CSI_CONTROLLER" },
            new("node-only", OptionKind.Switch, "false", "Serve the node's services only"),
            new("claims", OptionKind.Switch, "false", "Take hints from annotations ephemeralfs.io/… of claims too, with the service account of this pod"),
            new("zone", OptionKind.Text, "default", "Zone of this node, topology.ephemeralfs.io/zone") { ValueName = "NAME", Check = CommonOptions.NameError },
            new("abandoned-seconds", OptionKind.Integer, "300", "How long an inline volume may be nowhere before it is taken for what a failed publish left, and deleted")
            {
                ValueName = "S",
                Check = SecondsError,
            },
            new("orphaned-seconds", OptionKind.Integer, "3600", "How long an inline volume may be mounted by no node before its node is taken for gone, and the volume is deleted")
            {
                ValueName = "S",
                Check = SecondsError,
            },
            new("state", OptionKind.Path, null, "State directory of a cluster that 'up' started here: where its controller and its node are") { ValueName = "DIR" },
            new("controller-address", OptionKind.Endpoint, null, "The cluster's controller, instead of --state") { ValueName = "ADDRESS", VariableName = "EPHEMERALFS_CONTROLLER" },
            new("node-socket", OptionKind.Path, null, "Control socket of this node's daemon, instead of --state") { ValueName = "PATH" },
        ],
        StartAsync);

    /// <summary>The path of an endpoint as CSI writes it, <c>unix:///path</c> or <c>unix:/path</c>.</summary>
    public static string SocketOf(string endpoint) => endpoint.StartsWith("unix://", StringComparison.Ordinal) ? endpoint["unix://".Length..] : endpoint["unix:".Length..];

    /// <summary>Null for an endpoint of CSI.</summary>
    public static string? EndpointError(string value) =>
        value.StartsWith("unix:", StringComparison.Ordinal) && Endpoint.TryParse("unix:" + SocketOf(value), out _, out _) ? null : "must be unix: and an absolute path of at most 107 bytes";

    private static string? SecondsError(string value) => value.Length <= 7 && value.Any(c => c != '0') ? null : "must be between 1 and 9999999";

    private static async Task<IRunningRole> StartAsync(RoleContext context, CancellationToken stopping)
    {
        var options = context.Options;
        if (options.IsOn("controller") && options.IsOn("node-only"))
        {
            throw StartupException.Usage("--controller and --node-only exclude each other: leave out both to serve everything");
        }

        if (options.IsOn("claims") && options.IsOn("node-only"))
        {
            throw StartupException.Usage("--claims is of the controller's services: leave it out with --node-only");
        }

        // Told where both are, it wants no state directory: in a pod there is none, not even a default one for its user.
        var isTold = options.Has("controller-address") && (options.Has("node-socket") || options.IsOn("controller"));
        var paths = isTold ? null : ClusterPaths.Resolve(options.Has("state") ? options.Path("state") : null);
        var cluster = paths is null ? null : ClusterFile.Load(paths) ?? throw ClusterOptions.NotRunning(paths);
        return await CsiHost.StartAsync(
            new CsiOptions
            {
                Socket = SocketOf(options.Text("endpoint")),
                Node = options.Text("node"),
                Controller = options.Endpoint("controller-address") ?? Endpoint.Parse(cluster!.Controller),
                NodeDaemon = options.IsOn("controller") ? null : Endpoint.Unix(options.Has("node-socket") ? options.Path("node-socket") : paths!.NodeSocket(cluster!.Node)),
                ReadsClaims = options.IsOn("claims"),
                ServesController = !options.IsOn("node-only"),
                KubeletDirectory = options.Path("kubelet"),
                Zone = options.Text("zone"),
                AbandonedAfter = TimeSpan.FromSeconds(options.Integer("abandoned-seconds")),
                OrphanedAfter = TimeSpan.FromSeconds(options.Integer("orphaned-seconds")),
            },
            context.Logger,
            stopping).ConfigureAwait(false);
    }
}
