using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Containers;

/// <summary>The plugin and kubelet find each other, whoever of them starts again.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class RegistrationTests(KubernetesCluster kubernetes)
{
    [Fact]
    public async Task The_plugin_registers_itself_and_again_with_a_kubelet_that_starts_again()
    {
        var node = kubernetes.Second;
        var driver = node.UntilRegistered();
        Assert.Equal(Kubelet.DriverName, driver.Name);
        Assert.Equal(node.Socket, driver.Endpoint);
        Assert.Equal(node.Name, driver.NodeId);
        Assert.Equal("default", driver.Topology["topology.ephemeralfs.io/zone"]);
        await node.RestartKubeletAsync();
        Assert.Equal(driver.NodeId, node.UntilRegistered().NodeId);
    }

    [Fact]
    public async Task Stopped_the_plugin_is_deregistered_and_started_it_is_registered_again()
    {
        var node = kubernetes.Second;
        node.UntilRegistered();
        Assert.Equal(0, node.StopPlugin(Signals.Terminate).ExitCode);
        Wait.For(() => node.Kubelet.Driver is null, () => "the driver is registered still");

        // A pod that comes now waits for it.
        var start = node.StartAsync(new Pod("early", new InlineVolume("tmp")));
        Assert.False(start.IsCompleted);
        node.StartPlugin();
        node.UntilRegistered();
        await using var pod = await start;
        File.WriteAllText(Path.Combine(pod["tmp"], "file"), "");
    }

    [Fact]
    public async Task A_pod_that_starts_while_the_plugin_is_dead_waits_for_the_next_one()
    {
        var node = kubernetes.Second;
        node.UntilRegistered();
        node.StopPlugin(Signals.Kill);
        Assert.True(File.Exists(node.Socket), "the dead plugin's socket is what this is about");
        var start = node.StartAsync(new Pod("early", new InlineVolume("tmp")));
        node.StartPlugin();
        await using var pod = await start;
        node.UntilRegistered();
        File.WriteAllText(Path.Combine(pod["tmp"], "file"), "");
    }
}
