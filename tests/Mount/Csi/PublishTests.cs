using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>Volumes at the directories of pods: who sees what, what is refused, and what is left.</summary>
[Collection(CsiCollection.Name)]
public sealed class PublishTests(CsiCluster csi)
{
    private const string Ephemeral = "\"csi.storage.k8s.io/ephemeral\": \"true\"";
    private const string Alone = CsiCluster.OneWriter;

    [Fact]
    public async Task Pods_of_a_node_share_one_mount_of_a_volume()
    {
        string id = await csi.CreateAsync("shared");
        string first = await csi.PublishAsync(id);
        string second = await csi.PublishAsync(id, isReadOnly: true);
        Assert.Equal(4, csi.Mounts().Count); // with a mount for each that is read-only or not
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
        string id = await csi.CreateAsync("alone");
        string target = await csi.PublishAsync(id, Alone);
        (await csi.TryPublishAsync(id, target, Alone)).Ok();
        string second = csi.NewTarget();
        (await csi.TryPublishAsync(id, second, Alone)).Fails(GrpcStatusCode.FailedPrecondition);
        Assert.False(Directory.Exists(second));
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    /// <summary>Kubelet makes a place of a subdirectory for a container, and publishes again when it was restarted.</summary>
    [Theory]
    [InlineData("SINGLE_NODE_WRITER", true, true)]
    [InlineData("SINGLE_NODE_MULTI_WRITER", true, true)]
    [InlineData("SINGLE_NODE_SINGLE_WRITER", false, true)]
    [InlineData("SINGLE_NODE_READER_ONLY", true, false)]
    [InlineData("MULTI_NODE_READER_ONLY", true, false)]
    [InlineData("MULTI_NODE_SINGLE_WRITER", true, true)]
    [InlineData("MULTI_NODE_MULTI_WRITER", true, true)]
    public async Task A_mode_says_at_how_many_places_and_whether_it_is_written(string mode, bool hasSecond, bool isWritten)
    {
        string id = await csi.CreateAsync($"mode-{mode}"), capability = $$"""{"mount": {}, "access_mode": {"mode": "{{mode}}"} }""";
        string first = await csi.PublishAsync(id, capability), second = csi.NewTarget();
        (await csi.TryPublishAsync(id, first, capability)).Ok();
        var answer = await csi.TryPublishAsync(id, second, capability);
        Assert.Equal(hasSecond ? GrpcStatusCode.OK : GrpcStatusCode.FailedPrecondition, answer.Code);
        Assert.Equal(isWritten ? 0 : 1, new Command("/", 20, Tool.Find("touch"), Path.Combine(first, "file")).Run().ExitCode);
        Assert.Contains(isWritten ? "rw" : "ro", csi.OptionsOf(first).Split(','));
        if (hasSecond)
        {
            Assert.Equal(isWritten, File.Exists(Path.Combine(second, "file")));
            await csi.UnpublishAsync(id, second);
        }
        await csi.UnpublishAsync(id, first);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task A_subdirectory_for_a_container_is_no_second_place()
    {
        string id = await csi.CreateAsync("alone-below");
        string target = await csi.PublishAsync(id, Alone);
        Directory.CreateDirectory(Path.Combine(target, "sub"));
        string inside = Directory.CreateDirectory(Path.Combine(csi.Kubelet, "volume-subpaths")).FullName;
        csi.Run("mount", "--bind", Path.Combine(target, "sub"), inside);
        (await csi.TryPublishAsync(id, target, Alone)).Ok();
        string second = csi.NewTarget();
        (await csi.TryPublishAsync(id, second, Alone)).Fails(GrpcStatusCode.FailedPrecondition);
        csi.Run("umount", inside);
        Directory.Delete(inside);
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    /// <summary>Of a volume that the driver has not made it cannot be seen from the name whether it is an inline one.</summary>
    [Fact]
    public async Task Pods_of_a_static_volume_come_and_go_at_once()
    {
        string[] targets = [.. Enumerable.Range(0, 12).Select(_ => csi.NewTarget())];
        foreach (var answer in await Task.WhenAll(targets.Select(target => csi.TryPublishAsync("tmp", target))))
        {
            answer.Ok();
        }
        foreach (var answer in await Task.WhenAll(targets.Select(target => csi.TryUnpublishAsync("tmp", target))))
        {
            answer.Ok();
        }
        Assert.Empty(csi.Mounts());
    }

    [Fact]
    public async Task Twenty_pods_that_begin_at_once_share_one_mount()
    {
        string id = await csi.CreateAsync("at-once");
        string[] targets = [.. Enumerable.Range(0, 20).Select(_ => csi.NewTarget())];
        var answers = await Task.WhenAll(targets.Select((target, i) => csi.TryPublishAsync(id, target, isReadOnly: i % 4 == 3)));
        Array.ForEach(answers, answer => answer.Ok());
        // One for those who write, and one that takes no writes.
        Assert.Equal(targets.Length + 2, csi.Mounts().Count);
        Assert.Equal(2, csi.Devices().Count);
        File.WriteAllText(Path.Combine(targets[0], "file"), "one for all");
        Assert.All(targets, target => Assert.Equal("one for all", File.ReadAllText(Path.Combine(target, "file"))));
        answers = await Task.WhenAll(targets.Select(target => csi.TryUnpublishAsync(id, target)));
        Array.ForEach(answers, answer => answer.Ok());
        Assert.Empty(csi.Mounts());
        Assert.All(targets, target => Assert.False(Path.Exists(target)));
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task One_writer_means_one_of_those_that_begin_at_once()
    {
        string id = await csi.CreateAsync("alone-at-once");
        string[] targets = [csi.NewTarget(), csi.NewTarget()];
        var answers = await Task.WhenAll(targets.Select(target => csi.TryPublishAsync(id, target, Alone)));
        int first = Assert.Single(Enumerable.Range(0, 2), i => answers[i].Code == GrpcStatusCode.OK);
        Assert.Contains(answers[1 - first].Code, (GrpcStatusCode[])[GrpcStatusCode.Aborted, GrpcStatusCode.FailedPrecondition]);
        Assert.False(Path.Exists(targets[1 - first]));
        Assert.Equal(2, csi.Mounts().Count);
        (await csi.TryPublishAsync(id, targets[1 - first], Alone)).Fails(GrpcStatusCode.FailedPrecondition);
        await csi.UnpublishAsync(id, targets[first]);
        (await csi.TryPublishAsync(id, targets[1 - first], Alone)).Ok();
        await csi.UnpublishAsync(id, targets[1 - first]);
        await csi.DeleteAsync(id);
    }

    [Theory]
    [InlineData("noexec", "")]
    [InlineData("", "noexec")]
    [InlineData("nosuid", "nosuid noexec")]
    [InlineData("suid dev", "nosuid nodev")]
    [InlineData("ro", "")]
    [InlineData("ro", "rw")]
    [InlineData("rw", "ro")]
    public async Task A_place_keeps_the_flags_that_it_was_published_with(string first, string second)
    {
        string id = await csi.CreateAsync("other-flags");
        string target = await csi.PublishAsync(id, With(first));
        string options = csi.OptionsOf(target);
        var answer = (await csi.TryPublishAsync(id, target, With(second))).Fails(GrpcStatusCode.AlreadyExists);
        Assert.Contains("target_path", answer.Message, StringComparison.Ordinal);
        Assert.Equal(options, csi.OptionsOf(target));
        (await csi.TryPublishAsync(id, target, With(first))).Ok();
        Assert.Equal(2, csi.Mounts().Count);
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);

        static string With(string flags) =>
            $$$"""{"mount": {"mount_flags": [{{{string.Join(", ", flags.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(flag => $"\"{flag}\""))}}}]}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}""";
    }

    [Fact]
    public async Task A_claim_that_is_mounted_read_only_takes_no_writes()
    {
        string id = await csi.CreateAsync("flag-ro");
        string target = await csi.PublishAsync(id, """{"mount": {"mount_flags": ["ro"]}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}""");
        Assert.Contains("ro", csi.OptionsOf(target).Split(','));
        Assert.Contains("Read-only file system", Assert.Throws<IOException>(() => File.WriteAllText(Path.Combine(target, "file"), "")).Message, StringComparison.Ordinal);

        // Container runtimes make a place of their own of it, and say that it is not read-only.
        string inside = Directory.CreateDirectory(Path.Combine(csi.Kubelet, "inside")).FullName;
        csi.Run("mount", "--bind", target, inside);
        csi.Run("mount", "-o", "remount,bind,rw", inside);
        Assert.Contains("Read-only file system", Assert.Throws<IOException>(() => File.WriteAllText(Path.Combine(inside, "file"), "")).Message, StringComparison.Ordinal);
        csi.Run("umount", inside);
        Directory.Delete(inside);

        // What the pod says and what the claim says come to the same.
        (await csi.CallAsync("Node", "NodePublishVolume", $$"""{"volume_id": "{{id}}", "target_path": "{{target}}", "readonly": true, "volume_capability": {{CsiCluster.Shared}} }""")).Ok();
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task Flags_and_the_group_of_the_pod_are_obeyed()
    {
        string id = await csi.CreateAsync("flags");
        string target = await csi.PublishAsync(id, """{"mount": {"mount_flags": ["noexec", "nosuid"], "volume_mount_group": "4321"}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}""");
        string[] options = csi.OptionsOf(target).Split(',');
        Assert.Contains("noexec", options);
        Assert.Contains("nosuid", options);
        Assert.True(File.GetUnixFileMode(target).HasFlag(UnixFileMode.SetGroup | UnixFileMode.GroupWrite));
        Assert.Equal("4321", new Command(csi.Kubelet, 20, Tool.Find("stat"), "-c", "%g", target).Run().MustSucceed().Trim());
        File.WriteAllText(Path.Combine(target, "file"), "");
        Assert.Equal("4321", new Command(csi.Kubelet, 20, Tool.Find("stat"), "-c", "%g", Path.Combine(target, "file")).Run().MustSucceed().Trim());

        // The group of the last pod counts, at once and at every place.
        string second = await csi.PublishAsync(id, """{"mount": {"volume_mount_group": "1234"}, "access_mode": {"mode": "MULTI_NODE_MULTI_WRITER"}}""");
        Assert.Equal("1234", new Command(csi.Kubelet, 20, Tool.Find("stat"), "-c", "%g", target).Run().MustSucceed().Trim());
        await csi.UnpublishAsync(id, second);
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
    [InlineData("KUBELET/pods/evil/circle/mount")]
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
        if (new FileInfo(Path.Combine(evil, "circle")).LinkTarget is null)
        {
            Directory.CreateSymbolicLink(Path.Combine(evil, "circle"), Path.Combine(evil, "circle"));
        }
        var before = csi.Volumes();
        var answer = (await csi.TryPublishAsync("csi-" + new string('c', 64), path.Replace("KUBELET", csi.Kubelet, StringComparison.Ordinal), context: $$"""{{{Ephemeral}}}""")).Fails(GrpcStatusCode.InvalidArgument);
        Assert.Contains("target_path", answer.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(outside));
        Assert.Equal(before, csi.Volumes());
        Assert.Empty(csi.Mounts());
    }

    [Theory]
    [InlineData("relative/path")]
    [InlineData("KUBELET/pods/x/../../../outside/mine")]
    [InlineData("KUBELET//pods/mine")]
    [InlineData("KUBELET/pods/bad/link/mine")]
    [InlineData("KUBELET/pods/bad/target")]
    public async Task Nothing_is_taken_away_where_a_path_leads_elsewhere(string path)
    {
        string outside = Directory.CreateDirectory(Path.Combine(csi.Cluster.Home, "outside-of-pods")).FullName;
        string mine = Directory.CreateDirectory(Path.Combine(outside, "mine")).FullName; // empty: what rmdir(2) would remove
        string bad = Directory.CreateDirectory(Path.Combine(csi.Kubelet, "pods", "bad")).FullName;
        foreach (var (link, to) in new[] { ("link", outside), ("target", mine) })
        {
            if (!Directory.Exists(Path.Combine(bad, link)))
            {
                Directory.CreateSymbolicLink(Path.Combine(bad, link), to);
            }
        }
        string id = await csi.CreateAsync("stays");
        string target = await csi.PublishAsync(id);
        var mounts = csi.Mounts();
        foreach (string volume in new[] { id, "csi-" + new string('d', 64) })
        {
            var answer = (await csi.TryUnpublishAsync(volume, path.Replace("KUBELET", csi.Kubelet, StringComparison.Ordinal))).Fails(GrpcStatusCode.InvalidArgument);
            Assert.Contains("target_path", answer.Message, StringComparison.Ordinal);
        }
        Assert.Equal(mounts, csi.Mounts());
        Assert.True(Directory.Exists(mine));
        Assert.True(Path.Exists(Path.Combine(bad, "target")));
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
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
    public async Task A_volume_of_a_claim_is_unpublished_while_the_controller_hangs()
    {
        string id = await csi.CreateAsync("without-controller");
        string target = await csi.PublishAsync(id), second = await csi.PublishAsync(id);
        var before = csi.Volumes();
        string inline = "csi-" + new string('e', 64);
        string place = await csi.PublishAsync(inline, context: $$"""{{{Ephemeral}}}""");
        var with = csi.Volumes();
        using (csi.Halt("controller"))
        {
            await csi.UnpublishAsync(id, target);
            await csi.UnpublishAsync(id, second);

            // Nobody tells whether this one is to be deleted: its place is taken away, and the call is to come again.
            (await csi.TryUnpublishAsync(inline, place)).Fails(GrpcStatusCode.Unavailable);
            Assert.False(Path.Exists(place));
            Assert.Empty(csi.Mounts());
        }
        await csi.UntilReadyAsync();
        Assert.Equal(with, csi.Volumes());
        await csi.UnpublishAsync(inline, place);
        Assert.Equal(before, csi.Volumes());
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task A_place_whose_mount_died_is_abnormal_and_is_published_again()
    {
        string id = await csi.CreateAsync("died");
        string target = csi.NewTarget(), stats = $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}""";
        (await csi.TryPublishAsync(id, target, CsiCluster.OneWriter)).Ok();
        File.WriteAllText(Path.Combine(target, "file"), "still there");
        string below = Directory.CreateDirectory(Path.Combine(csi.Kubelet, "pods", "sub")).FullName;
        Directory.CreateDirectory(Path.Combine(target, "part"));
        csi.Run("mount", "--bind", Path.Combine(target, "part"), below); // as kubelet does for subPath
        Assert.False(await IsAbnormalAsync());

        // Ends the connection, as the death of daemon and keeper does.
        csi.Run("umount", "--force", csi.Mounts().Single(mount => mount != target && mount != below));
        for (long start = Environment.TickCount64; !await IsAbnormalAsync();)
        {
            Assert.True(Environment.TickCount64 - start < 60_000, "nobody says that the mount is dead");
        }

        (await csi.TryPublishAsync(id, csi.NewTarget(), CsiCluster.OneWriter)).Fails(GrpcStatusCode.FailedPrecondition);
        (await csi.TryPublishAsync(id, target, CsiCluster.OneWriter)).Ok();
        Assert.False(await IsAbnormalAsync());
        Assert.Equal("still there", File.ReadAllText(Path.Combine(target, "file")));
        Assert.DoesNotContain(below, csi.Mounts());
        Directory.Delete(below);
        await csi.UnpublishAsync(id, target);
        Assert.Empty(csi.Mounts());
        await csi.DeleteAsync(id);

        async Task<bool> IsAbnormalAsync() => (bool?)(await csi.CallAsync("Node", "NodeGetVolumeStats", stats)).Ok()["volume_condition"]!["abnormal"] ?? false;
    }

    [Fact]
    public async Task A_keeper_that_hangs_keeps_no_pod_from_ending()
    {
        string id = await csi.CreateAsync("without-keeper");
        string target = csi.NewTarget();
        using (csi.Halt("keeper"))
        {
            Assert.Contains("keeper", (await csi.TryPublishAsync(id, target)).Fails(GrpcStatusCode.Unavailable).Message, StringComparison.Ordinal);
            await csi.UnpublishAsync(id, target);
            Assert.Empty(csi.Mounts());
        }
        (await csi.TryPublishAsync(id, target)).Ok();
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task What_is_published_while_the_metadata_server_hangs_is_to_be_published_again()
    {
        string id = await csi.CreateAsync("without-metadata");
        string target = csi.NewTarget();
        using (csi.Halt("metadata"))
        {
            (await csi.TryPublishAsync(id, target)).Fails(GrpcStatusCode.Unavailable);
        }
        await csi.UntilReadyAsync();
        (await csi.TryPublishAsync(id, target)).Ok();
        await csi.UnpublishAsync(id, target);

        // By force: the server may have heard of the first session after all, and has it until it expires.
        csi.Cluster.Program(60, "volume", "delete", id, "--force").Run().MustSucceed();
    }

    [Fact]
    public async Task An_inline_volume_with_unflushed_bytes_goes_while_the_metadata_server_hangs()
    {
        var before = csi.Volumes();
        string id = "csi-" + new string('f', 64);
        string target = await csi.PublishAsync(id, context: $$"""{{{Ephemeral}}}""");
        using var writer = new Command("/", 120, "/bin/bash", "-c", "exec 9>\"$0\"; head -c 300000 /dev/urandom >&9; echo written; read", Path.Combine(target, "file")).Start();
        writer.WaitForOutput("written");
        string log = csi.LogOf($"node-{CsiCluster.Node}");
        using (csi.Halt("metadata"))
        {
            var unpublish = csi.TryUnpublishAsync(id, target);
            Wait.For(() => !csi.Mounts().Contains(target), () => $"{target} is in the mount table still");

            // What it says depends on whether the controller could do anything without that server. That it says it is what counts.
            Assert.NotEqual(GrpcStatusCode.DeadlineExceeded, (await unpublish).Code);
            Assert.False(Path.Exists(target));
            Assert.Empty(csi.Mounts());
        }
        writer.Process.StandardInput.Close();
        writer.Wait();
        await csi.UntilReadyAsync();
        await csi.UnpublishAsync(id, target);
        Assert.Equal(before, csi.Volumes());

        // The bytes were written off: the daemon did not try to have them committed until its patience was at an end.
        Assert.DoesNotContain("its session ends when the servers answer", csi.LogOf($"node-{CsiCluster.Node}")[log.Length..], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_second_call_for_a_volume_is_aborted_while_the_first_is_pending()
    {
        var before = csi.Volumes();
        string id = "csi-" + new string('0', 64);
        string target = csi.NewTarget();
        Task<Integration.Csi.CsiAnswer> first;
        using (csi.Halt("node"))
        {
            first = csi.TryPublishAsync(id, target, context: $$"""{{{Ephemeral}}}""");
            Wait.For(() => csi.Volumes().Count > before.Count, () => "the first call does not get to the node's daemon");
            foreach (string other in new[] { target, csi.NewTarget() })
            {
                Assert.Contains("pending", (await csi.TryPublishAsync(id, other, context: $$"""{{{Ephemeral}}}""")).Fails(GrpcStatusCode.Aborted).Message, StringComparison.Ordinal);
                Assert.Contains("pending", (await csi.TryUnpublishAsync(id, other)).Fails(GrpcStatusCode.Aborted).Message, StringComparison.Ordinal);
            }
        }
        (await first).Ok();
        await csi.UntilReadyAsync();
        (await csi.TryPublishAsync(id, target, context: $$"""{{{Ephemeral}}}""")).Ok();
        await csi.UnpublishAsync(id, target);
        Assert.Equal(before, csi.Volumes());
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
