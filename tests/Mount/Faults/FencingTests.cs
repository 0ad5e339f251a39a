using System.Diagnostics;
using System.Globalization;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>
/// Nodes whose sessions the server ends while they live: stopped, cut off. The others go on without waiting for them for longer than the time-out, nothing that the
/// node had begun reaches the volume later, it says what was lost, and the mount goes on by itself.
/// </summary>
[Collection(DeathCollection.Name)]
public sealed class FencingTests
{
    private const string Victim = "b";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>The server waits 2 s longer than that.</summary>
    private static readonly Dictionary<string, string> ShortSessions = new()
    {
        ["EPHEMERALFS_SESSION_TIMEOUT_MS"] = "2000",
        ["EPHEMERALFS_DEADLINE_MS"] = "10000",
    };

    [Fact]
    public void AStoppedNodeBeginsAnewAndTellsWhatWasLost()
    {
        using var cluster = new TestCluster("efsfnc", ShortSessions);
        string second = cluster.MakeDirectory("b");
        cluster.Mount(second, Victim, ShortSessions);
        string here = Directory.CreateDirectory(Path.Combine(cluster.First, "d")).FullName, there = Path.Combine(second, "d");
        using var other = new Talker(here);
        using var victim = new Talker(there);
        using var waiter = new Talker(there);
        // Of one file bytes that were written and not committed, and a lock; of another one a mapping; a file without a name; and a lock that is waited for.
        victim.Do("keep(f=os.open('file', os.O_RDWR|os.O_CREAT)), os.write(f, b'committed'), os.fsync(f), fcntl.flock(f, fcntl.LOCK_EX)");
        victim.Do("keep(m=os.open('mapped', os.O_RDWR|os.O_CREAT)), os.ftruncate(m, 8192), keep(map=mmap.mmap(m, 8192)), os.fsync(m)");
        victim.Do("keep(gone=os.open('gone', os.O_RDWR|os.O_CREAT)), os.write(gone, b'nameless'), os.unlink('gone')");
        victim.Do("keep(r=os.open('locked', os.O_RDWR|os.O_CREAT)), fcntl.lockf(r, fcntl.LOCK_EX, 10)");
        other.Do("keep(c=os.open('contended', os.O_RDWR|os.O_CREAT)), fcntl.flock(c, fcntl.LOCK_EX)");
        waiter.Do("keep(c=os.open('contended', os.O_RDWR))");
        int waiting = waiter.Begin("fcntl.flock(c, fcntl.LOCK_EX)");
        using var shell = new Command(there, 120, "/bin/bash", "-c", $"echo go; until [ -e {cluster.Home}/stop ]; do echo text > new && mv new kept; done 2>> {cluster.Home}/errors; echo end > ended").Start();
        shell.WaitForOutput("go");
        Assert.Equal("9", victim.Do("os.pwrite(f, b'unwritten', 4096)"));
        victim.Do("map.__setitem__(slice(0, 9), b'unwritten')");

        var node = Node(cluster, Victim);
        node.Stop();
        Assert.Equal("None", other.Do("keep(f=os.open('file', os.O_RDWR)) or fcntl.flock(f, fcntl.LOCK_EX)"));
        Assert.Equal("None", other.Do("keep(r=os.open('locked', os.O_RDWR)) or fcntl.lockf(r, fcntl.LOCK_EX, 10)"));
        Assert.Equal("(6, 6, 0)", other.Do("os.pwrite(f, b'theirs', 0), os.pwrite(os.open('mapped', os.O_RDWR), b'theirs', 0), os.fsync(f) or 0"));
        node.Continue();
        MustBeginAnew(second);

        // Nothing works through what was opened before but closing it, and locks that were lost are not there.
        foreach (string call in new[]
        {
            "os.pread(f, 10, 0)", "os.pwrite(f, b'late', 0)", "os.fsync(f)", "os.ftruncate(f, 0)", "fcntl.flock(f, fcntl.LOCK_EX)", "fcntl.flock(f, fcntl.LOCK_UN)",
            "fcntl.lockf(r, fcntl.LOCK_EX, 10)", "fcntl.lockf(r, fcntl.LOCK_UN, 10)", "os.pread(gone, 8, 0)", "map.flush()",
        })
        {
            Assert.Equal("EIO", victim.Do(call));
        }
        Assert.Equal("EIO", waiter.Answer(waiting));
        // What was mapped is not shown any more: SIGBUS.
        Assert.Equal("-7", victim.Do("child(lambda: map[0])"));

        // What is opened now is what the others have made of it, and they are told apart.
        Assert.Equal("b'theirs'", victim.Do("keep(n=os.open('file', os.O_RDWR)) or os.pread(n, 6, 0)"));
        Assert.Equal("EAGAIN", victim.Do("fcntl.flock(n, fcntl.LOCK_EX | fcntl.LOCK_NB)"));
        Assert.Equal("b'theirs'", victim.Do("keep(l=os.open('mapped', os.O_RDWR)) or os.pread(l, 6, 0)"));
        Assert.Equal("b'theirs'", victim.Do("mmap.mmap(l, 8192)[0:6]"));
        Assert.Equal("None", other.Do("fcntl.flock(f, fcntl.LOCK_UN)"));
        Assert.Equal("None", victim.Do("fcntl.flock(n, fcntl.LOCK_EX)"));
        Assert.Matches("^(None|EIO)$", victim.Do("os.close(f)"));
        Assert.Matches("^(None|EIO)$", victim.Do("os.close(m)"));
        Assert.Equal("EAGAIN", other.Do("fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"));
        Assert.Equal("10", victim.Do("os.pwrite(n, b'once again', 0) + (os.fsync(n) or 0)"));
        Assert.Equal("b'once again'", other.Do("os.pread(f, 10, 0)"));
        Assert.Equal("b'theirs'", other.Do("os.pread(os.open('mapped', os.O_RDONLY), 6, 0)"));

        // A program that uses paths only has gone on, in the directory where it was.
        File.WriteAllText(Path.Combine(cluster.Home, "stop"), "");
        shell.Wait().MustSucceed();
        Assert.Equal("end\n", File.ReadAllText(Path.Combine(here, "ended")));

        MustTell(cluster, second, Victim, files: 3, "file", "mapped", "gone");

        // A new daemon knows all of it.
        node.Kill();
        Assert.Equal("EIO", victim.Do("os.pread(r, 10, 0)"));
        Assert.Equal("b'once again'", victim.Do("os.pread(n, 10, 0)"));
        MustTell(cluster, second, Victim, files: 3, "file", "mapped", "gone");
        WaitUntil("the cluster is healthy", () => cluster.Program(60, "status", "--json").Run().Output.Contains("\"healthy\": true", StringComparison.Ordinal));
    }

    /// <summary>The successor of a daemon that did not live to see it finds that the session has ended.</summary>
    [Fact]
    public void ADaemonThatDiesMeanwhileLeavesItToItsSuccessor()
    {
        using var cluster = new TestCluster("efsfnc", ShortSessions);
        string second = cluster.MakeDirectory("b");
        cluster.Mount(second, Victim, ShortSessions);
        using var victim = new Talker(second);
        using var other = new Talker(cluster.First);
        victim.Do("keep(f=os.open('file', os.O_RDWR|os.O_CREAT)), os.fsync(f), fcntl.flock(f, fcntl.LOCK_EX), os.write(f, b'unwritten')");
        var node = Node(cluster, Victim);
        node.Stop();
        int blocked = victim.Begin("os.open('late', os.O_RDWR|os.O_CREAT)");
        Assert.Equal("6", other.Do("keep(f=os.open('file', os.O_RDWR)) or fcntl.flock(f, fcntl.LOCK_EX) or os.write(f, b'theirs')"));
        node.Kill();
        // What the dead one had not read is answered by the new one: under one session or the other.
        Assert.Matches("^(EIO|[0-9]+)$", victim.Answer(blocked));
        MustBeginAnew(second);
        Assert.Equal("EIO", victim.Do("os.pread(f, 10, 0)"));
        Assert.Equal("b'theirs'", victim.Do("os.pread(os.open('file', os.O_RDONLY), 10, 0)"));
        MustTell(cluster, second, Victim, files: 1, "file");
    }

    [Fact]
    public void ANodeThatIsCutOffGoesOnOrBeginsAnew()
    {
        using var network = new NetworkOfItsOwn();
        using var cluster = new TestCluster("efsfnc", ShortSessions, "--listen", $"tcp:{network.Outside}:0");
        string second = cluster.MakeDirectory("b");
        cluster.MountIn(network, second, Victim, ShortSessions);
        using var other = new Talker(cluster.First);
        using var victim = new Talker(second);
        victim.Do("keep(f=os.open('file', os.O_RDWR|os.O_CREAT)), os.write(f, b'first'), os.fsync(f), fcntl.flock(f, fcntl.LOCK_EX), os.write(f, b' second')");

        // For less than the time-out: programs wait, and nothing is lost.
        network.Cut();
        int waiting = victim.Begin("os.fsync(f)");
        Assert.Equal("5", other.Do("os.stat('file').st_size"));
        network.Mend();
        Assert.Equal("None", victim.Answer(waiting));
        Assert.Equal("b'first second'", other.Do("os.pread(os.open('file', os.O_RDONLY), 20, 0)"));
        Assert.Equal("EAGAIN", other.Do("fcntl.flock(os.open('file', os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)"));
        Assert.StartsWith("# sessions ended: 0, files: 0, bytes: 0\n", File.ReadAllText(Path.Combine(second, ".lost")), StringComparison.Ordinal);

        // For longer. It hears nothing of what the others do, and does not pretend to know.
        using var reader = new Talker(second);
        victim.Do("keep(own=os.open('own', os.O_RDWR|os.O_CREAT)), os.write(own, b'committed'), os.fsync(own), os.pwrite(own, b'unwritten', 0)");
        Assert.Equal("b'unwritten'", reader.Do("keep(own=os.open('own', os.O_RDONLY)) or os.pread(own, 9, 0)"));
        network.Cut();
        waiting = victim.Begin("os.open('file', os.O_RDONLY)");
        Assert.Equal("6", other.Do("keep(f=os.open('file', os.O_RDWR)) or fcntl.flock(f, fcntl.LOCK_EX) or os.write(f, b'theirs')"));
        Assert.Equal("6", other.Do("os.write(os.open('own', os.O_RDWR), b'theirs')"));
        Assert.Equal("EIO", reader.Do("os.pread(own, 9, 0)"));
        Assert.Equal("EIO", victim.Answer(waiting));
        network.Mend();
        MustBeginAnew(second);
        Assert.Equal("EIO", victim.Do("os.pread(own, 9, 0)"));
        Assert.Equal("b'theirsted'", victim.Do("os.pread(os.open('own', os.O_RDONLY), 20, 0)"));
        Assert.Equal("b'theirssecond'", victim.Do("os.pread(os.open('file', os.O_RDWR), 20, 0)"));
        MustTell(cluster, second, Victim, files: 1, "own");
    }

    /// <summary>TCP waits twice as long from try to try: after fourteen seconds of silence it would next be heard of after twenty-five, when the session has expired.</summary>
    [Fact]
    public void ANodeIsHeardSoonAfterACut()
    {
        using var network = new NetworkOfItsOwn();
        using var cluster = new TestCluster("efsfnc", null, "--listen", $"tcp:{network.Outside}:0");
        string second = cluster.MakeDirectory("b");
        cluster.MountIn(network, second, Victim);
        using var other = new Talker(cluster.First);
        using var victim = new Talker(second);
        victim.Do("keep(f=os.open('file', os.O_RDWR|os.O_CREAT)), os.fsync(f), os.write(f, b'waits')");
        network.Cut();
        int waiting = victim.Begin("os.fsync(f)");
        Thread.Sleep(14_000); // the fault itself
        network.Mend();
        Assert.Equal("None", victim.Answer(waiting));
        Assert.Equal("b'waits'", other.Do("os.pread(os.open('file', os.O_RDONLY), 20, 0)"));
        Assert.StartsWith("# sessions ended: 0, files: 0, bytes: 0\n", File.ReadAllText(Path.Combine(second, ".lost")), StringComparison.Ordinal);
    }

    /// <summary>Everything that two nodes hold is held by the server that comes after, and the nodes need not notice.</summary>
    [Fact]
    public void AMetadataServerThatComesBackKnowsWhoHoldsWhat()
    {
        using var cluster = new TestCluster("efsfnc", ShortSessions);
        string second = cluster.MakeDirectory("b");
        cluster.Mount(second, Victim, ShortSessions);
        using var one = new Talker(cluster.First);
        using var two = new Talker(second);
        one.Do("keep(f=os.open('one', os.O_RDWR|os.O_CREAT)), fcntl.flock(f, fcntl.LOCK_EX), os.write(f, b'dirty')");
        two.Do("keep(f=os.open('two', os.O_RDWR|os.O_CREAT)), fcntl.lockf(f, fcntl.LOCK_EX, 10), os.write(f, b'dirty')");
        two.Do("keep(gone=os.open('gone', os.O_RDWR|os.O_CREAT)), os.write(gone, b'nameless'), os.fsync(gone), os.unlink('gone')");
        one.Do("os.mkdir('names'), [os.close(os.open(f'names/{i}', os.O_CREAT)) for i in range(50)]");
        Assert.Equal("50", two.Do("len([os.stat(f'names/{i}') for i in range(50)])"));
        using var waiter = new Talker(cluster.First);
        int waiting = waiter.Begin("keep(g=os.open('two', os.O_RDWR)) or fcntl.lockf(g, fcntl.LOCK_EX, 10)");

        ClusterProcess.All(cluster.State).Single(process => process.Role == "metadata").Kill();
        two.Do("[os.unlink(f'names/{i}') for i in range(25)]");
        Assert.Equal("True", one.Do("[i for i in range(50) if os.path.exists(f'names/{i}')] == list(range(25, 50))"));
        Assert.Equal("EAGAIN", two.Do("fcntl.flock(os.open('one', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)"));
        Assert.Equal("b'nameless'", two.Do("os.pread(gone, 8, 0)"));
        Assert.Equal("b'dirty'", two.Do("os.pread(os.open('one', os.O_RDONLY), 5, 0)"));
        two.Do("fcntl.lockf(f, fcntl.LOCK_UN, 10)");
        Assert.Equal("None", waiter.Answer(waiting));
        Assert.Equal("b'dirty'", waiter.Do("os.pread(g, 5, 0)"));
        foreach (string directory in new[] { cluster.First, second })
        {
            Assert.StartsWith("# sessions ended: 0, files: 0, bytes: 0\n", File.ReadAllText(Path.Combine(directory, ".lost")), StringComparison.Ordinal);
        }
    }

    private static ClusterProcess Node(TestCluster cluster, string name) =>
        ClusterProcess.All(cluster.State).Single(process => process.Role == "node" && process.Name == name);

    /// <summary>Waits until the mount has another session.</summary>
    private static void MustBeginAnew(string mount) => WaitUntil(
        "the mount has a new session",
        () =>
        {
            try
            {
                string stats = File.ReadAllText(Path.Combine(mount, ".stats"));
                return stats.Contains("\nsessions_ended: 1\n", StringComparison.Ordinal) && stats.Contains("\nfenced: False\n", StringComparison.Ordinal);
            }
            catch (IOException)
            {
                return false; // a call that began under the session that has ended
            }
        });

    /// <summary>What .lost lists, and that the metrics agree.</summary>
    private static void MustTell(TestCluster cluster, string mount, string node, int files, params string[] names)
    {
        string[] lines = File.ReadAllLines(Path.Combine(mount, ".lost"));
        string[][] records = [.. lines.Where(line => !line.StartsWith('#')).Select(line => line.Split('\t'))];
        Assert.Equal(names.Order(), records.Select(record => Path.GetFileName(record[4].Replace(" (deleted)", "", StringComparison.Ordinal))).Order());
        Assert.All(records, record => Assert.Equal("session-ended", record[3]));
        long bytes = records.Sum(record => long.Parse(record[2], CultureInfo.InvariantCulture));
        Assert.True(bytes > 0);
        Assert.Equal($"# sessions ended: 1, files: {files}, bytes: {bytes}", lines[0]);
        Assert.DoesNotContain(".lost", Directory.EnumerateFileSystemEntries(mount).Select(Path.GetFileName));
        string log = File.ReadAllText(Path.Combine(cluster.State, "logs", $"node-{node}.log"));
        Assert.Contains("the metadata server has ended the session", log, StringComparison.Ordinal);
    }

    private static void WaitUntil(string what, Func<bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Patience, $"not within {Patience.TotalSeconds} s: {what}");
            Thread.Sleep(20);
        }
    }
}
