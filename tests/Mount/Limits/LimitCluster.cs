using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.Tests.Mount.Faults;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>A cluster of a test's own whose processes are watched, with as many mounts as wanted through its one node daemon.</summary>
internal sealed class LimitCluster : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly HttpClient http = new();
    private readonly Dictionary<string, Uri> metrics = [];
    private readonly TestCluster cluster;
    private readonly RpcClient daemon;
    private int counter;

    public LimitCluster(IReadOnlyDictionary<string, string>? environment = null, params string[] upOptions)
    {
        cluster = new TestCluster("efslim", environment, upOptions);
        daemon = new RpcClient(Endpoint.Unix(Path.Combine(cluster.State, "nodes", "node-1", "node.sock")));
    }

    /// <summary>A mount that is always there.</summary>
    public string First => cluster.First;

    public string Home => cluster.Home;

    /// <summary>The only process of a role, or all of them.</summary>
    public ClusterProcess Process(string role) => Processes(role).Single();

    public IReadOnlyList<ClusterProcess> Processes(string role) => [.. ClusterProcess.All(cluster.State).Where(process => process.Role == role)];

    /// <summary>Every process of the cluster but the supervisor, by its role and name.</summary>
    public SortedDictionary<string, ProcessCost> Costs() =>
        new(ClusterProcess.All(cluster.State).Where(process => process.Role != "up").ToDictionary(process => $"{process.Role} {process.Name}", ProcessCost.Of), StringComparer.Ordinal);

    /// <summary>Mounts volume tmp through the daemon.</summary>
    public string Mount()
    {
        string directory = cluster.MakeDirectory($"m{++counter}");
        var mounted = daemon.CallAsync<MountRequest, MountStatus>(new("tmp", directory, "")).AsTask().GetAwaiter().GetResult();
        Assert.True(mounted.IsOk, $"{directory}: {mounted.Status}");
        return directory;
    }

    /// <summary>Unmounts; when it returns the daemon has committed everything and the session has ended.</summary>
    public void Unmount(string directory)
    {
        var unmounted = daemon.CallAsync<UnmountRequest, Empty>(new(directory, Lazy: false)).AsTask().GetAwaiter().GetResult();
        Assert.True(unmounted.IsOk, $"{directory}: {unmounted.Status}");
        Directory.Delete(directory);
    }

    /// <summary>A metric of a role, its labels added up.</summary>
    /// <param name="role">Whose.</param>
    /// <param name="name">Its name.</param>
    /// <param name="chosen">Which labels count; all by default.</param>
    public double Metric(string role, string name, Predicate<string>? chosen = null)
    {
        return http.GetStringAsync(Metrics(role)).GetAwaiter().GetResult().Split('\n')
            .Where(line => line.StartsWith(name, StringComparison.Ordinal) && line[name.Length..] is ['{' or ' ', ..])
            .Select(line => (Labels: line[name.Length..line.LastIndexOf(' ')], Value: double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture)))
            .Where(metric => chosen is null || chosen(metric.Labels))
            .Sum(metric => metric.Value);
    }

    private Uri Metrics(string role)
    {
        if (!metrics.TryGetValue(role, out var address))
        {
            // A role tells where they are with its first heartbeat.
            string found = "";
            WaitUntil(() => (found = Find()).Length > 0, () => $"no metrics of {role}");
            metrics[role] = address = new Uri(new Uri(found), "/metrics");
        }
        return address;

        string Find()
        {
            using var status = JsonDocument.Parse(cluster.Program(60, "status", "--json").Run().MustSucceed());
            return status.RootElement.GetProperty("roles").EnumerateArray().First(entry => entry.GetProperty("role").GetString() == role).GetProperty("metrics").GetString()!;
        }
    }

    /// <summary>Waits until something is so.</summary>
    public static void WaitUntil(Func<bool> condition, Func<string> otherwise)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Patience, clock.Elapsed < Patience ? "" : $"not within {Patience.TotalSeconds} s: {otherwise()}");
            Thread.Sleep(50); // only paces the looking
        }
    }

    /// <summary>The cluster and a client of its own.</summary>
    public void Dispose()
    {
        daemon.Dispose();
        http.Dispose();
        cluster.Dispose();
    }
}

/// <summary>One after the other: each starts a cluster and looks at what it costs.</summary>
[CollectionDefinition(Name)]
public sealed class LimitCollection
{
    public const string Name = "limits";
}
