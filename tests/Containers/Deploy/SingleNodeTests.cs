using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>The deployment for one node does what its guide says.</summary>
[Trait("Category", "Soak")]
public sealed class SingleNodeTests(SingleNode node) : IClassFixture<SingleNode>
{
    /// <summary>Writes lines to a file that stays open, and makes and removes another, until it is told to stop; then every line is there.</summary>
    private const string Writer = """
        exec 9>>/tmp/lines; i=0
        until [ -e /tmp/stop ]; do
            i=$((i + 1)); echo $i >&9; echo $i >/tmp/other; rm /tmp/other
            sleep 0.1
        done
        seq $i | cmp - /tmp/lines
        echo every line is there
        """;

    /// <summary>A volume of a pod's own lines, and one of a claim.</summary>
    private static readonly string[] s_examples = ["inline-tmp.yaml", "generic-ephemeral.yaml"];

    [Fact]
    public async Task Volumes_of_the_examples_are_mounted_and_leave_nothing()
    {
        var (before, mounts) = (node.Volumes(), node.Machine.Mounts());
        foreach (string example in s_examples)
        {
            var pod = node.Example(example, "seq 1000000 >/tmp/numbers; seq 1000000 | cmp - /tmp/numbers");
            await node.Kubelet.StartAsync(pod);
            pod.Container.End(60).MustSucceed();
            Assert.Equal(before.Length + 1, node.Volumes().Length);
            Assert.Equal(6_888_896, new FileInfo(Path.Combine(pod["tmp"], "numbers")).Length);
            Assert.Collection(await node.Kubelet.UsedAsync(pod), bytes => Assert.InRange(bytes, 6_888_896, 8_000_000), inodes => Assert.Equal(1, inodes));
            await node.Kubelet.EndAsync(pod);
        }
        Assert.Equal(mounts, node.Machine.Mounts());
        Assert.Equal(before, node.Volumes());
    }

    /// <summary>A container that crashes is started again in its pod, and loses nothing.</summary>
    [Fact]
    public Task Programs_go_on_while_containers_are_killed_and_started_again() => WriteWhileAsync("dram", ["csi-node", "node", "keeper", "storage"], name =>
    {
        var container = node[name].Container;
        container.Signal("KILL");
        Assert.Equal(128 + 9, container.End(60).ExitCode);
        container.Start();
    });

    /// <summary>What is not in memory outlives a pod.</summary>
    [Fact]
    public Task Programs_go_on_while_pods_are_deleted_and_others_made() => WriteWhileAsync("ssd", SingleNode.Names, node.Replace);

    /// <summary>Lets it happen to pods of what is installed, one after the other, while pods with volumes of a tier write.</summary>
    private async Task WriteWhileAsync(string tier, IEnumerable<string> names, Action<string> happen)
    {
        var (before, mounts) = (node.Volumes(), node.Machine.Mounts());
        var pods = s_examples.Select(example => node.Example(example, Writer, tier)).ToList();
        foreach (var pod in pods)
        {
            await node.Kubelet.StartAsync(pod);
        }
        var during = node.Volumes();
        foreach (string name in names)
        {
            happen(name);
            node.UntilReady();
            Assert.All(pods, pod => MustGrow(pod, name));
        }
        Assert.Equal(during, node.Volumes());
        await node.Kubelet.RegisterAsync();
        foreach (var pod in pods)
        {
            File.WriteAllText(Path.Combine(pod["tmp"], "stop"), "");
            Assert.Contains("every line is there", pod.Container.End(60).MustSucceed(), StringComparison.Ordinal);
            await node.Kubelet.EndAsync(pod);
        }
        Assert.Equal(mounts, node.Machine.Mounts());
        Assert.Equal(before, node.Volumes());
    }

    private static void MustGrow(MachinePod pod, string name)
    {
        var lines = new FileInfo(Path.Combine(pod["tmp"], "lines"));
        long before = lines.Length;
        Wait.For(
            () =>
            {
                pod.Container.MustRun();
                lines.Refresh();
                return lines.Length > before;
            },
            () => $"after {name}: {pod.Spec.Metadata.Name} stands still");
    }
}
