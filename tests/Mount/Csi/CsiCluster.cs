using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount.Faults;

namespace EphemeralFs.Tests.Mount.Csi;

[CollectionDefinition(Name)]
public sealed class CsiCollection : ICollectionFixture<CsiCluster>
{
    public const string Name = "csi";
}

/// <summary>A cluster with its CSI driver, kubelet's directory, and the calls of kubelet and its sidecars by a client that shares no code with the driver.</summary>
public sealed class CsiCluster : IDisposable
{
    /// <summary>A mount that any number of nodes may write.</summary>
    public const string Shared = """{"mount": {}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}""";

    /// <summary>What the conformance suite asks for.</summary>
    public const string SingleWriter = """{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}""";

    /// <summary>A mount that one pod of one node may have.</summary>
    public const string OneWriter = """{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_SINGLE_WRITER"}}""";

    /// <summary>Bytes that the conformance suite asks for: 10 GiB, more than there is here.</summary>
    public const long Size = 10L << 30;

    /// <summary>The node of the cluster.</summary>
    public const string Node = "node-1";

    private readonly string home = Directory.CreateTempSubdirectory("efscsi").FullName;
    private readonly TestCluster cluster;
    private readonly CsiClient client;
    private readonly RpcClient controller;
    private int counter;

    public CsiCluster()
    {
        Kubelet = Directory.CreateDirectory(Path.Combine(home, "kubelet")).FullName;
        Directory.CreateDirectory(Path.Combine(Kubelet, "plugins_registry"));
        Socket = Path.Combine(home, "csi.sock");
        cluster = new TestCluster("efsc", null, "--capacity", "2G", "--csi", $"unix:{Socket}", "--kubelet", Kubelet);
        client = new CsiClient(Socket);
        var roles = JsonNode.Parse(cluster.Program(60, "status", "--json").Run().MustSucceed())!["roles"]!.AsArray();
        Controller = (string)roles.Single(role => (string)role!["role"]! == "controller")!["endpoint"]!;
        controller = new RpcClient(Endpoint.Parse(Controller));
    }

    public string Socket { get; }

    public string Kubelet { get; }

    /// <summary>Where the cluster's controller serves.</summary>
    public string Controller { get; }

    internal TestCluster Cluster => cluster;

    /// <summary>Calls <c>csi.v1.SERVICE/METHOD</c>.</summary>
    internal Task<CsiAnswer> CallAsync(string service, string method, string request = "{}") => client.CallAsync(service, method, request);

    /// <summary>Makes a volume; returns its id.</summary>
    internal async Task<string> CreateAsync(string name, long bytes = 1L << 30, string more = "")
    {
        var made = await CallAsync("Controller", "CreateVolume", $$"""{"name": "{{name}}", "volume_capabilities": [{{Shared}}], "capacity_range": {"required_bytes": {{bytes}}} {{more}}}""");
        return (string)made.Ok()["volume"]!["volume_id"]!;
    }

    internal async Task DeleteAsync(string id) => (await CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}"}""")).Ok();

    /// <summary>The place of a pod's volume as kubelet makes it: the parent is there, the place itself is not.</summary>
    public string NewTarget(string pod = "")
    {
        string uid = pod.Length > 0 ? pod : $"pod-{Interlocked.Increment(ref counter)}";
        return Path.Combine(Directory.CreateDirectory(Path.Combine(Kubelet, "pods", uid, "volumes", "kubernetes.io~csi", "v")).FullName, "mount");
    }

    internal Task<CsiAnswer> TryPublishAsync(string id, string target, string capability = Shared, bool isReadOnly = false, string context = "{}") => CallAsync(
        "Node", "NodePublishVolume",
        $$"""{"volume_id": "{{id}}", "target_path": "{{target}}", "volume_capability": {{capability}}, "readonly": {{(isReadOnly ? "true" : "false")}}, "volume_context": {{context}}}""");

    internal async Task<string> PublishAsync(string id, string capability = Shared, bool isReadOnly = false, string context = "{}")
    {
        string target = NewTarget();
        (await TryPublishAsync(id, target, capability, isReadOnly, context)).Ok();
        return target;
    }

    internal Task<CsiAnswer> TryUnpublishAsync(string id, string target) => CallAsync("Node", "NodeUnpublishVolume", $$"""{"volume_id": "{{id}}", "target_path": "{{target}}"}""");

    internal async Task UnpublishAsync(string id, string target)
    {
        (await TryUnpublishAsync(id, target)).Ok();
        Assert.False(Directory.Exists(target), $"{target} is still there");
    }

    /// <summary>Runs a program, which has to succeed.</summary>
    internal void Run(string program, params string[] arguments) => new Command(Kubelet, 60, Tool.Find(program), arguments).Run().MustSucceed();

    /// <summary>Names of all volumes of the cluster.</summary>
    internal IReadOnlyList<string> Volumes() => [.. VolumeStatuses().Select(volume => volume.Name)];

    /// <summary>All volumes of the cluster with what can be changed of them.</summary>
    internal IReadOnlyList<string> DescribeVolumes() =>
        [.. VolumeStatuses().Select(volume => $"{volume with { Labels = null }} {string.Join(' ', volume.Labels ?? [])}")];

    /// <summary>Mounts of ours that the kernel has below kubelet's and the node's directories.</summary>
    internal IReadOnlyList<string> Mounts() => [.. OwnMounts().Select(fields => fields[4])];

    /// <summary>The file systems, <c>major:minor</c>, of these mounts.</summary>
    internal IReadOnlySet<string> Devices() => OwnMounts().Select(fields => fields[2]).ToHashSet();

    /// <summary>Options of the mount at a place.</summary>
    internal string OptionsOf(string target) => OwnMounts().Single(fields => fields[4] == target)[5];

    /// <summary>What there is below kubelet's pods, mounts not entered.</summary>
    internal IReadOnlyList<string> PodDirectories()
    {
        var mounts = Mounts();
        return Walk(Path.Combine(Kubelet, "pods"));

        IReadOnlyList<string> Walk(string directory) => !Directory.Exists(directory) || mounts.Contains(directory) || new FileInfo(directory).LinkTarget is not null
            ? []
            : [.. Directory.EnumerateFileSystemEntries(directory).Order().SelectMany(entry => Walk(entry).Prepend(entry))];
    }

    /// <summary>Directories that the node has made for mounts.</summary>
    internal IReadOnlyList<string> NodeDirectories() =>
        Path.Combine(cluster.State, "nodes", Node, "volumes") is var volumes && Directory.Exists(volumes) ? [.. Directory.EnumerateFileSystemEntries(volumes).Order()] : [];

    /// <summary>Stops a process of the cluster, as one that hangs; disposing lets it go on.</summary>
    /// <param name="role">controller, metadata, keeper, node or csi: of which there is one.</param>
    internal IDisposable Halt(string role) => new Halted(ClusterProcess.All(cluster.State).Single(process => process.Role == role));

    /// <summary>Waits until the driver says that everything it needs answers.</summary>
    internal async Task UntilReadyAsync()
    {
        CsiAnswer answer = new(GrpcStatusCode.Unavailable, "", null);
        for (long start = Environment.TickCount64; answer.Code != GrpcStatusCode.OK || answer.Message is null || !answer.Ok()["ready"]!["value"]!.GetValue<bool>(); answer = await CallAsync("Identity", "Probe"))
        {
            Assert.True(Environment.TickCount64 - start < 60_000, $"the driver is not ready: {answer.Message}");
            await Task.Delay(20); // only paces the looking
        }
    }

    /// <summary>What a process of the cluster has logged so far.</summary>
    internal string LogOf(string process)
    {
        using var log = new StreamReader(new FileStream(Path.Combine(cluster.State, "logs", process + ".log"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        return log.ReadToEnd();
    }

    public void Dispose()
    {
        controller.Dispose();
        cluster.Dispose();
        Assert.False(File.Exists(Socket), "the driver has left its socket");
        Directory.Delete(home, recursive: true);
    }

    private VolumeStatus[] VolumeStatuses()
    {
        var answer = controller.ListVolumesAsync(timeoutMs: 60_000).GetAwaiter().GetResult();
        Assert.True(answer.IsOk, $"the controller did not tell the volumes: {answer.Status}");
        return answer.Value.Volumes;
    }

    private IEnumerable<string[]> OwnMounts() =>
        File.ReadLines("/proc/self/mountinfo").Select(line => line.Split(' ')).Where(fields => fields[4].StartsWith(Kubelet + "/", StringComparison.Ordinal)
            || fields[4].StartsWith(Path.Combine(cluster.State, "nodes") + "/", StringComparison.Ordinal));

    private sealed class Halted : IDisposable
    {
        private readonly ClusterProcess process;

        public Halted(ClusterProcess process)
        {
            this.process = process;
            process.Stop();
        }

        public void Dispose() => process.Continue();
    }
}
