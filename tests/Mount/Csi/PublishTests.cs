using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>Volumes at the directories of pods: who sees what, what is refused, and what is left.</summary>
[Collection(CsiCollection.Name)]
public sealed class PublishTests(CsiCluster csi)
{
    private const string Ephemeral = "\"csi.storage.k8s.io/ephemeral\": \"true\"";

    [Fact]
    public async Task Pods_of_a_node_share_one_mount_of_a_volume()
    {
        string id = await csi.CreateAsync("shared");
        string first = await csi.PublishAsync(id);
        string second = await csi.PublishAsync(id, isReadOnly: true);
        Assert.Equal(3, csi.Mounts().Count);
        File.WriteAllText(Path.Combine(first, "file"), "seen by both");
        Assert.Equal("seen by both", File.ReadAllText(Path.Combine(second, "file")));
        Assert.Throws<IOException>(() => File.WriteAllText(Path.Combine(second, "other"), ""));
        (await csi.TryPublishAsync(id, first, isReadOnly: true)).Fails(GrpcStatusCode.AlreadyExists);
        await csi.UnpublishAsync(id, first);
        Assert.Equal("seen by both", File.ReadAllText(Path.Combine(second, "file")));
        await csi.UnpublishAsync(id, second);
        Assert.Empty(csi.Mounts());
        string again = await csi.PublishAsync(id);
        Assert.Equal("seen by both", File.ReadAllText(Path.Combine(again, "file")));
        await csi.UnpublishAsync(id, again);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task One_writer_means_one_place()
    {
        const string Alone = """{"mount": {}, "access_mode": {"mode": "SINGLE_NODE_SINGLE_WRITER"}}""";
        string id = await csi.CreateAsync("alone");
        string target = await csi.PublishAsync(id, Alone);
        (await csi.TryPublishAsync(id, target, Alone)).Ok();
        string second = csi.NewTarget();
        (await csi.TryPublishAsync(id, second, Alone)).Fails(GrpcStatusCode.FailedPrecondition);
        Assert.False(Directory.Exists(second));
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task Flags_and_the_group_of_the_pod_are_obeyed()
    {
        string id = await csi.CreateAsync("flags");
        string target = await csi.PublishAsync(id, """{"mount": {"mount_flags": ["noexec", "nosuid"], "volume_mount_group": "4321"}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}""");
        string options = File.ReadLines("/proc/self/mountinfo").Select(line => line.Split(' ')).Single(fields => fields[4] == target)[5];
        Assert.Contains("noexec", options.Split(','));
        Assert.Contains("nosuid", options.Split(','));
        Assert.True(File.GetUnixFileMode(target).HasFlag(UnixFileMode.SetGroup | UnixFileMode.GroupWrite));
        Assert.Equal("4321", new Command(csi.Kubelet, 20, Tool.Find("stat"), "-c", "%g", target).Run().MustSucceed().Trim());
        File.WriteAllText(Path.Combine(target, "file"), "");
        Assert.Equal("4321", new Command(csi.Kubelet, 20, Tool.Find("stat"), "-c", "%g", Path.Combine(target, "file")).Run().MustSucceed().Trim());
        (await csi.TryPublishAsync(id, csi.NewTarget(), """{"mount": {"mount_flags": ["nobarrier"]}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}""")).Fails(GrpcStatusCode.InvalidArgument);
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task An_inline_volume_lives_as_long_as_its_pod()
    {
        var before = csi.Volumes();
        string id = "csi-" + new string('a', 64);
        string target = await csi.PublishAsync(id, context: $$"""{{{Ephemeral}}, "csi.storage.k8s.io/pod.name": "p", "size": "2Mi", "latencySensitive": "true"}""");
        (await csi.TryPublishAsync(id, target, context: $$"""{{{Ephemeral}}, "csi.storage.k8s.io/pod.name": "p", "size": "2Mi", "latencySensitive": "true"}""")).Ok();
        Assert.Equal(UnixFileMode.StickyBit, File.GetUnixFileMode(target) & UnixFileMode.StickyBit);
        File.WriteAllBytes(Path.Combine(target, "fits"), new byte[1 << 20]);
        Assert.Throws<IOException>(() => File.WriteAllBytes(Path.Combine(target, "too-big"), new byte[4 << 20]));
        using (File.OpenRead(Path.Combine(target, "fits")))
        {
            // What a program of the pod still has open keeps nobody.
            await csi.UnpublishAsync(id, target);
        }
        await csi.UnpublishAsync(id, target);
        Assert.Equal(before, csi.Volumes());
        Assert.Empty(csi.Mounts());
    }

    [Theory]
    [InlineData("""{EPHEMERAL, "sise": "1G"}""", "sise")]
    [InlineData("""{EPHEMERAL, "size": "0"}""", "size")]
    [InlineData("""{EPHEMERAL, "size": "-1"}""", "size")]
    [InlineData("""{EPHEMERAL, "size": "99999999999999999999G"}""", "size")]
    [InlineData("""{EPHEMERAL, "tier": "tape"}""", "tier")]
    [InlineData("""{EPHEMERAL, "copies": "99"}""", "copies")]
    [InlineData("""{EPHEMERAL, "lifetime": "soon"}""", "lifetime")]
    public async Task A_bad_attribute_is_named_and_leaves_nothing(string context, string named)
    {
        var before = csi.Volumes();
        string target = csi.NewTarget();
        var answer = (await csi.TryPublishAsync("csi-" + new string('b', 64), target, context: context.Replace("EPHEMERAL", Ephemeral, StringComparison.Ordinal))).Fails(GrpcStatusCode.InvalidArgument);
        Assert.Contains(named, answer.Message, StringComparison.Ordinal);
        Assert.Equal(before, csi.Volumes());
        Assert.False(Directory.Exists(target));
        Assert.Empty(csi.Mounts());
    }

    [Theory]
    [InlineData("relative/path")]
    [InlineData("KUBELET/pods/x/../../../outside")]
    [InlineData("KUBELET/pods/nobody/volumes/v/mount")]
    [InlineData("KUBELET/pods/evil/link/mount")]
    [InlineData("KUBELET/pods/evil/target")]
    public async Task A_path_that_leads_elsewhere_is_refused(string path)
    {
        string evil = Directory.CreateDirectory(Path.Combine(csi.Kubelet, "pods", "evil")).FullName;
        string outside = Directory.CreateDirectory(Path.Combine(csi.Cluster.Home, "outside")).FullName;
        foreach (string link in new[] { "link", "target" })
        {
            if (!Directory.Exists(Path.Combine(evil, link)))
            {
                Directory.CreateSymbolicLink(Path.Combine(evil, link), outside);
            }
        }
        var before = csi.Volumes();
        var answer = (await csi.TryPublishAsync("csi-" + new string('c', 64), path.Replace("KUBELET", csi.Kubelet, StringComparison.Ordinal), context: $$"""{{{Ephemeral}}}""")).Fails(GrpcStatusCode.InvalidArgument);
        Assert.Contains("target_path", answer.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(outside));
        Assert.Equal(before, csi.Volumes());
        Assert.Empty(csi.Mounts());
    }

    [Fact]
    public async Task Other_volumes_and_other_mounts_are_left_alone()
    {
        string id = await csi.CreateAsync("mine");
        string target = await csi.PublishAsync(id);
        string other = await csi.CreateAsync("other");
        (await csi.TryUnpublishAsync(other, target)).Ok();
        (await csi.TryPublishAsync(other, target)).Fails(GrpcStatusCode.FailedPrecondition);
        File.WriteAllText(Path.Combine(target, "file"), "");
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
        await csi.DeleteAsync(other);
        (await csi.CallAsync("Controller", "DeleteVolume", """{"volume_id": "tmp"}""")).Fails(GrpcStatusCode.FailedPrecondition);
    }

    [Fact]
    public async Task A_deleted_volume_can_be_unpublished()
    {
        string id = await csi.CreateAsync("gone");
        string target = await csi.PublishAsync(id);
        csi.Cluster.Program(60, "volume", "delete", id, "--force").Run().MustSucceed();
        await csi.UnpublishAsync(id, target);
        Assert.Empty(csi.Mounts());
    }

    [Fact]
    public async Task Fifty_pods_at_once()
    {
        var before = csi.Volumes();
        string[] ids = [.. Enumerable.Range(0, 50).Select(i => $"csi-{i:d64}")];
        var targets = await Task.WhenAll(ids.Select(id => csi.PublishAsync(id, context: $$"""{{{Ephemeral}}}""")));
        Parallel.For(0, ids.Length, i => File.WriteAllText(Path.Combine(targets[i], "name"), ids[i]));
        Assert.All(Enumerable.Range(0, ids.Length), i => Assert.Equal(ids[i], File.ReadAllText(Path.Combine(targets[i], "name"))));
        await Task.WhenAll(ids.Select((id, i) => csi.UnpublishAsync(id, targets[i])));
        Assert.Equal(before, csi.Volumes());
        Assert.Empty(csi.Mounts());
    }
}
