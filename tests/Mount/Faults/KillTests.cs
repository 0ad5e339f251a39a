namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>
/// Every role is killed while programs work: at random moments, and at each kill point. The programs check their results and see no error,
/// nothing hangs, and the cluster is whole afterwards.
/// </summary>
[Collection(FaultCollection.Name)]
public sealed class KillTests(FaultCluster cluster)
{
    /// <summary>Roles that are killed at any moment.</summary>
    private static readonly string[] Roles = ["controller", "metadata", "storage", "node", "keeper"];

    /// <summary>Kill points, and which workloads come by them.</summary>
    private static readonly Dictionary<string, string[]> Points = new()
    {
        ["node.before-reply"] = [.. Workload.All],
        ["node.before-commit"] = [.. Workload.All],
        ["node.after-commit"] = [.. Workload.All],
        ["node.during-takeover"] = [.. Workload.All],
        ["node.before-notify"] = ["nodes"],
        ["node.after-notify"] = ["nodes"],
        ["metadata.after-apply"] = [.. Workload.All],
        ["metadata.after-journal"] = [.. Workload.All],
        ["metadata.before-reply"] = [.. Workload.All],
        ["storage.after-write"] = ["fio-psync", "fio-mmap", "fio-fsync", "tar", "git"],
        ["storage.before-reply"] = ["fio-psync", "fio-mmap", "fio-fsync", "tar", "git"],
    };

    public static IEnumerable<object[]> EveryRole => Roles.SelectMany(_ => Workload.All, (role, workload) => new object[] { role, workload });

    public static IEnumerable<object[]> EveryPoint => Points.SelectMany(point => point.Value, (point, workload) => new object[] { point.Key, workload });

    [Theory]
    [InlineData("controller", "tar")]
    [InlineData("metadata", "git")]
    [InlineData("metadata", "nodes")]
    [InlineData("metadata", "fio-fsync")]
    [InlineData("storage", "fio-psync")]
    [InlineData("storage", "tar")]
    [InlineData("node", "fio-mmap")]
    [InlineData("node", "git")]
    [InlineData("node", "sqlite")]
    [InlineData("node", "nodes")]
    [InlineData("keeper", "names")]
    public void AtRandomMoments(string role, string workload) => KillAtRandomMoments(role, workload, deaths: 3);

    [Theory]
    [InlineData("node.before-reply", "names")]
    [InlineData("node.before-reply", "sqlite")]
    [InlineData("node.before-commit", "fio-psync")]
    [InlineData("node.after-commit", "tar")]
    [InlineData("node.during-takeover", "fio-mmap")]
    [InlineData("node.before-notify", "nodes")]
    [InlineData("node.after-notify", "nodes")]
    [InlineData("metadata.after-apply", "names")]
    [InlineData("metadata.after-journal", "tar")]
    [InlineData("metadata.before-reply", "nodes")]
    [InlineData("storage.after-write", "git")]
    [InlineData("storage.before-reply", "fio-mmap")]
    public void AtAKillPoint(string point, string workload) => KillAtPoint(point, workload, deaths: 2);

    [Theory]
    [Trait("Category", "Soak")]
    [MemberData(nameof(EveryRole))]
    public void EveryWorkloadAtRandomMoments(string role, string workload) => KillAtRandomMoments(role, workload, deaths: 10);

    [Theory]
    [Trait("Category", "Soak")]
    [MemberData(nameof(EveryPoint))]
    public void EveryWorkloadAtEveryKillPoint(string point, string workload) => KillAtPoint(point, workload, deaths: 5);

    private void KillAtRandomMoments(string role, string workload, int deaths) => During(workload, (running, random) =>
    {
        for (int death = 0; death < deaths && !running.Process.HasExited; death++)
        {
            if (death % 3 == 2)
            {
                cluster.Settle(role);
            }
            // A moment that nobody chose; not something that is waited for.
            Thread.Sleep(random.Next(100, 1200));
            KillOne(role, random, running);
        }
    });

    private void KillAtPoint(string point, string workload, int deaths) => During(workload, (running, random) =>
    {
        for (int death = 0; death < deaths && !running.Process.HasExited; death++)
        {
            cluster.Settle(point[..point.IndexOf('.', StringComparison.Ordinal)]);
            // Either node may come by: the point is armed at both, and one death at least is wanted.
            string[] nodes = point.StartsWith("node.", StringComparison.Ordinal) ? [FaultCluster.FirstNode, FaultCluster.SecondNode] : [FaultCluster.FirstNode];
            Array.ForEach(nodes, node => cluster.Arm(point, node));
            if (point == "node.during-takeover")
            {
                KillOne("node", random, running);
            }
            cluster.WaitUntil($"{workload} comes by {point}", () => running.Process.HasExited || nodes.Any(node => cluster.WasHit(point, node)));
            bool[] hit = [.. nodes.Select(node => cluster.Disarm(point, node))];
            Assert.True(hit.Contains(true) || running.Process.HasExited);
        }
    });

    /// <summary>Runs a workload while <paramref name="harm"/> is done to the cluster, and for the rest of a round after it.</summary>
    private void During(string workload, Action<Command.Running, Random> harm)
    {
        var random = new Random(workload.Length * 7919);
        string name = cluster.NewName(workload);
        string plain = cluster.NewPlainDirectory();
        string stop = Path.Combine(plain, "stop");
        string first = Directory.CreateDirectory(Path.Combine(cluster.First, name)).FullName;
        using (var running = Workload.Start(workload, first, Path.Combine(cluster.Second, name), plain, stop))
        {
            harm(running, random);
            File.WriteAllText(stop, "");
            running.Wait().MustSucceed();
        }
        Directory.Delete(first);
        cluster.MustRecover();
    }

    private void KillOne(string role, Random random, Command.Running running)
    {
        var living = cluster.Find(role);
        Assert.NotEmpty(living);
        var chosen = living[random.Next(living.Count)];
        chosen.Kill();
        cluster.WaitUntil(
            $"{chosen} is started again",
            () => running.Process.HasExited || cluster.Find(role).Any(process => process.Name == chosen.Name && process.Pid != chosen.Pid));
    }
}
