using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Containers.Oci;
using EphemeralFs.Tests.Mount;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Containers;

/// <summary>What manages a pod's volumes dies and starts again; the pod goes on.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class FaultTests(KubernetesCluster kubernetes)
{
    [Fact]
    public async Task Containers_write_on_while_kubelet_the_plugin_and_the_daemon_die()
    {
        var node = kubernetes.First;
        node.UntilRegistered();
        await using var pod = await node.StartAsync(new Pod("writer", new InlineVolume("plain"), new InlineVolume("mapped")));
        string plain = Path.Combine(pod["plain"], "lines"), mapped = Path.Combine(pod["mapped"], "lines");
        string[] writer = Container.Bash("""
            for ((i = 1; ; i++)); do
                echo $i >>/tmp/lines
                if ((i % 10 == 0)); then echo $i >/tmp/$i; [ $i -lt 20 ] || rm /tmp/$((i - 10)); fi
                if read -r -t 0.001; then break; fi
            done
            seq $i | cmp - /tmp/lines
            [ "$(stat -c '%u %g' /tmp/* | sort -u)" = '1000 1000' ]
            echo every line is there
            """);
        var options = new ContainerOptions { MemoryBytes = 64 << 20 };
        using var first = Container.Start(kubernetes.Home, options with { Mounts = [new ContainerMount(pod["plain"])] }, 240, writer);
        using var second = Container.Start(kubernetes.Home, options with { Mounts = [new ContainerMount(pod["mapped"]) { IdMapped = true }], UserNamespace = true }, 240, writer);
        MustGrow(plain, mapped);

        await node.StopKubeletAsync();
        MustGrow(plain, mapped);
        await node.StartKubeletAsync();
        MustGrow(plain, mapped);

        node.StopPlugin(Signals.Kill);
        MustGrow(plain, mapped);
        node.StartPlugin();
        await node.Kubelet.StatsAsync(pod.Pod, "plain");
        await node.RestartKubeletAsync();
        MustGrow(plain, mapped);

        int daemon = node.DaemonPid();
        Signals.Send(daemon, Signals.Kill);
        MustGrow(plain, mapped);
        Wait.For(() => node.DaemonPid() is > 0 and var now && now != daemon, () => "no daemon has followed the one that was killed");
        await node.RestartKubeletAsync();
        MustGrow(plain, mapped);

        foreach (var container in new[] { first, second })
        {
            container.Input.WriteLine("stop");
            Assert.Contains("every line is there", container.End().MustSucceed(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_pod_whose_mount_died_can_end_and_the_next_kubelet_mounts_it_again()
    {
        var node = kubernetes.Second;
        node.UntilRegistered();
        await using var kept = await node.StartAsync(new Pod("kept", new InlineVolume("tmp")));
        var mounts = node.Mounts();
        var ended = await node.StartAsync(new Pod("ended", new InlineVolume("tmp")));
        using (var file = File.Create(Path.Combine(kept["tmp"], "file")))
        {
            file.Write("still there\n"u8);
            file.Flush(flushToDisk: true);
        }

        // As a reboot of the machine does: nobody is left who could serve the mounts. Stopped first, the keeper cannot start another daemon.
        var (keeper, daemon) = (node.KeeperPid(), node.DaemonPid());
        Signals.Send(keeper, Signals.Stop);
        Signals.Send(daemon, Signals.Kill);
        Signals.Send(keeper, Signals.Kill);
        Wait.For(() => !Directory.Exists($"/proc/{keeper}") && !Directory.Exists($"/proc/{daemon}"), () => "the keeper or the daemon lives");
        await ended.DisposeAsync();
        await node.RestartKubeletAsync();
        Container.Script(kubernetes.Home, new ContainerOptions(new ContainerMount(kept["tmp"])), 60, "grep -x 'still there' /tmp/file; echo more >/tmp/other").MustSucceed();
        string[] left = [.. node.Mounts().Except(mounts)];
        foreach (string mount in left)
        {
            // Not left to the tests that follow.
            new Command("/", 20, Tool.Find("umount"), "--lazy", mount).Run().MustSucceed();
        }
        Assert.Empty(left);
    }

    [Fact]
    public async Task A_pod_that_was_deleted_while_kubelet_was_dead_is_taken_away()
    {
        var node = kubernetes.First;
        node.UntilRegistered();
        var before = kubernetes.Volumes();
        var pod = await node.StartAsync(new Pod("deleted", new InlineVolume("tmp"), new MemoryVolume("memory")));
        File.WriteAllText(Path.Combine(pod["tmp"], "file"), "");
        await node.StopKubeletAsync();
        node.Delete(pod.Pod);
        await node.StartKubeletAsync();
        Assert.DoesNotContain(node.Mounts(), path => path.Contains(pod.Pod.Uid, StringComparison.Ordinal));
        Assert.Equal(before, kubernetes.Volumes());
    }

    [Fact]
    public async Task A_pod_that_cannot_start_leaves_nothing()
    {
        var before = kubernetes.Volumes();
        var pod = new Pod("wrong", new InlineVolume("tmp", ("sise", "1G")));
        var answer = (await kubernetes.First.TryStartAsync(pod)).Fails(GrpcStatusCode.InvalidArgument);
        Assert.Contains("sise", answer.Message, StringComparison.Ordinal);
        await kubernetes.First.EndAsync(pod);
        Assert.Equal(before, kubernetes.Volumes());
    }

    [Fact]
    public async Task What_a_publish_left_that_nobody_repeats_is_collected()
    {
        var node = kubernetes.Second;
        node.UntilRegistered();
        var before = kubernetes.Volumes();
        var pod = new Pod("lost", new InlineVolume("tmp"));
        int daemon = node.DaemonPid();
        Signals.Send(daemon, Signals.Stop);
        var start = node.TryStartAsync(pod);
        Wait.For(() => kubernetes.Volumes().Count > before.Count, () => "no volume was made");

        // The plugin dies while the daemon has yet to answer, the daemon with the request, and then the node loses its disk: nobody knows of the pod any more.
        node.StopPlugin(Signals.Kill);
        await node.StopKubeletAsync();
        Signals.Send(daemon, Signals.Kill);
        await start;
        node.Delete(pod);
        node.Forget(pod);
        Assert.NotEqual(before, kubernetes.Volumes());

        node.StartPlugin("--abandoned-seconds", "1");
        await node.StartKubeletAsync();
        node.UntilRegistered();
        Wait.For(() => kubernetes.Volumes().SequenceEqual(before), () => $"there is still one of {string.Join(' ', kubernetes.Volumes())}");
        Assert.Equal(0, node.StopPlugin(Signals.Terminate).ExitCode);
        node.StartPlugin();
        Wait.For(() => File.Exists(node.Socket), () => "the plugin does not start");
        await node.RestartKubeletAsync();
        node.UntilRegistered();
    }

    /// <summary>Waits until containers have written some more lines.</summary>
    private static void MustGrow(params string[] files)
    {
        static long length(string file) => File.Exists(file) ? new FileInfo(file).Length : 0;
        var wanted = files.ToDictionary(file => file, file => length(file) + 50);
        Wait.For(() => files.All(file => length(file) >= wanted[file]), () => $"no more lines in one of {string.Join(' ', files)}");
    }
}
