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
            // Once without faults: what stays is not a leak.
            await run.InlineAsync(-1);
            await run.PersistentAsync(-1);
            var before = State(csi);
            int sockets = Sockets(csi);
            for (int i = 0; i < sequences; i++)
            {
                run.Plan(i % 2 == 0 ? 4 : 12);
                await (i % 2 == 0 ? run.InlineAsync(i) : run.PersistentAsync(i));
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

    /// <summary>Volumes, mounts, and bytes that storage servers hold.</summary>
    private static string State(CsiCluster csi)
    {
        var status = csi.Cluster.Program(60, "status", "--json").Run();
        string used = status.ExitCode == 0
            ? string.Join(' ', JsonNode.Parse(status.Output)!["tiers"]!.AsArray().Select(tier => tier!["usedBytes"]!.ToString()))
            : $"exit code {status.ExitCode}";
        return $"volumes: {string.Join(' ', csi.Volumes())}; mounts: {string.Join(' ', csi.Mounts())}; bytes: {used}";
    }

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
        private readonly Dictionary<string, int> killed = [];
        private readonly Dictionary<GrpcStatusCode, int> failed = [];
        private readonly SortedDictionary<int, (string Victim, int DelayMs)> plan = [];
        private int step;
        private int sequence;

        /// <summary>Chooses who dies at which steps of the next sequence: before the call, or so many ms after its begin.</summary>
        public void Plan(int steps)
        {
            plan.Clear();
            for (int kills = random.Next(1, 4); kills > 0; kills--)
            {
                plan[random.Next(steps)] = (Victims[random.Next(Victims.Length)], random.Next(3) == 0 ? -1 : random.Next(40));
            }
        }

        /// <summary>A pod with an inline volume.</summary>
        public async Task InlineAsync(int number)
        {
            Begin(number);
            string id = $"csi-kill{number.ToString("x60", CultureInfo.InvariantCulture)}", target = csi.NewTarget();
            await CallAsync("publish", () => csi.TryPublishAsync(id, target, context: Ephemeral));
            await WriteAsync(target);
            await CallAsync("stats", () => csi.CallAsync("Node", "NodeGetVolumeStats", $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}"""));
            await CallAsync("unpublish", () => csi.TryUnpublishAsync(id, target));
            Assert.False(Path.Exists(target));
        }

        /// <summary>A claim that is made, used by two pods, copied, enlarged, and deleted.</summary>
        public async Task PersistentAsync(int number)
        {
            Begin(number);
            string name = $"pvc-kill-{number}", first = csi.NewTarget(), second = csi.NewTarget();
            string id = (string)(await CallAsync("create", () => CreateAsync(name, ""))).Ok()["volume"]!["volume_id"]!;
            await CallAsync("publish", () => csi.TryPublishAsync(id, first));
            await WriteAsync(first);
            await CallAsync("publish again", () => csi.TryPublishAsync(id, second, isReadOnly: true));
            Assert.Equal("written", await Task.Run(() => File.ReadAllText(Path.Combine(second, "file"))).WaitAsync(Patience));
            string snapshot = (string)(await CallAsync("snapshot", () => csi.CallAsync("Controller", "CreateSnapshot", $$"""{"name": "{{name}}-s", "source_volume_id": "{{id}}"}""")))
                .Ok()["snapshot"]!["snapshot_id"]!;
            string copy = (string)(await CallAsync("restore", () => CreateAsync(name + "-c", $$$""", "volume_content_source": {"snapshot": {"snapshot_id": "{{{snapshot}}}"}}""")))
                .Ok()["volume"]!["volume_id"]!;
            await CallAsync("delete snapshot", () => csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}"""));
            await CallAsync("expand", () => csi.CallAsync("Controller", "ControllerExpandVolume", $$$"""{"volume_id": "{{{id}}}", "capacity_range": {"required_bytes": 134217728}}"""));
            await CallAsync("unpublish", () => csi.TryUnpublishAsync(id, first));
            await CallAsync("unpublish again", () => csi.TryUnpublishAsync(id, second));
            await CallAsync("delete", () => csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}"}"""), GrpcStatusCode.FailedPrecondition);
            await CallAsync("delete copy", () => csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{copy}}"}"""), GrpcStatusCode.FailedPrecondition);
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

        private Task WriteAsync(string target) => Task.Run(() => File.WriteAllText(Path.Combine(target, "file"), "written")).WaitAsync(Patience);

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
            killed[victim] = killed.GetValueOrDefault(victim) + 1;
        }
    }
}
