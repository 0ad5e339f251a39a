using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount.Faults;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>
/// The calls of kubelet and of the sidecars while roles are killed between and during them: each call, tried again as these do, ends well, and nothing is left.
/// <c>EPHEMERALFS_SEED</c> repeats a run.
/// </summary>
public sealed class KillSequenceTests(ITestOutputHelper output)
{
    private const string Ephemeral = """{"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": "p", "size": "64Mi"}""";

    private static readonly string[] Victims = ["csi", "node", "controller", "metadata"];

    /// <summary>What kubelet and the sidecars take for an outcome that is not known yet.</summary>
    private static readonly GrpcStatusCode[] Uncertain = [GrpcStatusCode.Unavailable, GrpcStatusCode.DeadlineExceeded, GrpcStatusCode.Cancelled, GrpcStatusCode.Aborted];

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);

    [Fact]
    public Task A_few_random_sequences() => RunAsync(4);

    [Fact]
    [Trait("Category", "Soak")]
    public Task Two_hundred_random_sequences() => RunAsync(200);

    private async Task RunAsync(int sequences)
    {
        int seed = Seed.Choose(output);
        using var csi = new CsiCluster();
        var run = new Run(csi, new Random(seed));
        try
        {
            string before = State(csi);

            // Once without faults, which tells how many calls there are.
            int inline = await run.InlineAsync(-1), persistent = await run.PersistentAsync(-1);
            await UntilAsync(() => State(csi) == before, () => $"{before}\nbefore, and after calls that nobody disturbed:\n{State(csi)}");
            int sockets = Sockets(csi);
            for (int i = 0; i < sequences; i++)
            {
                bool isInline = i % 2 == 0;
                run.Plan(isInline ? inline : persistent);
                await (isInline ? run.InlineAsync(i) : run.PersistentAsync(i));
                run.MustHaveKilledAsPlanned();
            }
            await UntilAsync(() => State(csi) == before, () => $"{before}\nbefore, and after:\n{State(csi)}");

            // Connections that are kept for the next call, on either side.
            await UntilAsync(() => Sockets(csi) <= sockets + 8, () => $"{sockets} sockets before, {Sockets(csi)} after");
        }
        catch
        {
            output.WriteLine($"logs: {csi.Cluster.KeepLogs($"csi-kills-{seed}")}");
            throw;
        }
        finally
        {
            output.WriteLine(run.ToString());
        }
    }

    /// <summary>Volumes, mounts, directories for mounts, and what storage servers hold in each tier.</summary>
    private static string State(CsiCluster csi) =>
        $"volumes: {string.Join(' ', csi.Volumes())}; mounts: {string.Join(' ', csi.Mounts())}; directories: {string.Join(' ', csi.NodeDirectories())}; "
        + $"blocks and bytes: {string.Join(' ', Stored(csi).Select(tier => $"{tier.Blocks} {tier.Bytes}"))}";

    private static IReadOnlyList<(long Blocks, long Bytes)> Stored(CsiCluster csi) =>
        [.. JsonNode.Parse(csi.Cluster.Program(60, "status", "--json").Run().MustSucceed())!["tiers"]!.AsArray().Select(tier => ((long)tier!["blocks"]!, (long)tier["usedBytes"]!))];

    private static int Sockets(CsiCluster csi) => ClusterProcess.All(csi.Cluster.State).Sum(process => process.Sockets());

    private static async Task UntilAsync(Func<bool> condition, Func<string> otherwise)
    {
        for (var clock = Stopwatch.StartNew(); !condition();)
        {
            Assert.True(clock.Elapsed < Patience, otherwise());
            await Task.Delay(100); // only paces the looking
        }
    }

    /// <summary>What one run does, and what came of it.</summary>
    private sealed class Run(CsiCluster csi, Random random)
    {
        /// <summary>More than fits into the metadata server: it is in blocks, which copies share.</summary>
        private const int FileBytes = 300 << 10;

        private readonly Dictionary<string, int> killed = [];
        private readonly Dictionary<GrpcStatusCode, int> failed = [];
        private readonly SortedDictionary<int, (string Victim, int DelayMs)> plan = [];
        private int planned;
        private int step;
        private int sequence;

        /// <summary>Chooses who dies at which of the calls of the next sequence, each time at another: before the call, or so many ms after its begin.</summary>
        public void Plan(int calls)
        {
            foreach (int call in Enumerable.Range(0, calls).OrderBy(_ => random.Next()).Take(random.Next(1, 4)))
            {
                plan.Add(call, (Victims[random.Next(Victims.Length)], random.Next(3) == 0 ? -1 : random.Next(40)));
            }
            planned += plan.Count;
        }

        /// <summary>All who were to die have died.</summary>
        public void MustHaveKilledAsPlanned()
        {
            Assert.Empty(plan);
            Assert.Equal(planned, killed.Values.Sum());
        }

        /// <summary>A pod with an inline volume. Returns how many calls that takes.</summary>
        public async Task<int> InlineAsync(int number)
        {
            Begin(number);
            string id = $"csi-kill{number.ToString("x60", CultureInfo.InvariantCulture)}", target = csi.NewTarget();
            await CallAsync("publish", () => csi.TryPublishAsync(id, target, context: Ephemeral));
            await WriteAsync(target);
            await CallAsync("stats", () => csi.CallAsync("Node", "NodeGetVolumeStats", $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}"""));
            await CallAsync("unpublish", () => csi.TryUnpublishAsync(id, target));
            Assert.False(Path.Exists(target));
            return step;
        }

        /// <summary>A claim that is made, used by two pods, copied in all ways, modified, enlarged, and deleted. Returns how many calls that takes.</summary>
        public async Task<int> PersistentAsync(int number)
        {
            Begin(number);
            string name = $"pvc-kill-{number}", first = csi.NewTarget(), second = csi.NewTarget();
            string id = VolumeId(await CallAsync("create", () => CreateAsync(name, "")));
            await CallAsync("publish", () => csi.TryPublishAsync(id, first));
            byte[] content = await WriteAsync(first);
            if (number < 0)
            {
                await UntilAsync(() => Stored(csi).Any(tier => tier.Blocks > 0), () => "the bytes are in no block");
            }
            await CallAsync("publish again", () => csi.TryPublishAsync(id, second, isReadOnly: true));
            await MustReadAsync(content, second);

            string snapshot = (string)(await CallAsync("snapshot", () => csi.CallAsync("Controller", "CreateSnapshot", $$"""{"name": "{{name}}-s", "source_volume_id": "{{id}}"}""")))
                .Ok()["snapshot"]!["snapshot_id"]!;
            string restored = VolumeId(await CallAsync("restore", () => CreateAsync(name + "-r", $$""", "volume_content_source": {"snapshot": {"snapshot_id": "{{snapshot}}"} }""")));
            string clone = VolumeId(await CallAsync("clone", () => CreateAsync(name + "-c", $$""", "volume_content_source": {"volume": {"volume_id": "{{id}}"} }""")));
            var group = (await CallAsync(
                "group snapshot",
                () => csi.CallAsync("GroupController", "CreateVolumeGroupSnapshot", $$"""{"name": "{{name}}-g", "source_volume_ids": ["{{id}}", "{{clone}}"]}"""))).Ok()["group_snapshot"]!;
            string[] snapshots = [snapshot, .. group["snapshots"]!.AsArray().Select(member => (string)member!["snapshot_id"]!)];
            Assert.Equal(3, snapshots.Distinct().Count());
            var listed = (await CallAsync("list snapshots", () => csi.CallAsync("Controller", "ListSnapshots"))).Ok()["entries"]!.AsArray();
            Assert.Equal(snapshots.Order(), listed.Select(entry => (string)entry!["snapshot"]!["snapshot_id"]!).Order());
            listed = (await CallAsync("list volumes", () => csi.CallAsync("Controller", "ListVolumes"))).Ok()["entries"]!.AsArray();
            Assert.Equal(new[] { id, restored, clone }.Order(), listed.Select(entry => (string)entry!["volume"]!["volume_id"]!).Order());

            await CallAsync(
                "modify",
                () => csi.CallAsync("Controller", "ControllerModifyVolume", $$$"""{"volume_id": "{{{id}}}", "mutable_parameters": {"tier": "ssd", "concurrency": "100"}}"""));
            await CallAsync("expand", () => csi.CallAsync("Controller", "ControllerExpandVolume", $$$"""{"volume_id": "{{{id}}}", "capacity_range": {"required_bytes": 134217728}}"""));
            var got = (await CallAsync("get", () => csi.CallAsync("Controller", "ControllerGetVolume", $$"""{"volume_id": "{{id}}"}"""))).Ok()["volume"]!;
            Assert.Equal("134217728", (string)got["capacity_bytes"]!);
            await CallAsync("unpublish", () => csi.TryUnpublishAsync(id, first));
            await CallAsync("unpublish again", () => csi.TryUnpublishAsync(id, second));
            await CallAsync("delete", () => csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}"}"""), GrpcStatusCode.FailedPrecondition);
            await CallAsync("delete snapshot", () => csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}"""));
            await CallAsync(
                "delete group", () => csi.CallAsync("GroupController", "DeleteVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{(string)group["group_snapshot_id"]!}}"}"""));

            // What it was made of is gone, its content is not.
            foreach (string copy in new[] { restored, clone })
            {
                string target = csi.NewTarget();
                await CallAsync("publish copy", () => csi.TryPublishAsync(copy, target));
                await MustReadAsync(content, target);
                await CallAsync("unpublish copy", () => csi.TryUnpublishAsync(copy, target));
                await CallAsync("delete copy", () => csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{copy}}"}"""), GrpcStatusCode.FailedPrecondition);
            }
            return step;
        }

        public override string ToString() =>
            $"{sequence + 1} sequences; killed: {string.Join(", ", killed.Select(pair => $"{pair.Value} {pair.Key}"))}; "
            + $"calls that were tried again: {string.Join(", ", failed.Select(pair => $"{pair.Value} {pair.Key}"))}";

        private void Begin(int number)
        {
            sequence = number;
            step = 0;
        }

        private Task<CsiAnswer> CreateAsync(string name, string more) => csi.CallAsync(
            "Controller",
            "CreateVolume",
            $$"""{"name": "{{name}}", "volume_capabilities": [{{CsiCluster.Shared}}], "capacity_range": {"required_bytes": {{64 << 20}}} {{more}}}""");

        private static string VolumeId(CsiAnswer made) => (string)made.Ok()["volume"]!["volume_id"]!;

        /// <summary>Writes a file that outlives the death of whoever has it in memory; returns its content.</summary>
        private async Task<byte[]> WriteAsync(string target)
        {
            byte[] content = new byte[FileBytes];
            random.NextBytes(content);
            await Task.Run(() =>
            {
                using var file = File.Create(Path.Combine(target, "file"));
                file.Write(content);
                file.Flush(flushToDisk: true);
            }).WaitAsync(Patience);
            return content;
        }

        private static async Task MustReadAsync(byte[] content, string target)
        {
            byte[] read = await Task.Run(() => File.ReadAllBytes(Path.Combine(target, "file"))).WaitAsync(Patience);
            Assert.True(read.AsSpan().SequenceEqual(content), $"{target} has other bytes than were written");
        }

        /// <summary>Makes a call until it succeeds, as kubelet and the sidecars do; somebody may die with it.</summary>
        private async Task<CsiAnswer> CallAsync(string what, Func<Task<CsiAnswer>> call, params GrpcStatusCode[] alsoPassing)
        {
            plan.Remove(step++, out var kill);
            if (kill is { Victim.Length: > 0, DelayMs: < 0 })
            {
                await KillAsync(kill.Victim);
            }
            var clock = Stopwatch.StartNew();
            var running = call();
            if (kill is { Victim.Length: > 0, DelayMs: >= 0 })
            {
                await Task.Delay(kill.DelayMs); // a moment that nobody chose; not something that is waited for
                await KillAsync(kill.Victim);
            }
            for (int waitMs = 20; ; waitMs = Math.Min(2 * waitMs, 1000))
            {
                var answer = await running;
                if (answer.Code == GrpcStatusCode.OK)
                {
                    return answer;
                }
                failed[answer.Code] = failed.GetValueOrDefault(answer.Code) + 1;
                string told = $"sequence {sequence}, {what}{(kill.Victim is null ? "" : $", {kill.Victim} killed {(kill.DelayMs < 0 ? "before" : $"after {kill.DelayMs} ms")}")}: {answer.Code}: {answer.Message}";
                Assert.True(Uncertain.Contains(answer.Code) || alsoPassing.Contains(answer.Code), told);
                Assert.True(clock.Elapsed < Patience, $"after {clock.Elapsed.TotalSeconds:0} s still {told}");
                await Task.Delay(waitMs); // as the callers back off
                running = call();
            }
        }

        private async Task KillAsync(string victim)
        {
            ClusterProcess? process = null;
            await UntilAsync(() => (process = ClusterProcess.All(csi.Cluster.State).FirstOrDefault(one => one.Role == victim)) is not null, () => $"no {victim} is started again");
            process!.Kill();
            await UntilAsync(() => ClusterProcess.All(csi.Cluster.State).All(one => one.Pid != process.Pid), () => $"{process} does not die");
            killed[victim] = killed.GetValueOrDefault(victim) + 1;
        }
    }
}
