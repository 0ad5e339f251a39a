using System.Text.Json;
using EphemeralFs.Interop;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>Whatever part of a cluster is killed, <c>status</c> tells it, <c>down</c> takes away all that is left, and <c>up</c> starts afresh.</summary>
public sealed class CrashTests
{
    /// <summary>The parts by which status knows them; "supervisor" for the process of up.</summary>
    [Theory]
    [InlineData("supervisor")]
    [InlineData("keeper")]
    [InlineData("node")]
    [InlineData("keeper node")]
    [InlineData("controller metadata storage")]
    [InlineData("supervisor keeper")]
    [InlineData("supervisor node keeper")]
    [InlineData("supervisor controller metadata storage node")]
    [InlineData("supervisor controller metadata storage node keeper")]
    public void Down_takes_away_what_is_left(string killed)
    {
        using var cli = new CliHome();
        var before = cli.Tree();
        cli.Up();
        cli.Run("mount", "tmp", cli.MakeDirectory("second"), "--node", "node-2").MustSucceed();
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "f");
        Kill(cli.Status(), killed);

        cli.Run("down").MustSucceed();
        cli.NothingRemains();
        Directory.Delete(Path.Combine(cli.Home, "second"));
        Assert.Equal(before, cli.Tree());
    }

    [Theory]
    [InlineData("supervisor")]
    [InlineData("supervisor controller metadata storage node keeper")]
    public void Up_starts_afresh_over_what_is_left(string killed)
    {
        using var cli = new CliHome();
        cli.Up();
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "f");
        var status = cli.Status();
        Kill(status, killed);

        cli.Up();
        Assert.Empty(Directory.GetFileSystemEntries(cli.Mount));
        File.WriteAllText(Path.Combine(cli.Mount, "g"), "g");
        var afresh = cli.Status();
        Assert.Empty(Pids(afresh).Intersect(Pids(status)));
        Assert.Equal(Pids(afresh).Append(afresh.GetProperty("supervisor").GetProperty("pid").GetInt32()).Order(), cli.Processes().Order());
    }

    [Fact]
    public void A_dead_supervisor_is_told_and_everything_goes_on()
    {
        using var cli = new CliHome();
        cli.Up();
        Kill(cli.Status(), "supervisor");
        var status = cli.Status();
        Assert.False(status.GetProperty("supervisor").GetProperty("alive").GetBoolean());
        Assert.False(status.GetProperty("healthy").GetBoolean());
        Assert.Contains("supervisor", cli.Run("status").MustSucceed(), StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "goes on");
        string directory = cli.MakeDirectory("second");
        cli.Run("mount", "tmp", directory, "--node", "node-2").MustSucceed();
        Assert.Equal("goes on", File.ReadAllText(Path.Combine(directory, "f")));
    }

    [Fact]
    public void A_role_that_dies_is_told_and_started_again()
    {
        using var cli = new CliHome();
        cli.Up();
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "here");
        var status = cli.Status();
        // All but the keeper, which holds the mount; it comes after them.
        foreach (string role in new[] { "controller", "metadata", "storage", "node" })
        {
            Assert.True(Signals.Send(CliHome.PidOf(status, role), Signals.Kill));
        }
        // Programs wait meanwhile.
        File.WriteAllText(Path.Combine(cli.Mount, "g"), "also here");
        var healed = cli.Until(s => s.GetProperty("healthy").GetBoolean());
        Assert.True(Signals.Send(CliHome.PidOf(status, "keeper"), Signals.Kill));
        cli.Until(s => s.GetProperty("healthy").GetBoolean() && CliHome.PidOf(s, "keeper") != CliHome.PidOf(status, "keeper"));
        Assert.All(new[] { "controller", "metadata", "storage", "node" }, role => Assert.Contains(
            healed.List("roles"), r => r.Text("role") == role && r.GetProperty("restarts").GetInt32() == 1));
        Assert.Equal("here", File.ReadAllText(Path.Combine(cli.Mount, "f")));
        Assert.Equal("also here", File.ReadAllText(Path.Combine(cli.Mount, "g")));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData(null)]
    public void Records_that_are_damaged_or_lost_do_not_stop_down(string? text)
    {
        using var cli = new CliHome();
        cli.Up();
        string record = Path.Combine(cli.State, "cluster.json");
        File.Delete(record);
        if (text is not null)
        {
            File.WriteAllText(record, text);
        }
        Assert.True(cli.Run("status").ExitCode is 0 or 1);
        var down = cli.Run("down");
        // It may say so, in one line; what is wrong with that file is over with it.
        Assert.True(down.ExitCode is 0 or 1 && down.Error.Count(c => c == '\n') <= 1, down.Describe());
        Assert.Empty(cli.Processes());
        Assert.Null(MountTable.Find(cli.Mount));
        cli.NothingRemains();
    }

    [Fact]
    public void What_a_dead_node_left_mounted_can_be_unmounted()
    {
        using var cli = new CliHome();
        cli.Up();
        Kill(cli.Status(), "supervisor keeper node");
        Assert.NotNull(MountTable.Find(cli.Mount));
        cli.Run("umount", cli.Mount).MustSucceed();
        Assert.Null(MountTable.Find(cli.Mount));
        // And mounted again, by a node that is started for it.
        cli.Run("mount", "tmp", cli.Mount, "--node", "node-1").MustSucceed();
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "again");
    }

    /// <summary>As a daemon does that was killed inside of a notification, somebody else holds the connection with the kernel.</summary>
    [Fact]
    public void Down_ends_programs_that_wait_for_an_answer_which_nobody_will_give()
    {
        Tool.Require("python3");
        using var cli = new CliHome();
        cli.Up();
        var status = cli.Status();
        const string hold = """
            import ctypes, os, sys
            pid, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
            pidfd = os.pidfd_open(pid)
            held = [libc.syscall(438, pidfd, int(fd), 0) for fd in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/fuse"]
            assert held and min(held) >= 0, ctypes.get_errno()
            print("held", flush=True)
            sys.stdin.read()
            """;
        int daemon = CliHome.PidOf(status, "node");
        using var holder = new Command(cli.Home, 120, "python3", "-c", hold, $"{daemon}").Start();
        holder.WaitForOutput("held");
        Kill(status, "supervisor keeper node");
        Wait.For(() => ProcessControlThreads.IsGone(daemon), () => "the death of the daemon");
        using var program = new Command(cli.Home, 60, "stat", Path.Combine(cli.Mount, "f")).Start();
        Wait.For(() => program.Process.HasExited || File.ReadAllText($"/proc/{program.Process.Id}/stack").Contains("fuse", StringComparison.Ordinal), () => "a program that waits");
        Assert.False(program.Process.HasExited, program.Process.HasExited ? program.Wait().Describe() : "");
        cli.Run("down").MustSucceed();
        var result = program.Wait();
        Assert.False(result.TimedOut, result.Describe());
        Assert.NotEqual(0, result.ExitCode);
        cli.NothingRemains();
    }

    private static IEnumerable<int> Pids(JsonElement status) => status.List("roles").Select(r => r.GetProperty("pid").GetInt32());

    private static void Kill(JsonElement status, string parts)
    {
        foreach (string part in parts.Split(' '))
        {
            int[] pids = part == "supervisor"
                ? [status.GetProperty("supervisor").GetProperty("pid").GetInt32()]
                : [.. status.List("roles").Where(r => r.Text("role") == part).Select(r => r.GetProperty("pid").GetInt32())];
            Assert.NotEmpty(pids);
            Assert.All(pids, pid => Assert.True(Signals.Send(pid, Signals.Kill), $"{part} {pid} was not there"));
        }
    }
}
