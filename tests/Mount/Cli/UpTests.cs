using System.Globalization;
using System.Net;
using System.Net.Sockets;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary><c>up</c> and <c>down</c>: what runs in between, and that nothing of it remains.</summary>
public sealed class UpTests
{
    [Fact]
    public void In_the_background_it_returns_when_the_directory_is_usable()
    {
        using var cli = new CliHome();
        var before = cli.Tree();
        string said = cli.Run("up", cli.Mount, "--detach", "--capacity", "512M").MustSucceed();
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "usable");
        Assert.InRange(said.Count(c => c == '\n'), 5, 15);
        Assert.All(
            new[] { cli.Mount, "controller", "metadata-1", "storage-1", "storage-2", "node-1", "dram", "ssd", "try:", "down" },
            word => Assert.Contains(word, said, StringComparison.Ordinal));

        var status = cli.Status();
        Assert.Equal(1, status.GetProperty("version").GetInt32());
        Assert.Equal((cli.State, cli.Mount), (status.Text("state"), status.Text("directory")));
        Assert.True(status.GetProperty("healthy").GetBoolean(), $"{status}");
        Assert.True(status.GetProperty("supervisor").GetProperty("alive").GetBoolean(), $"{status}");
        Assert.Equal(
            ["controller controller", "keeper node-1", "metadata metadata-1", "node node-1", "storage storage-1", "storage storage-2"],
            status.List("roles").Select(r => $"{r.Text("role")} {r.Text("name")}").Order(StringComparer.Ordinal));
        int[] pids = [.. status.List("roles").Select(r => r.GetProperty("pid").GetInt32()), status.GetProperty("supervisor").GetProperty("pid").GetInt32()];
        Assert.Equal(pids.Order(), cli.Processes().Order());
        Assert.All(pids, pid => Assert.Equal(CliHome.Program, new FileInfo($"/proc/{pid}/exe").LinkTarget));
        Assert.Equal(["dram", "ssd"], status.List("tiers").Select(t => t.Text("tier")).Order(StringComparer.Ordinal));
        foreach (var tier in status.List("tiers"))
        {
            Assert.Equal(256ul << 20, tier.GetProperty("capacityBytes").GetUInt64());
            Assert.StartsWith(tier.Text("tier") == "dram" ? "/dev/shm/" : cli.State + "/", tier.Text("path"), StringComparison.Ordinal);
        }
        Assert.Equal($"node-1 tmp {cli.Mount}", string.Join(' ', status.List("mounts").Select(m => $"{m.Text("node")} {m.Text("volume")} {m.Text("directory")}")));
        // The same for people.
        string text = cli.Run("status").MustSucceed();
        Assert.All(pids[..^1], pid => Assert.Contains($"{pid}", text, StringComparison.Ordinal));
        Assert.All(new[] { cli.Mount, "256 MiB", "dram", "ssd", "storage-2" }, word => Assert.Contains(word, text, StringComparison.Ordinal));

        cli.Run("down").MustSucceed();
        cli.NothingRemains();
        Assert.Equal(before, cli.Tree());
        Assert.Contains("nothing runs", cli.Run("down").MustSucceed(), StringComparison.Ordinal);
        cli.Run("status").MustFail(1, "up DIR");
    }

    [Theory]
    [InlineData(Signals.Interrupt)]
    [InlineData(Signals.Terminate)]
    [InlineData(Signals.HangUp)]
    public void In_the_foreground_a_signal_unmounts_and_cleans_up(int signal)
    {
        using var cli = new CliHome();
        var before = cli.Tree();
        using var up = cli.Start("up", "m", "--capacity", "512M");
        up.Says("stop: Ctrl-C");
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "usable");
        Assert.Contains(up.Pid, cli.Processes().Append(up.Pid));
        Assert.Equal(up.Pid, cli.Status().GetProperty("supervisor").GetProperty("pid").GetInt32());

        // With a program at work in it, too.
        using var open = File.OpenRead(Path.Combine(cli.Mount, "f"));
        Signals.Send(up.Pid, signal);
        var ended = up.End();
        Assert.True(ended.ExitCode == 0, ended.Describe());
        cli.NothingRemains();
        Assert.Empty(Directory.GetFileSystemEntries(cli.Mount));
        Assert.Equal(before, cli.Tree().Where(p => !p.StartsWith("stderr.", StringComparison.Ordinal)));
    }

    /// <summary>However far the start has come.</summary>
    [Theory]
    [InlineData("supervisor.lock")]
    [InlineData("cluster.json")]
    [InlineData("metadata-1.sock")]
    [InlineData("nodes/node-1/node.json")]
    [InlineData("mounts")]
    public void Interrupted_while_it_starts_it_cleans_up(string file)
    {
        using var cli = new CliHome();
        using var up = cli.Start("up", cli.Mount, "--capacity", "512M");
        Wait.For(() => Path.Exists(Path.Combine(cli.State, file)), () => $"{file} was not made: {up.Error}");
        Signals.Send(up.Pid, Signals.Interrupt);
        var ended = up.End();
        // At the end of the start the signal may find it started.
        Assert.True(ended.ExitCode is 0 or 1 && ended.Error.Count(c => c == '\n') == 1, ended.Describe());
        cli.NothingRemains();
    }

    [Fact]
    public void Killed_while_it_waits_in_the_background_it_leaves_nothing_that_down_does_not_find()
    {
        using var cli = new CliHome();
        using var up = cli.Start("up", cli.Mount, "--detach", "--capacity", "512M");
        Wait.For(() => Path.Exists(Path.Combine(cli.State, "cluster.json")), () => $"no cluster: {up.Error}");
        Signals.Send(up.Pid, Signals.Kill);
        up.End();
        cli.Run("down").MustSucceed();
        cli.NothingRemains();
    }

    [Fact]
    public void Options_are_obeyed()
    {
        using var cli = new CliHome("a directory whose path is too long for the socket of a controller, or of anything else, in it " + new string('x', 60));
        string one = cli.MakeDirectory("one"), two = cli.MakeDirectory("two");
        File.WriteAllText(Path.Combine(one, "mine"), "");
        int port = FreePorts(5);
        cli.Run(
            "up", cli.Mount, "--detach", "--storage-servers", "3", "--tier", $"dram=/dev/shm:64M", "--tier", $"ssd={one}:128M", "--tier", $"hdd={two}:256M",
            "--port", $"{port}", "--node", "my.node", "--size", "64M", "--inodes", "100", "--mount-options", "nosuid").MustSucceed();
        var status = cli.Status();
        Assert.Equal(
            ["dram 67108864", "hdd 268435456", "ssd 134217728"],
            status.List("tiers").Select(t => $"{t.Text("tier")} {t.GetProperty("capacityBytes")}").Order(StringComparer.Ordinal));
        Assert.Equal(
            Enumerable.Range(port, 5).Select(p => $"tcp:127.0.0.1:{p}"),
            status.List("roles").Where(r => r.Text("role") is "controller" or "metadata" or "storage").Select(r => r.Text("endpoint")).Order(StringComparer.Ordinal));
        Assert.Equal("my.node", status.List("mounts").Single().Text("node"));
        Assert.Equal((64ul << 20, 100ul), (status.List("volumes").Single().GetProperty("limitBytes").GetUInt64(), status.List("volumes").Single().GetProperty("limitInodes").GetUInt64()));
        Assert.Contains("nosuid", MountTable.Find(cli.Mount)!.Options.Split(','));
        Assert.Equal(64L << 20, new DriveInfo(cli.Mount).TotalSize);
        File.WriteAllBytes(Path.Combine(cli.Mount, "f"), new byte[1 << 20]);

        cli.Run("down").MustSucceed();
        Assert.Equal([Path.Combine(one, "mine")], Directory.GetFileSystemEntries(one));
        Assert.Empty(Directory.GetFileSystemEntries(two));
        cli.NothingRemains();
    }

    [Fact]
    public void Options_may_come_from_a_file_and_the_environment()
    {
        using var cli = new CliHome();
        File.WriteAllText(Path.Combine(cli.Home, "c.yaml"), "storage-servers: 1\nport: 0\nnode: from-file\nsize: 1G\ncapacity: 512M\n");
        cli.Run(
            new Dictionary<string, string> { ["EPHEMERALFS_CONFIG"] = "c.yaml", ["EPHEMERALFS_NODE"] = "from-variable", ["EPHEMERALFS_SIZE"] = "2G" },
            "up", "m", "--detach", "--size", "3G").MustSucceed();
        var status = cli.Status();
        Assert.Equal("from-variable", status.List("mounts").Single().Text("node"));
        Assert.Single(status.List("roles"), r => r.Text("role") == "storage");
        Assert.All(status.List("roles").Where(r => r.Text("role") is "controller" or "metadata" or "storage"), r => Assert.StartsWith("tcp:127.0.0.1:", r.Text("endpoint"), StringComparison.Ordinal));
        Assert.Equal(3ul << 30, status.List("volumes").Single().GetProperty("limitBytes").GetUInt64());
    }

    [Fact]
    public void Clusters_with_their_own_state_run_side_by_side()
    {
        using var one = new CliHome();
        using var two = new CliHome();
        one.Up();
        two.Up();
        Assert.Empty(one.Processes().Intersect(two.Processes()));
        File.WriteAllText(Path.Combine(one.Mount, "f"), "one");
        Assert.Empty(Directory.GetFileSystemEntries(two.Mount));
        // Each knows its own mounts and nodes only, but unmounts what the user names.
        string directory = two.MakeDirectory("second");
        two.Run("mount", "tmp", directory, "--node", "other").MustSucceed();
        Assert.Single(one.Status().List("mounts"));
        one.Run("umount", directory).MustSucceed();
        Assert.Null(MountTable.Find(directory));

        one.Run("down").MustSucceed();
        one.NothingRemains();
        File.WriteAllText(Path.Combine(two.Mount, "f"), "two");
        Assert.True(two.Until(s => s.GetProperty("healthy").GetBoolean()).GetProperty("supervisor").GetProperty("alive").GetBoolean());
        two.Run("down").MustSucceed();
        two.NothingRemains();
    }

    [Fact]
    public void Volumes_stay_only_when_they_are_kept()
    {
        using var cli = new CliHome();
        string file = Path.Combine(cli.Mount, "f");
        cli.Up("--keep");
        File.WriteAllText(file, "kept");
        cli.Run("volume", "create", "also", "--size", "1G").MustSucceed();
        cli.Run("down").MustSucceed();
        Assert.Empty(cli.Processes());
        Assert.Null(MountTable.Find(cli.Mount));
        cli.Run("status").MustFail(1, "up DIR");

        cli.Up("--keep");
        Assert.Equal("kept", File.ReadAllText(file));
        cli.Run("volume", "show", "also").MustSucceed();
        cli.Run("down", "--purge").MustSucceed();
        cli.NothingRemains();

        cli.Up("--keep");
        Assert.False(File.Exists(file));
        File.WriteAllText(file, "kept again");
        cli.Run("down").MustSucceed();
        cli.Up();
        Assert.False(File.Exists(file));
        cli.Run("down").MustSucceed();
        cli.NothingRemains();
    }

    [Fact]
    public void A_state_directory_that_was_there_stays()
    {
        using var cli = new CliHome();
        Directory.CreateDirectory(cli.State);
        File.WriteAllText(Path.Combine(cli.State, "mine"), "");
        cli.Up();
        cli.Run("down").MustSucceed();
        Assert.Equal([Path.Combine(cli.State, "mine")], Directory.GetFileSystemEntries(cli.State));
        Directory.Delete(cli.State, recursive: true);
    }

    /// <summary>The first of so many consecutive ports that nobody listens at, below those that the kernel gives out.</summary>
    private static int FreePorts(int count)
    {
        for (int first = 20_000 + (Environment.ProcessId % 50 * 100); ; first += count)
        {
            var held = new List<TcpListener>();
            try
            {
                for (int i = 0; i < count; i++)
                {
                    held.Add(new TcpListener(IPAddress.Loopback, first + i));
                    held[^1].Start();
                }
                return first;
            }
            catch (SocketException)
            {
                // Somebody is there: further on.
            }
            finally
            {
                held.ForEach(l => l.Stop());
            }
        }
    }
}
