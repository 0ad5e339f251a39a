using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>Plugins beside the one of the cluster: with another kubelet's directory, for another node, for the controller's services only.</summary>
[Collection(CsiCollection.Name)]
public sealed class PluginTests(CsiCluster csi)
{
    private const string Inline = """{"csi.storage.k8s.io/ephemeral": "true"}""";

    [Fact]
    public void A_cluster_with_the_driver_is_healthy() =>
        Assert.Contains("\"healthy\": true", csi.Cluster.Program(60, "status", "--json").Run().MustSucceed(), StringComparison.Ordinal);

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    public async Task A_kubelet_whose_directory_is_reached_by_a_symbolic_link_is_served_as_any(string end)
    {
        string real = csi.Cluster.MakeDirectory($"kubelet{end.Length}"), link = Path.Combine(csi.Cluster.Home, $"l{end.Length}");
        Directory.CreateDirectory(Path.Combine(real, "plugins_registry"));
        File.CreateSymbolicLink(link, real);
        using var plugin = Plugin.Start(csi, $"linked{end.Length}", "--node", CsiCluster.Node, "--node-only", "--kubelet", link + end);
        string id = await csi.CreateAsync("through-a-link"), target = Target("a"), second = Target("b");

        (await plugin.PublishAsync(id, target, CsiCluster.OneWriter)).Ok();
        (await plugin.PublishAsync(id, target, CsiCluster.OneWriter)).Ok();
        Assert.Contains(target, (await plugin.PublishAsync(id, second, CsiCluster.OneWriter)).Fails(GrpcStatusCode.FailedPrecondition).Message, StringComparison.Ordinal);
        Assert.False(Path.Exists(second));
        File.WriteAllText(Path.Combine(target, "file"), "content");
        Assert.Equal("content", File.ReadAllText(Path.Combine(real, "pods", "a", "mount", "file")));
        foreach (string path in new[] { target, target + "/" })
        {
            string at = $$"""{"volume_id": "{{id}}", "volume_path": "{{path}}"}""";
            var stats = (await plugin.Client.CallAsync("Node", "NodeGetVolumeStats", at)).Ok();
            Assert.Equal(2, stats["usage"]!.AsArray().Count);
            Assert.Null(stats["volume_condition"]!["abnormal"]);
            (await plugin.Client.CallAsync("Node", "NodeExpandVolume", at)).Ok();
        }
        (await plugin.UnpublishAsync(id, target)).Ok();
        Assert.False(Path.Exists(target));
        await csi.DeleteAsync(id);

        var before = csi.Volumes();
        string inline = "csi-" + new string('1', 64);
        (await plugin.PublishAsync(inline, target, context: Inline)).Ok();
        (await plugin.PublishAsync(inline, target, context: Inline)).Ok();
        (await plugin.UnpublishAsync(inline, target)).Ok();
        Assert.Equal(before, csi.Volumes());
        Assert.Empty(csi.Mounts());
        plugin.End();

        string Target(string pod)
        {
            Directory.CreateDirectory(Path.Combine(real, "pods", pod));
            return Path.Combine(link, "pods", pod, "mount");
        }
    }

    [Fact]
    public async Task An_inline_volume_of_a_node_that_is_gone_is_deleted_and_one_that_is_mounted_is_not()
    {
        var before = csi.Volumes();
        string kept = "csi-" + new string('2', 64), place = await csi.PublishAsync(kept, context: Inline);
        File.WriteAllText(Path.Combine(place, "file"), "in use");
        var with = csi.Volumes();

        // A node whose mounts nobody holds for a next daemon.
        string directory = csi.Cluster.MakeDirectory("gone"), socket = Path.Combine(directory, "node.sock"), target = csi.NewTarget();
        using var daemon = csi.Cluster.Program(600, "node", "--name", "gone", "--listen", "unix:" + socket, "--controller", csi.Controller, "--metrics", "off").Start();
        try
        {
            Wait.For(() => File.Exists(socket), () => "the daemon does not start");
            using (var plugin = Plugin.Start(csi, "gone", "--node", "gone", "--node-only", "--node-socket", socket))
            {
                (await plugin.PublishAsync("csi-" + new string('3', 64), target, context: Inline)).Ok();
            }
            File.WriteAllText(Path.Combine(target, "file"), "nobody's soon");
            Assert.Equal(with.Count + 1, csi.Volumes().Count);
        }
        finally
        {
            Signals.Send(daemon.Process.Id, Signals.Kill);
            daemon.Wait();
            foreach (string mount in MountsBelow(directory).Append(target))
            {
                new Command("/", 20, Tool.Find("umount"), "--lazy", mount).Run();
            }
        }

        using (var collector = Plugin.Start(csi, "collector", "--node", "any", "--controller", "--orphaned-seconds", "1"))
        {
            Wait.For(() => csi.Volumes().SequenceEqual(with), () => $"{string.Join(' ', with)} expected, there are {string.Join(' ', csi.Volumes())}");
            collector.End();
        }
        Assert.Equal("in use", File.ReadAllText(Path.Combine(place, "file")));
        await csi.UnpublishAsync(kept, place);
        Assert.Equal(before, csi.Volumes());
        Directory.Delete(Path.GetDirectoryName(target)!, recursive: true);
    }

    private static string[] MountsBelow(string directory) =>
        [.. File.ReadLines("/proc/self/mountinfo").Select(line => line.Split(' ')[4]).Where(path => path.StartsWith(directory + "/", StringComparison.Ordinal))];

    /// <summary>A plugin of a test's own. Disposing kills it, if it still runs.</summary>
    private sealed class Plugin : IDisposable
    {
        private readonly Command.Running running;

        private Plugin(Command.Running running, string socket) => (this.running, Client) = (running, new CsiClient(socket));

        public CsiClient Client { get; }

        public static Plugin Start(CsiCluster csi, string name, params string[] options)
        {
            string socket = Path.Combine(csi.Cluster.Home, name + ".sock");
            var plugin = new Plugin(csi.Cluster.Program(600, ["csi", "--endpoint", "unix:" + socket, "--metrics", "off", .. options]).Start(), socket);
            Wait.For(() => File.Exists(socket) || plugin.running.Process.HasExited, () => $"the plugin {name} does not start");
            return plugin;
        }

        public Task<CsiAnswer> PublishAsync(string id, string target, string capability = CsiCluster.Shared, string context = "{}") => Client.CallAsync(
            "Node", "NodePublishVolume", $$"""{"volume_id": "{{id}}", "target_path": "{{target}}", "volume_capability": {{capability}}, "volume_context": {{context}}}""");

        public Task<CsiAnswer> UnpublishAsync(string id, string target) =>
            Client.CallAsync("Node", "NodeUnpublishVolume", $$"""{"volume_id": "{{id}}", "target_path": "{{target}}"}""");

        /// <summary>Ends it as kubelet does; it must go well.</summary>
        public void End()
        {
            Signals.Send(running.Process.Id, Signals.Terminate);
            running.Wait().MustSucceed();
        }

        public void Dispose() => running.Dispose();
    }
}
