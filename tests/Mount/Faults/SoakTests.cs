using System.Diagnostics;
using System.Globalization;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>
/// All kinds of programs work on two nodes at once while processes are killed and stopped and a network is cut, at random. The programs check what they read, and
/// see no error; afterwards nothing is left. <c>EPHEMERALFS_SEED</c> repeats a sequence of faults, <c>EPHEMERALFS_SOAK_SECONDS</c> says how long the long run is.
/// </summary>
[Collection(DeathCollection.Name)]
public sealed class SoakTests(ITestOutputHelper output)
{
    /// <summary>A kill that nobody had anything in flight for would show little: it waits until so many operations have no answer.</summary>
    private const int InFlightAtLeast = 1;

    /// <summary>An hour has to have so many kills; what is shorter, its share.</summary>
    private const int KillsInAnHour = 200;

    /// <summary>How long everything may stand still before that is a failure: programs wait 30 s for a server, and this machine may be busy.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

    /// <summary>Longer than a start takes, and the second after which a death is no failure in a row: see RestartBackoff.</summary>
    private static readonly TimeSpan SettledAfter = TimeSpan.FromSeconds(1.6);

    private static readonly (string Workload, Place Where)[] Everything =
    [
        ("fio-psync", Place.First), ("fio-mmap", Place.Second), ("fio-fsync", Place.Second), ("tar", Place.First), ("git", Place.Second), ("sqlite", Place.First),
        (Workload.SqliteOfTwoNodes, Place.First), ("names", Place.Second), ("nodes", Place.First),
        ("tar", Place.Alone), ("git", Place.Alone), ("names", Place.Alone), ("fio-fsync", Place.Alone),
    ];

    private static readonly (string Workload, Place Where)[] Some =
    [
        ("fio-psync", Place.Second), ("tar", Place.First), ("git", Place.Second), (Workload.SqliteOfTwoNodes, Place.First), ("names", Place.Second), ("tar", Place.Alone),
    ];

    /// <summary>Where a workload begins.</summary>
    private enum Place
    {
        /// <summary>In the volume of two nodes, on the first one.</summary>
        First,

        /// <summary>There, on the second one.</summary>
        Second,

        /// <summary>In the volume that only the first node has.</summary>
        Alone,
    }

    [Fact]
    public void A_seed_repeats_its_faults()
    {
        Assert.Equal(FaultPlan.For(7).Take(1000).Select(fault => fault.ToString()), FaultPlan.For(7).Take(1000).Select(fault => fault.ToString()));
        Assert.NotEqual(FaultPlan.For(7).Take(20).Select(fault => fault.ToString()), FaultPlan.For(8).Take(20).Select(fault => fault.ToString()));
        var faults = FaultPlan.For(7).Take(1000).ToArray();
        foreach (string victim in FaultPlan.Victims)
        {
            Assert.Contains(faults, fault => fault.Kind == FaultKind.Kill && fault.Victims.Contains(victim));
            Assert.Contains(faults, fault => fault.Kind == FaultKind.Stop && fault.Victims.Contains(victim));
        }
        Assert.Contains(faults, fault => fault.Kind == FaultKind.Cut);
        Assert.DoesNotContain(faults, fault => fault.Victims.Contains("keeper node-1") && fault.Victims.Contains("node node-1"));
    }

    [Fact]
    public void A_few_faults_at_random() => Run(Some, (faults, _) => faults == 6, killsAtLeast: 1);

    [Fact]
    [Trait("Category", "Soak")]
    public void Faults_at_random_for_an_hour()
    {
        double seconds = double.Parse(Environment.GetEnvironmentVariable("EPHEMERALFS_SOAK_SECONDS") ?? "3600", CultureInfo.InvariantCulture);
        Run(Everything, (_, clock) => clock.TotalSeconds >= seconds, killsAtLeast: (int)(KillsInAnHour * seconds / 3600));
    }

    private void Run((string Workload, Place Where)[] workloads, Func<int, TimeSpan, bool> isEnough, int killsAtLeast)
    {
        int seed = Seed.Choose(output);
        using var cluster = new SoakCluster();
        try
        {
            Run(cluster, workloads, seed, isEnough, killsAtLeast);
        }
        catch
        {
            output.WriteLine($"logs: {cluster.KeepLogs($"soak-{seed}")}");
            throw;
        }
    }

    private void Run(SoakCluster cluster, (string Workload, Place Where)[] workloads, int seed, Func<int, TimeSpan, bool> isEnough, int killsAtLeast)
    {
        string usage = cluster.Usage();
        var inFlight = new List<int>();
        int faults = 0;
        string plain = cluster.NewPlainDirectory("plain");
        string stop = Path.Combine(plain, "stop");
        var programs = new List<Command.Running>();
        var clock = Stopwatch.StartNew();
        string last = "";
        try
        {
            foreach (var (workload, where) in workloads)
            {
                string name = $"{workload}-{where}";
                var (view, other) = where switch
                {
                    Place.First => (cluster.First, cluster.Second),
                    Place.Second => (cluster.Second, cluster.First),
                    _ => (cluster.Alone, cluster.Alone),
                };
                string directory = Directory.CreateDirectory(Path.Combine(view, name)).FullName;
                programs.Add(Workload.Start(workload, directory, Path.Combine(other, name), Directory.CreateDirectory(Path.Combine(plain, name)).FullName, stop, seconds: 3 * 3600));
            }
            foreach (var fault in FaultPlan.For(seed))
            {
                if (isEnough(faults, clock.Elapsed) || programs.Exists(program => program.Process.HasExited))
                {
                    break;
                }
                last = $"fault {++faults} of seed {seed}, at {clock.Elapsed.TotalSeconds:0} s: {fault}";
                Thread.Sleep(fault.PauseMs); // a moment that nobody chose; not something that is waited for
                Do(fault, cluster, inFlight);
            }
            File.WriteAllText(stop, "");
            var results = programs.ConvertAll(program => program.Wait());
            Assert.All(results, result => Assert.True(result.ExitCode == 0 && !result.TimedOut, $"after {last}\n{result.Describe()}"));
        }
        finally
        {
            programs.ForEach(program => program.Dispose());
            output.WriteLine($"{faults} faults in {clock.Elapsed.TotalSeconds:0} s, {inFlight.Count} kills; operations in flight at a kill: "
                + (inFlight.Count == 0 ? "none" : $"{inFlight.Min()} at least, {inFlight.Average():0.0} on average, {inFlight.Max()} at most; last {last}"));
        }
        Assert.True(inFlight.Count >= killsAtLeast, $"{inFlight.Count} kills instead of {killsAtLeast}");
        Assert.True(inFlight.All(count => count >= InFlightAtLeast));

        foreach (string name in (IEnumerable<string>)[.. Directory.EnumerateFileSystemEntries(cluster.First), .. Directory.EnumerateFileSystemEntries(cluster.Alone)])
        {
            Directory.Delete(name); // each round has left its directory empty, or this fails
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(cluster.Second));
        WaitUntil(cluster, "the cluster is healthy", () => cluster.Status().Output.Contains("\"healthy\": true", StringComparison.Ordinal));
        WaitUntil(cluster, $"the volumes are as empty as before: {usage}", () => cluster.Usage() == usage);
    }

    private static void Do(Fault fault, SoakCluster cluster, List<int> inFlight)
    {
        if (fault.Kind != FaultKind.Kill)
        {
            // Several that silence a node one after the other may together be longer than a session's time-out.
            cluster.AwaitAnswers();
        }
        switch (fault.Kind)
        {
            case FaultKind.Kill:
                // The only one that has a mount takes it away with it: see FaultPlan.Victims.
                WaitUntil(cluster, $"everybody lives: {fault}", () => fault.Victims.All(one => Find(cluster, one) is { } process && process.Age() > SettledAfter
                    && (process.Role is not ("node" or "keeper") || cluster.IsHeldTwice(process.Name))));
                var victims = fault.Victims.Select(victim => Find(cluster, victim)!).ToArray();
                int count = 0;
                WaitUntil(cluster, $"{InFlightAtLeast} operations are in flight", () => (count = cluster.InFlight()) >= InFlightAtLeast, betweenMs: 0);
                Array.ForEach(victims, victim => victim.Kill());
                inFlight.Add(count);
                WaitUntil(cluster, $"started again after {fault}", () => victims.All(victim => cluster.Living(victim.Role).Any(process => process.Name == victim.Name && process.Pid != victim.Pid)));
                break;
            case FaultKind.Stop:
                WaitUntil(cluster, $"everybody lives: {fault}", () => Find(cluster, fault.Victims[0]) is not null);
                var stopped = Find(cluster, fault.Victims[0])!;
                Cli.Signals.Send(stopped.Pid, Cli.Signals.Stop);
                Thread.Sleep(fault.LengthMs); // the fault itself
                Cli.Signals.Send(stopped.Pid, Cli.Signals.Continue);
                break;
            default:
                cluster.Network.Cut();
                Thread.Sleep(fault.LengthMs);
                cluster.Network.Mend();
                break;
        }
    }

    /// <summary>The process that a plan names.</summary>
    private static ClusterProcess? Find(SoakCluster cluster, string victim)
    {
        string[] parts = victim.Split(' ');
        // The controller is the only one of its kind, whatever its name.
        return cluster.Living(parts[0]).FirstOrDefault(process => parts[0] == "controller" || process.Name == parts[1]);
    }

    private static void WaitUntil(SoakCluster cluster, string what, Func<bool> condition, int betweenMs = 20)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Patience, clock.Elapsed < Patience ? "" : $"not within {Patience.TotalSeconds} s: {what}\n{cluster.Status().Describe()}");
            Thread.Sleep(betweenMs);
        }
    }
}
