namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>Deaths that cost something, each with a cluster of its own: nobody hangs, and what is left can be taken away or used again.</summary>
[Collection(DeathCollection.Name)]
public sealed class DeathTests
{
    /// <summary>Longer than a request waits for a server that nobody starts again.</summary>
    private const int ProgramSeconds = 90;

    private static readonly Dictionary<string, string> ShortSessions = new() { ["EPHEMERALFS_SESSION_TIMEOUT_MS"] = "3000" };

    [Theory]
    [InlineData("up")]
    [InlineData("up,keeper")]
    [InlineData("keeper,node")]
    [InlineData("up,keeper,node")]
    [InlineData("up,controller,metadata,storage,keeper,node")]
    public void DownTakesAwayWhatIsLeft(string roles) => KillTogether(roles);

    /// <summary>Without a supervisor nobody starts servers again: programs wait for their deadline and get an error.</summary>
    [Theory]
    [Trait("Category", "Soak")]
    [InlineData("up,metadata")]
    [InlineData("up,storage")]
    [InlineData("up,metadata,keeper")]
    [InlineData("up,controller,metadata,storage")]
    public void DownTakesAwayWhatIsLeftOfAClusterWithoutServers(string roles) => KillTogether(roles);

    [Fact]
    public void AMountThatLostKeeperAndDaemonCanBeMadeAgain()
    {
        // The server may not have heard of the close, and then the next open waits for the end of the dead session.
        using var cluster = new TestCluster("efsdead", ShortSessions);
        File.WriteAllText(Path.Combine(cluster.First, "closed"), "committed");
        Kill(cluster, "keeper", "node");
        // The kernel ends the connection with the last descriptor.
        var gone = new Command(cluster.Home, ProgramSeconds, "/bin/bash", "-c", $"while cat {cluster.First}/closed > {cluster.Home}/out 2>&1; do :; done; cat {cluster.First}/closed").Run();
        Assert.False(gone.TimedOut, gone.Describe());
        Assert.Contains("Transport endpoint is not connected", gone.Output, StringComparison.Ordinal);
        cluster.Program(60, "umount", cluster.First).Run().MustSucceed();
        cluster.Mount(cluster.First, "node-1");
        Assert.Equal("committed", File.ReadAllText(Path.Combine(cluster.First, "closed")));
    }

    /// <summary>What a dead node had open, locked and not flushed holds others up for its session's time-out, and costs them no error.</summary>
    [Fact]
    public void OthersGoOnWhenANodeDies() => OthersGoOn(ShortSessions);

    [Fact]
    [Trait("Category", "Soak")]
    public void OthersGoOnWhenANodeDiesWithTheDefaultTimeOut() => OthersGoOn(new Dictionary<string, string>());

    [Fact]
    public void UpStartsAfterADeathOfEverything()
    {
        using var cluster = new TestCluster("efsdead");
        File.WriteAllText(Path.Combine(cluster.First, "before"), "");
        Kill(cluster, "up", "controller", "metadata", "storage", "keeper", "node");
        cluster.Program(120, "up", cluster.First, "--detach").Run().MustSucceed();
        Assert.Empty(Directory.EnumerateFileSystemEntries(cluster.First));
        File.WriteAllText(Path.Combine(cluster.First, "after"), "text");
        Assert.Equal("text", File.ReadAllText(Path.Combine(cluster.First, "after")));
    }

    /// <summary>Where /tmp is our mount: a daemon must not need it to start.</summary>
    [Fact]
    public void ADaemonWhoseTemporaryDirectoryIsItsOwnMountComesBack()
    {
        using var cluster = new TestCluster("efsdead");
        string second = cluster.MakeDirectory("b");
        cluster.Mount(second, "b", new Dictionary<string, string> { ["TMPDIR"] = second }, "-o", "nonempty");
        File.WriteAllText(Path.Combine(second, "file"), "text\n");
        ClusterProcess.All(cluster.State).Single(process => process.Role == "node" && process.Name == "b").Kill();
        Assert.Equal("text\n", new Command(cluster.Home, 60, "cat", Path.Combine(second, "file")).Run().MustSucceed());
        // And what was killed has left nothing in it.
        Assert.Equal(["file"], Directory.EnumerateFileSystemEntries(second).Select(Path.GetFileName));
    }

    private static void OthersGoOn(IReadOnlyDictionary<string, string> environment)
    {
        using var cluster = new TestCluster("efsdead", environment);
        string second = cluster.MakeDirectory("b");
        cluster.Mount(second, "b", environment);
        string script = $"""
            exec 3>> {second}/file
            flock 3
            echo committed >&3
            sync {second}/file
            echo unsynced >&3
            echo ready
            read
            """;
        using var dying = new Command(cluster.Home, ProgramSeconds, "/bin/bash", "-c", script).Start();
        dying.WaitForOutput("ready");
        foreach (var process in ClusterProcess.All(cluster.State).Where(process => process.Name == "b").OrderBy(process => process.Role))
        {
            process.Kill(); // the keeper first
        }
        var other = new Command(cluster.Home, ProgramSeconds, "/bin/bash", "-euc", $"cd {cluster.First}; exec 3>> file; flock 3; echo more >&3; cat file").Run();
        // Whether the last bytes had been written back before the death is nobody's promise.
        Assert.Matches("^committed\n(unsynced\n)?more\n$", other.MustSucceed());
    }

    private static void KillTogether(string roles)
    {
        var cluster = new TestCluster("efsdead");
        string stop = Path.Combine(cluster.Home, "stop");
        using (cluster)
        {
            using var program = new Command(cluster.Home, ProgramSeconds, "/bin/bash", "-c",
                $"cd {cluster.First}; echo go; until [ -e {stop} ]; do echo text > new && mv new file && cat file > /dev/null || exit 7; done").Start();
            program.WaitForOutput("go");
            Kill(cluster, roles.Split(','));
            File.WriteAllText(stop, "");
            // With or without an error: it has to come to an end by itself.
            var result = program.Wait();
            Assert.False(result.TimedOut, result.Describe());
            if (roles is "up" or "up,keeper")
            {
                result.MustSucceed();
            }
        }
        Assert.Empty(ClusterProcess.All(cluster.State));
        Assert.DoesNotContain(cluster.Home, File.ReadAllText("/proc/self/mountinfo"), StringComparison.Ordinal);
        Assert.False(Directory.Exists(cluster.Home));
    }

    /// <summary>All processes of the roles at once; those that start others first.</summary>
    private static void Kill(TestCluster cluster, params string[] roles)
    {
        var all = ClusterProcess.All(cluster.State);
        foreach (string role in roles)
        {
            var chosen = all.Where(process => process.Role == role).ToArray();
            Assert.NotEmpty(chosen);
            Array.ForEach(chosen, process => process.Kill());
        }
    }
}

/// <summary>One after the other: each starts a cluster.</summary>
[CollectionDefinition(Name)]
public sealed class DeathCollection
{
    public const string Name = "deaths";
}
