using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount.Cli;
using EphemeralFs.Tests.Mount.Faults;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>Volumes whose servers hang, and node daemons that find more than they can take over.</summary>
[Collection(CsiCollection.Name)]
public sealed class TakeOverTests(CsiCluster csi)
{
    [Fact]
    public async Task What_only_the_metadata_server_knows_is_not_made_up_while_it_hangs()
    {
        string id = await csi.CreateAsync("unknown-use");
        string target = await csi.PublishAsync(id);
        string snapshot = (string)(await csi.CallAsync("Controller", "CreateSnapshot", $$"""{"name": "unknown-use", "source_volume_id": "{{id}}"}""")).Ok()["snapshot"]!["snapshot_id"]!;
        string stats = $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}""";
        Assert.Equal(2, (await csi.CallAsync("Node", "NodeGetVolumeStats", stats)).Ok()["usage"]!.AsArray().Count);
        Assert.True((bool?)(await ListedSnapshotAsync())["ready_to_use"]);
        using (csi.Halt("metadata"))
        {
            var answer = (await csi.CallAsync("Node", "NodeGetVolumeStats", stats)).Ok();
            Assert.True((bool?)answer["volume_condition"]!["abnormal"], answer.ToJsonString());
            Assert.False(answer["usage"] is { } usage && usage.AsArray().Count > 0, answer.ToJsonString());
            var volume = (await csi.CallAsync("Controller", "ControllerGetVolume", $$"""{"volume_id": "{{id}}"}""")).Ok();
            Assert.True((bool?)volume["status"]!["volume_condition"]!["abnormal"], volume.ToJsonString());
            Assert.False((bool?)(await ListedSnapshotAsync())["ready_to_use"] ?? false);
            (await csi.CallAsync(
                "Controller", "CreateVolume",
                $$"""{"name": "copy-of-unknown", "volume_capabilities": [{{CsiCluster.Shared}}], "volume_content_source": {"volume": {"volume_id": "{{id}}"} } }""")).Fails(GrpcStatusCode.Unavailable);
        }
        await csi.UntilReadyAsync();
        Wait.For(() => csi.Volumes().Contains(id), () => "the volume is not listed");
        await csi.UnpublishAsync(id, target);
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}""")).Ok();
        await csi.DeleteAsync(id);

        async Task<System.Text.Json.Nodes.JsonNode> ListedSnapshotAsync() =>
            (await csi.CallAsync("Controller", "ListSnapshots", $$"""{"snapshot_id": "{{snapshot}}"}""")).Ok()["entries"]![0]!["snapshot"]!;
    }

    [Fact]
    public async Task What_waits_in_a_wedged_mount_gets_an_error_and_what_was_written_is_committed_later()
    {
        string id = await csi.CreateAsync("wedged");
        string target = await csi.PublishAsync(id);
        const string Program = "open(F, '>', $ARGV[0]); $| = 1; syswrite(F, 'x' x 4096); print \"opened\\n\"; <STDIN>; syswrite(F, 'x' x 295904); print \"written\\n\"; <STDIN>"; // nothing is closed in between
        using var writer = new Command("/", 120, Tool.Find("perl"), "-e", Program, Path.Combine(target, "file")).Start();
        writer.WaitForOutput("opened");
        using (csi.Halt("metadata"))
        {
            writer.Process.StandardInput.WriteLine();
            writer.WaitForOutput("written");
            using var waiting = new Command("/", 120, Tool.Find("mkdir"), Path.Combine(target, "directory")).Start();
            Wait.For(() => IsIn(waiting.Process.Id, "request_wait_answer"), () => "mkdir does not wait for the file system");
            await csi.UnpublishAsync(id, target);
            Assert.Empty(csi.Mounts());

            // Not EIO, which comes when the request's own time is over.
            var ended = waiting.Wait();
            Assert.True(ended.ExitCode != 0 && ended.Output.Contains("Software caused connection abort", StringComparison.Ordinal), ended.Describe());
        }
        writer.Process.StandardInput.Close();
        writer.Wait();
        await csi.UntilReadyAsync();
        string again = csi.NewTarget();
        UntilPublished(id, again);
        Wait.For(() => new FileInfo(Path.Combine(again, "file")).Length == 300_000, () => "what was written is not there");
        await csi.UnpublishAsync(id, again);
        UntilDeleted(id);
    }

    [Fact]
    public async Task A_new_daemon_answers_while_its_mounts_wait_for_a_metadata_server()
    {
        var volumes = new List<(string Id, string Target)>();
        for (int i = 0; i < 3; i++)
        {
            string id = await csi.CreateAsync($"waiting-{i}");
            volumes.Add((id, await csi.PublishAsync(id)));
        }
        using (csi.Halt("metadata"))
        {
            KillNode();
            foreach (var (id, target) in volumes)
            {
                // Listed as published and not as dead, so that nobody publishes them anew.
                string problem = "";
                Wait.For(
                    () => (problem = ProblemOf(id, target)).Length > 0 && !problem.Contains("the node daemon", StringComparison.Ordinal),
                    () => $"{target}: {problem}");
                Assert.Contains("metadata server", problem, StringComparison.Ordinal);
                (await csi.TryPublishAsync(id, csi.NewTarget())).Fails(GrpcStatusCode.Unavailable);
            }
        }
        await csi.UntilReadyAsync();
        foreach (var (id, target) in volumes)
        {
            UntilPublished(id, target);
            File.WriteAllText(Path.Combine(target, "file"), "still there");
            await csi.UnpublishAsync(id, target);
            UntilDeleted(id);
        }
    }

    /// <summary>As after an upgrade to a version that cannot read what the one before has kept, and the way back.</summary>
    [Fact]
    public async Task A_mount_that_a_daemon_cannot_take_over_waits_for_one_that_can()
    {
        string kept = await csi.CreateAsync("kept"), given = await csi.CreateAsync("given-up");
        string keptAt = await csi.PublishAsync(kept), givenAt = await csi.PublishAsync(given);
        File.WriteAllText(Path.Combine(keptAt, "file"), "from before");
        var magic = new Dictionary<string, byte[]> { [kept] = ExchangeMagic(kept, new byte[8]), [given] = ExchangeMagic(given, new byte[8]) };
        foreach (var (volume, _) in magic)
        {
            ExchangeMagic(volume, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
        KillNode();
        Wait.For(() => ProblemOf(kept, keptAt).Contains("cannot be taken over by this version", StringComparison.Ordinal), () => ProblemOf(kept, keptAt));
        Assert.Contains("cannot be taken over", (await csi.TryPublishAsync(kept, csi.NewTarget())).Fails(GrpcStatusCode.Unavailable).Message, StringComparison.Ordinal);
        Wait.For(() => csi.Cluster.Program(60, "status").Run().Output.Contains("2 mounts cannot be taken over", StringComparison.Ordinal), () => "status does not tell");
        using var reader = new Command("/", 120, Tool.Find("cat"), Path.Combine(keptAt, "file")).Start(); // waits

        await csi.UnpublishAsync(given, givenAt);
        ExchangeMagic(kept, magic[kept]);
        KillNode();
        var read = reader.Wait();
        Assert.True(read.ExitCode == 0 && read.Output.TrimEnd() == "from before", $"{read.ExitCode} {read.Output}");
        UntilPublished(kept, keptAt);
        await csi.UnpublishAsync(kept, keptAt);
        Assert.Empty(csi.Mounts());
        await csi.DeleteAsync(kept);

        // Its session has nobody who would end it.
        csi.Cluster.Program(60, "volume", "delete", given, "--force").Run().MustSucceed();
        Assert.Equal(0, csi.Cluster.Program(60, "status").Run().ExitCode);
    }

    private void UntilPublished(string id, string target) => UntilOk(() => csi.TryPublishAsync(id, target));

    /// <summary>A session that has nobody ends when its time is over.</summary>
    private void UntilDeleted(string id) => UntilOk(() => csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}"}"""));

    private static void UntilOk(Func<Task<CsiAnswer>> call)
    {
        string message = "";
        Wait.For(
            () =>
            {
                var answer = call().GetAwaiter().GetResult();
                message = answer.Message;
                return answer.Code == GrpcStatusCode.OK;
            },
            () => message);
    }

    private static bool IsIn(int pid, string function) => File.ReadAllText($"/proc/{pid}/wchan").Contains(function, StringComparison.Ordinal);

    private string ProblemOf(string id, string target)
    {
        var answer = csi.CallAsync("Node", "NodeGetVolumeStats", $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}""").GetAwaiter().GetResult();
        return answer.Code != GrpcStatusCode.OK ? answer.Message
            : (bool?)answer.Response!["volume_condition"]!["abnormal"] ?? false ? (string)answer.Response!["volume_condition"]!["message"]! : "";
    }

    private void KillNode()
    {
        var daemon = Processes().Single(process => process.Role == "node");
        daemon.Kill();
        Wait.For(() => Processes().Any(process => process.Role == "node" && process.Pid != daemon.Pid), () => "no daemon is started again");
    }

    private IReadOnlyList<ClusterProcess> Processes() => ClusterProcess.All(csi.Cluster.State);

    /// <summary>Replaces the first eight bytes of the memory that the keeper holds for a volume's mount.</summary>
    private byte[] ExchangeMagic(string volume, byte[] magic)
    {
        int keeper = Processes().Single(process => process.Role == "keeper").Pid;
        string path = Directory.EnumerateFiles($"/proc/{keeper}/fd").Single(fd => (new FileInfo(fd).LinkTarget ?? "").Contains($"ephemeralfs-{volume}", StringComparison.Ordinal));
        using var memory = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        byte[] before = new byte[magic.Length];
        RandomAccess.Read(memory, before, 0);
        if (magic.Any(one => one != 0))
        {
            RandomAccess.Write(memory, magic, 0);
        }
        return before;
    }
}
