using System.Text.Json;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>A cluster that runs, for tests that leave it as they found it.</summary>
public sealed class RunningCluster : IDisposable
{
    public RunningCluster()
    {
        Cli.MakeDirectory("empty");
        Cli.MakeDirectory("full/x");
        Cli.Up();
    }

    public CliHome Cli { get; } = new();

    public void Dispose() => Cli.Dispose();
}

/// <summary>The commands about a cluster that runs: status, mount, umount, volume, upgrade-node.</summary>
public sealed class ClusterCommandTests(RunningCluster cluster) : IClassFixture<RunningCluster>
{
    private readonly CliHome cli = cluster.Cli;

    [Theory]
    [InlineData("up empty", 1, "runs in {state} already")]
    [InlineData("up empty --detach", 1, "runs in {state} already")]
    [InlineData("up m --state other", 1, "already a mount point")]
    [InlineData("mount nope empty", 1, "volume create nope")]
    [InlineData("mount tmp m", 1, "already a mount point")]
    [InlineData("mount tmp full", 1, "not empty")]
    [InlineData("mount tmp none", 1, "mkdir -p none")]
    [InlineData("mount tmp empty --node other -o frobnicate", 2, "'frobnicate'")]
    [InlineData("umount empty", 1, "no volume is mounted there")]
    [InlineData("volume create tmp --size 1G", 1, "another quota")]
    [InlineData("volume create Big", 2, "no volume name")]
    [InlineData("volume create ../x", 2, "no volume name")]
    [InlineData("volume create ''", 2, "no volume name")]
    [InlineData("volume show nope", 1, "no volume nope")]
    [InlineData("volume show ''", 1, "no volume ''")]
    [InlineData("volume delete nope", 1, "no volume nope")]
    [InlineData("volume delete ''", 1, "no volume ''")]
    [InlineData("volume delete tmp", 1, "is mounted")]
    [InlineData("upgrade-node other", 1, "node-1")]
    [InlineData("upgrade-node ../nodes/node-1", 1, "node-1")]
    public void A_mistake_is_one_line_and_changes_nothing(string commandLine, int exitCode, string word)
    {
        string before = Shape();
        cli.Run([.. commandLine.Split(' ').Select(w => w == "''" ? "" : w)]).MustFail(exitCode, word.Replace("{state}", cli.State, StringComparison.Ordinal));
        Assert.Equal(before, Shape());

        // What there is, without what moves by itself.
        string Shape()
        {
            var status = cli.Status();
            return string.Join('\n', status.List("roles").Select(r => $"{r.Text("role")} {r.Text("name")} {r.GetProperty("pid")} {r.Text("health")}")
                .Concat(status.List("volumes").Select(v => v.Text("name"))).Concat(status.List("mounts").Select(m => m.Text("directory"))).Order(StringComparer.Ordinal));
        }
    }

    [Fact]
    public void Two_nodes_are_two_processes_that_show_one_volume()
    {
        cli.Run("volume", "create", "two").MustSucceed();
        string first = cli.MakeDirectory("first"), second = cli.MakeDirectory("second"), third = cli.MakeDirectory("third");
        cli.Run("mount", "two", first, "--node", "node-a").MustSucceed();
        cli.Run("mount", "two", second, "--node", "node-b").MustSucceed();
        var status = cli.Status();
        int[] pids = [.. new[] { "node", "keeper" }.SelectMany(role => new[] { "node-a", "node-b" }.Select(name => CliHome.PidOf(status, role, name)))];
        Assert.Equal(4, pids.Distinct().Count());
        File.WriteAllText(Path.Combine(first, "f"), "written through one");
        Assert.Equal("written through one", File.ReadAllText(Path.Combine(second, "f")));

        // A name that runs is not started again, and mounts several directories.
        cli.Run("mount", "two", third, "--node", "node-a").MustSucceed();
        Assert.Equal(pids[0], CliHome.PidOf(cli.Status(), "node", "node-a"));
        Assert.Equal("written through one", File.ReadAllText(Path.Combine(third, "f")));

        // They share nothing but the servers: the death of one node is nothing to the other.
        Assert.True(Signals.Send(pids[0], Signals.Kill));
        File.WriteAllText(Path.Combine(second, "g"), "while the other is dead");
        Assert.Equal("while the other is dead", File.ReadAllText(Path.Combine(first, "g")));
        cli.Until(s => s.GetProperty("healthy").GetBoolean());

        // In use: not without force.
        using (File.OpenRead(Path.Combine(second, "f")))
        {
            cli.Run("umount", second).MustFail(1, "in use");
            cli.Run("umount", second, "--lazy").MustSucceed();
        }
        cli.Run("umount", second).MustFail(1, "no volume is mounted there");
        foreach (string directory in new[] { first, third })
        {
            Assert.NotNull(MountTable.Find(directory));
            cli.Run("umount", directory).MustSucceed();
            Assert.Null(MountTable.Find(directory));
        }
        cli.Until(s => s.List("volumes").First(v => v.Text("name") == "two").GetProperty("sessions").GetInt32() == 0);
        cli.Run("volume", "delete", "two").MustSucceed();
    }

    [Fact]
    public void Mount_options_are_those_of_mount()
    {
        string directory = cli.MakeDirectory("options");
        cli.Run("mount", "tmp", directory, "--node", "node-o", "-o", "ro,nosuid,nodev,noexec").MustSucceed();
        Assert.Subset(MountTable.Find(directory)!.Options.Split(',').ToHashSet(), new HashSet<string> { "ro", "nosuid", "nodev", "noexec" });
        Assert.Equal(Errno.EROFS, Native.ErrnoOf(Native.Open(Path.Combine(directory, "f"), Native.O_CREAT | Native.O_WRONLY, 0x1A4)));
        Assert.Equal("ro,nosuid,nodev,noexec", cli.Status().List("mounts").First(m => m.Text("directory") == directory).Text("options"));
        cli.Run("umount", directory).MustSucceed();
    }

    [Fact]
    public void A_mount_point_may_have_any_name()
    {
        string directory = cli.MakeDirectory("a b\tc\\d'é\"$x"), link = Path.Combine(cli.Home, "link");
        File.CreateSymbolicLink(link, directory);
        cli.Run("mount", "tmp", link, "--node", "node-n").MustSucceed();
        File.WriteAllText(Path.Combine(directory, "any"), "name");
        Assert.Equal("name", File.ReadAllText(Path.Combine(cli.Mount, "any")));
        Assert.Contains(cli.Status().List("mounts"), m => m.Text("directory") == directory);
        cli.Run("umount", link).MustSucceed();
        Assert.Null(MountTable.Find(directory));
    }

    [Fact]
    public void Creating_again_with_the_same_quota_is_success()
    {
        string first = cli.Run("volume", "create", "again", "--size", "16MiB", "--inodes", "100").MustSucceed();
        Assert.Equal(first, cli.Run("volume", "create", "again", "--size", "16384K", "--inodes", "100").MustSucceed());
        cli.Run("volume", "create", "again", "--size", "16MiB").MustFail(1, "another quota");
        using var shown = JsonDocument.Parse(cli.Run("volume", "show", "again", "--json").MustSucceed());
        Assert.Equal((16ul << 20, 100ul), (shown.RootElement.GetProperty("limitBytes").GetUInt64(), shown.RootElement.GetProperty("limitInodes").GetUInt64()));
        Assert.Contains("16 MiB", cli.Run("volume", "show", "again").MustSucceed(), StringComparison.Ordinal);
        using var list = JsonDocument.Parse(cli.Run("volume", "list", "--json").MustSucceed());
        Assert.Contains(list.RootElement.EnumerateArray(), v => v.Text("name") == "again");
        cli.Run("volume", "delete", "again").MustSucceed();
        cli.Run("volume", "delete", "again").MustFail(1, "no volume again");
        Assert.DoesNotContain("again", cli.Run("volume", "list").MustSucceed(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_mounted_volume_is_deleted_only_by_force()
    {
        string directory = cli.MakeDirectory("deleted");
        cli.Run("volume", "create", "gone").MustSucceed();
        cli.Run("mount", "gone", directory, "--node", "node-d").MustSucceed();
        string file = Path.Combine(directory, "f");
        File.WriteAllText(file, "there");
        cli.Run("volume", "delete", "gone").MustFail(1, "is mounted");
        Assert.Equal("there", File.ReadAllText(file));

        cli.Run("volume", "delete", "gone", "--force").MustSucceed();
        long made = Native.Open(Path.Combine(directory, "new"), Native.O_CREAT | Native.O_WRONLY, 0x1A4);
        Assert.True(made < 0, "a file was made on a volume that is gone");
        cli.Run("umount", directory).MustSucceed();

        // The name is free: another volume, with nothing in it.
        cli.Run("volume", "create", "gone").MustSucceed();
        cli.Run("mount", "gone", directory, "--node", "node-d").MustSucceed();
        Assert.Empty(Directory.GetFileSystemEntries(directory));
        File.WriteAllText(file, "new");
        Assert.Equal("new", File.ReadAllText(file));
        cli.Run("umount", directory).MustSucceed();
        cli.Run("volume", "delete", "gone").MustSucceed();
    }
}
