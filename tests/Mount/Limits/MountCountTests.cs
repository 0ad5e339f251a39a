using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>Many mounts in one daemon, and mounts that come and go.</summary>
[Collection(LimitCollection.Name)]
public sealed class MountCountTests(ITestOutputHelper output)
{
    private const int Idle = 100;
    private const int IdleMiB = 150;

    /// <summary>Each session is renewed every five seconds, which wakes a few threads; a timer for each mount that ticks several times a second would be beyond.</summary>
    private const int WaitsPerMountAndSecond = 2;

    private const int WatchedSeconds = 5;

    [Fact]
    public void A_hundred_idle_mounts_cost_next_to_nothing()
    {
        using var cluster = new LimitCluster();
        string[] mounts = [.. Enumerable.Range(0, Idle - 1).Select(_ => cluster.Mount()), cluster.First];
        for (int i = 0; i < mounts.Length; i++)
        {
            // Each has worked: a name, a small file, and one that goes to the storage servers.
            File.WriteAllText(Path.Combine(mounts[i], $"small-{i}"), "text");
            File.WriteAllBytes(Path.Combine(mounts[i], $"large-{i}"), new byte[100_000]);
            Assert.Equal("text", File.ReadAllText(Path.Combine(mounts[i], $"small-{i}")));
        }

        // The runtime still compiles what has just been used; then all of them come to rest.
        var after = cluster.Costs();
        var before = after;
        LimitCluster.WaitUntil(
            () =>
            {
                before = after;
                Thread.Sleep(TimeSpan.FromSeconds(WatchedSeconds)); // the span of time that is looked at
                after = cluster.Costs();
                return after.All(cost => Waits(cost.Key) < Idle * WaitsPerMountAndSecond * WatchedSeconds);
            },
            () => $"nobody is woken more than {WaitsPerMountAndSecond} times a second for each mount: {string.Join(", ", after.Keys.Select(name => $"{name} {Waits(name)} in {WatchedSeconds} s"))}");
        foreach (var (name, cost) in after)
        {
            output.WriteLine($"{name}: {cost.Bytes / ProcessCost.MiB} MiB, {cost.Threads} threads, {cost.Descriptors} descriptors; in {WatchedSeconds} s {cost.CpuMs - before[name].CpuMs} ms of processor time, {Waits(name)} waits");
            Assert.True(cost.Bytes < IdleMiB * ProcessCost.MiB, $"{name} with {Idle} mounts: {cost.Bytes / ProcessCost.MiB} MiB");
        }

        Assert.Equal(Idle, cluster.Metric("node", "ephemeralfs_node_mounts"));
        foreach (string mount in mounts.SkipLast(1))
        {
            cluster.Unmount(mount);
        }

        long Waits(string name) => after[name].Wakeups - before[name].Wakeups;
    }

    [Fact]
    public void Mounts_come_and_go_without_a_trace() => ComeAndGo(50);

    [Fact]
    [Trait("Category", "Soak")]
    public void Five_hundred_mounts_come_and_go_without_a_trace() => ComeAndGo(500);

    private void ComeAndGo(int mounts)
    {
        // What a runtime takes for itself in its first minutes (code, pools, heap) is no leak; more than that, for each mount, is one.
        const int WarmUp = 20;
        const long SlackBytes = 16 * ProcessCost.MiB;
        const long BytesPerMount = 16 << 10;
        // Blocks that were written stay in the read cache for other mounts of the volume.
        using var cluster = new LimitCluster(new Dictionary<string, string> { ["EPHEMERALFS_READ_CACHE"] = "4M" });
        Repeat(WarmUp);
        // The first question for metrics loads code of its own.
        double sessions = cluster.Metric("metadata", "ephemeralfs_metadata_sessions");
        Assert.Equal(1, cluster.Metric("node", "ephemeralfs_node_mounts"));
        var before = cluster.Costs();
        Repeat(mounts);
        LimitCluster.WaitUntil(
            () => cluster.Costs().All(now => now.Value.Threads <= before[now.Key].Threads + 8 && now.Value.Descriptors <= before[now.Key].Descriptors + 8),
            () => $"as many threads and descriptors as before:\n{string.Join('\n', before)}\nthen:\n{string.Join('\n', cluster.Costs())}\n"
                + string.Join('\n', new[] { "node", "metadata" }.Select(role => $"{role}: {ProcessCost.DescribeDescriptors(cluster.Process(role))}")));
        Assert.Equal(sessions, cluster.Metric("metadata", "ephemeralfs_metadata_sessions"));
        Assert.Equal(1, cluster.Metric("node", "ephemeralfs_node_mounts"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(cluster.First));
        foreach (var (name, cost) in cluster.Costs())
        {
            output.WriteLine($"{name}: {before[name]} and after {mounts} mounts {cost}");
            Assert.True(cost.Bytes - before[name].Bytes < SlackBytes + (mounts * BytesPerMount), $"{name} grew by {(cost.Bytes - before[name].Bytes) / 1024} KiB over {mounts} mounts");
        }

        void Repeat(int count)
        {
            for (int i = 0; i < count; i++)
            {
                string mount = cluster.Mount();
                File.WriteAllBytes(Path.Combine(mount, "file"), new byte[100_000]);
                Assert.Equal(100_000, new FileInfo(Path.Combine(mount, "file")).Length);
                File.Delete(Path.Combine(mount, "file"));
                cluster.Unmount(mount);
            }
        }
    }
}
