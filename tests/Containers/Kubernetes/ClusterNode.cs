using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Containers.Kubernetes;

/// <summary>A node of a Kubernetes cluster: its kubelet, the driver's plugin for it, and what the API server has for it.</summary>
/// <param name="cluster">Where the node's daemon runs already.</param>
/// <param name="name">Name of the node and of its daemon.</param>
/// <param name="pluginOptions">Of every plugin that is started here.</param>
internal sealed class ClusterNode(TestCluster cluster, string name, params string[] pluginOptions) : IAsyncDisposable
{
    /// <summary>Longer than all tests together: the plugin is ended by them, not by its time.</summary>
    private const int PluginSeconds = 3000;

    private readonly string directory = cluster.MakeDirectory(name);
    private readonly List<Pod> pods = []; // of the API server
    private Command.Running? plugin;
    private Kubelet? kubelet;

    public string Name => name;

    public Kubelet Kubelet => kubelet ?? throw new InvalidOperationException($"the kubelet of {name} does not run");

    /// <summary>The CSI socket.</summary>
    public string Socket => Path.Combine(directory, "plugins", Kubelet.DriverName, "csi.sock");

    /// <summary>Process of the plugin.</summary>
    public int PluginPid => plugin!.Process.Id;

    /// <summary>The control socket of the node's daemon.</summary>
    private string DaemonSocket => Path.Combine(cluster.State, "nodes", name, "node.sock");

    public async Task StartAsync()
    {
        StartPlugin();
        await StartKubeletAsync();
        UntilRegistered();
    }

    /// <summary>Starts the plugin, as its DaemonSet does.</summary>
    public void StartPlugin(params string[] more)
    {
        // What kubelet makes; its own directory in there the plugin makes.
        Directory.CreateDirectory(Path.Combine(directory, "plugins"));
        Directory.CreateDirectory(Path.Combine(directory, "plugins_registry"));
        plugin = cluster.Program(
            PluginSeconds,
            ["csi", "--endpoint", "unix:" + Socket, "--node", name, "--kubelet", directory, "--node-socket", DaemonSocket, "--metrics", "off", .. pluginOptions, .. more]).Start();
    }

    /// <summary>Ends the plugin with a signal, and waits for its end.</summary>
    /// <returns>How it ended.</returns>
    public CommandResult StopPlugin(int signal)
    {
        Signals.Send(PluginPid, signal);
        using var stopped = plugin!;
        plugin = null;
        Assert.True(stopped.Process.WaitForExit(TimeSpan.FromSeconds(30)), $"the plugin of {name} did not end after signal {signal}");
        return stopped.Wait();
    }

    /// <summary>Waits until kubelet has registered the driver.</summary>
    public RegisteredDriver UntilRegistered()
    {
        Wait.For(() => Kubelet.Driver is not null, () => $"the driver was not registered: {Kubelet.Problems}");
        return Kubelet.Driver!;
    }

    /// <summary>Kubelet is killed and started again: it knows what is on disk and what the API server has.</summary>
    public async Task RestartKubeletAsync()
    {
        await StopKubeletAsync();
        await StartKubeletAsync();
    }

    public async Task StopKubeletAsync()
    {
        await Kubelet.DisposeAsync();
        kubelet = null;
    }

    public async Task StartKubeletAsync() => kubelet = await Kubelet.StartAsync(directory, name, pods);

    /// <summary>The scheduler has given this node a pod: its volumes are mounted. Disposing ends it.</summary>
    public async Task<NodePod> StartAsync(Pod pod)
    {
        pods.Add(pod);
        var answer = await Kubelet.StartPodAsync(pod);
        if (answer.Code != CsiDriver.Grpc.GrpcStatusCode.OK)
        {
            await EndAsync(pod);
            Assert.Fail($"pod {pod.Name} does not start: {answer.Code} {answer.Message}");
        }
        return new NodePod(this, pod);
    }

    /// <summary>The same for a pod that kubelet cannot start; it stays with the API server.</summary>
    public Task<CsiAnswer> TryStartAsync(Pod pod)
    {
        pods.Add(pod);
        return Kubelet.StartPodAsync(pod);
    }

    /// <summary>The API server has the pod no more.</summary>
    public void Delete(Pod pod) => pods.Remove(pod);

    /// <summary>The node has lost its disk: nothing of the pod is on it any more, and nobody has told the driver.</summary>
    public void Forget(Pod pod) => Directory.Delete(Path.Combine(directory, "pods", pod.Uid), recursive: true);

    public async Task EndAsync(Pod pod)
    {
        if (pods.Remove(pod))
        {
            await Kubelet.EndPodAsync(pod);
        }
    }

    /// <summary>Process of the node's daemon.</summary>
    public int DaemonPid() => PidOf("node");

    /// <summary>Process that holds the node's mounts.</summary>
    public int KeeperPid() => PidOf("keeper");

    /// <summary>Mounts of ours below kubelet's directory and the daemon's.</summary>
    public IReadOnlyList<string> Mounts() => MountInfo.Below(directory, Path.GetDirectoryName(DaemonSocket)!);

    private int PidOf(string role)
    {
        using var status = System.Text.Json.JsonDocument.Parse(cluster.Program(60, "status", "--json").Run().MustSucceed());
        return CliHome.PidOf(status.RootElement, role, name);
    }

    /// <summary>Ends pods that failed tests left, then all that runs.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            pods.Clear();
            if (kubelet is not null)
            {
                await RestartKubeletAsync();
                await StopKubeletAsync();
            }
            Assert.Empty(Mounts());
            if (plugin is not null)
            {
                Assert.Equal(0, StopPlugin(Signals.Terminate).ExitCode);
            }
        }
        finally
        {
            plugin?.Dispose();
        }
    }
}

/// <summary>A pod on a node, with its volumes mounted. Disposing ends it.</summary>
internal sealed class NodePod(ClusterNode node, Pod pod) : IAsyncDisposable
{
    public Pod Pod => pod;

    /// <summary>Where the runtime finds a volume.</summary>
    public string this[string volume] => node.Kubelet.PathOf(pod, volume);

    public async ValueTask DisposeAsync() => await node.EndAsync(pod);
}
