using System.Diagnostics;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>A cluster with two nodes whose processes are killed, at any moment or at one of their kill points.</summary>
public sealed class FaultCluster : IDisposable
{
    public const string FirstNode = "node-1";
    public const string SecondNode = "b";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Longer than a start takes, and the second after which a death is no failure in a row: see RestartBackoff.</summary>
    private static readonly TimeSpan SettledAfter = TimeSpan.FromSeconds(1.6);

    private readonly TestCluster cluster;
    private int counter;

    public FaultCluster()
    {
        Tool.Require("fio", "tar", "git", "sqlite3");
        // The kill points of the second node have a directory of their own, so that a test can tell which node dies.
        string points = Directory.CreateTempSubdirectory("efskill").FullName;
        Points = points;
        Directory.CreateDirectory(PointsOf(SecondNode));
        cluster = new TestCluster("efsflt", new Dictionary<string, string> { [KillPoint.Variable] = "@" + points });
        try
        {
            Second = cluster.MakeDirectory("b");
            cluster.Mount(Second, SecondNode, new Dictionary<string, string> { [KillPoint.Variable] = "@" + PointsOf(SecondNode) });
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The volume through the first node.</summary>
    public string First => cluster.First;

    /// <summary>The volume through the second node.</summary>
    public string Second { get; } = "";

    private string Points { get; }

    /// <summary>A new name for a directory of a test.</summary>
    public string NewName(string name) => $"{name}-{Interlocked.Increment(ref counter)}";

    /// <summary>A new directory outside of the volume.</summary>
    public string NewPlainDirectory() => cluster.MakeDirectory(NewName("plain"));

    /// <summary>The file that arms a kill point: of the second node, or of all other processes.</summary>
    public string PointFile(string point, string node = FirstNode) => Path.Combine(PointsOf(node), point);

    /// <summary>Lets the next process die that comes by the point.</summary>
    public void Arm(string point, string node = FirstNode)
    {
        File.Delete(PointFile(point, node) + KillPoint.HitSuffix);
        File.WriteAllText(PointFile(point, node), "");
    }

    /// <summary>Takes the arming back; whether a process had died of it.</summary>
    public bool Disarm(string point, string node = FirstNode)
    {
        File.Delete(PointFile(point, node));
        return WasHit(point, node);
    }

    /// <summary>Whether a process died at the point since it was armed.</summary>
    public bool WasHit(string point, string node = FirstNode) => File.Exists(PointFile(point, node) + KillPoint.HitSuffix);

    /// <summary>The processes of a role.</summary>
    internal IReadOnlyList<ClusterProcess> Find(string role) => [.. ClusterProcess.All(cluster.State).Where(process => process.Role == role)];

    /// <summary>Waits until the processes of a role have lived long enough that the next death is answered at once again.</summary>
    public void Settle(string role) => WaitUntil($"every {role} has lived for a while", () => Find(role) is { Count: > 0 } all && all.All(process => process.Age() > SettledAfter));

    /// <summary>Waits until something is so; a failed test with its description, and what the cluster says, when it does not come.</summary>
    public void WaitUntil(string what, Func<bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Patience, $"not within {Patience.TotalSeconds} s: {what}\n{(clock.Elapsed < Patience ? "" : Status().Describe())}");
            Thread.Sleep(20);
        }
    }

    /// <summary>Waits until everything that belongs to the cluster runs and answers again.</summary>
    public void MustRecover()
    {
        foreach (string file in Directory.EnumerateFiles(Points, "*", SearchOption.AllDirectories))
        {
            File.Delete(file);
        }
        WaitUntil("the cluster is healthy", () => Status().Output.Contains("\"healthy\": true", StringComparison.Ordinal));
        Assert.Equal(
            ["controller", "keeper", "keeper", "metadata", "node", "node", "storage", "storage", "up"],
            ClusterProcess.All(cluster.State).Select(process => process.Role).Order());
    }

    public void Dispose()
    {
        cluster.Dispose();
        Assert.Empty(ClusterProcess.All(cluster.State));
        Directory.Delete(Points, recursive: true);
    }

    private CommandResult Status() => cluster.Program(60, "status", "--json").Run();

    private string PointsOf(string node) => node == FirstNode ? Points : Path.Combine(Points, node);
}

[CollectionDefinition(Name)]
public sealed class FaultCollection : ICollectionFixture<FaultCluster>
{
    public const string Name = "faults";
}
