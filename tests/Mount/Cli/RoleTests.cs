using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>A cluster by hand: each role alone, configured by flags, environment and file.</summary>
public sealed class RoleTests
{
    [Theory]
    [InlineData(Signals.Terminate)]
    [InlineData(Signals.Interrupt)]
    public void Roles_run_alone_and_stop_when_told(int signal)
    {
        using var cli = new CliHome();
        foreach (string name in new[] { "controller", "metadata", "storage", "blocks" })
        {
            cli.MakeDirectory(name);
        }
        string c = Path.Combine(cli.Home, "c.sock"), m = Path.Combine(cli.Home, "m.sock"), t = Path.Combine(cli.Home, "t.sock");
        File.WriteAllText(Path.Combine(cli.Home, "storage.yaml"), $"name: by-file\nlisten: unix:{t}\ncontroller: unix:{c}\nstate: storage\ntier:\n  - ssd={cli.Home}/blocks:128M\n");
        var none = new Dictionary<string, string> { ["EPHEMERALFS_STATE"] = "" };
        using var controller = cli.Start(none, "controller", "--listen", "unix:" + c, "--state", "controller", "--log-format", "text");
        using var metadata = cli.Start(
            new Dictionary<string, string> { ["EPHEMERALFS_NAME"] = "by-variable", ["EPHEMERALFS_LISTEN"] = "unix:" + m, ["EPHEMERALFS_CONTROLLER"] = "unix:" + c, ["EPHEMERALFS_STATE"] = "metadata" },
            "metadata");
        using var storage = cli.Start(none, "storage", "--config", "storage.yaml");
        CliRunning[] roles = [controller, metadata, storage];
        Array.ForEach(roles, role => Wait.For(() => role.Error.Contains("ready on", StringComparison.Ordinal), () => role.Error));

        // Known to each other, and usable.
        string[] at = ["--controller", "unix:" + c];
        cli.Run(["volume", "create", "work", "--size", "64M", .. at]).MustSucceed();
        cli.Run(["mount", "work", cli.Mount, "--node", "here", .. at]).MustSucceed();
        File.WriteAllText(Path.Combine(cli.Mount, "f"), "by hand");
        string directory = cli.MakeDirectory("second");
        cli.Run(["mount", "work", directory, "--node", "there", .. at]).MustSucceed();
        Assert.Equal("by hand", File.ReadAllText(Path.Combine(directory, "f")));
        string status = cli.Run(["status", .. at]).MustSucceed();
        Assert.All(new[] { "by-variable", "by-file", "here", "there", "128 MiB", "work" }, word => Assert.Contains(word, status, StringComparison.Ordinal));

        // `down` ends what `mount` started, and leaves the roles that others started alone.
        cli.Run("down").MustSucceed();
        Assert.Null(MountTable.Find(cli.Mount));
        Assert.Null(MountTable.Find(directory));
        cli.NothingRemains();
        cli.Run(["volume", "show", "work", .. at]).MustSucceed();
        foreach (var role in roles.Reverse())
        {
            Signals.Send(role.Pid, signal);
            var ended = role.End();
            Assert.True(ended.ExitCode == 0, ended.Describe());
        }
        Assert.All(new[] { c, m, t }, socket => Assert.False(Path.Exists(socket), $"{socket} is left"));
    }

    [Fact]
    public void A_role_whose_address_or_state_another_has_says_so()
    {
        using var cli = new CliHome();
        string state = cli.MakeDirectory("controller"), blocks = cli.MakeDirectory("blocks"), socket = Path.Combine(cli.Home, "c.sock");
        cli.MakeDirectory("other");
        cli.MakeDirectory("metadata");
        using var controller = cli.Start("controller", "--listen", "unix:" + socket, "--state", state);
        Wait.For(() => controller.Error.Contains("ready on", StringComparison.Ordinal), () => controller.Error);
        cli.Run("controller", "--listen", "unix:" + socket, "--state", "other").MustFail(1, "in use");
        cli.Run("controller", "--listen", "tcp:127.0.0.1:0", "--state", state).MustFail(1, "another controller");

        string[] common = ["--controller", "unix:" + socket, "--listen", "tcp:127.0.0.1:0"];
        using var metadata = cli.Start(["metadata", "--state", "metadata", .. common]);
        using var storage = cli.Start(["storage", "--state", "storage", "--tier", $"ssd={blocks}:64M", .. common]);
        Array.ForEach([metadata, storage], role => Wait.For(() => role.Error.Contains("ready on", StringComparison.Ordinal), () => role.Error));
        cli.Run(["metadata", "--state", "metadata", .. common]).MustFail(1, "metadata");
        cli.Run(["storage", "--state", "storage", "--tier", $"ssd={blocks}:64M", .. common]).MustFail(1, "storage");
        cli.Run(["storage", "--state", "other", "--tier", $"ssd={blocks}:64M", .. common]).MustFail(1, blocks);

        // A socket whose owner was killed is in nobody's way.
        Signals.Send(controller.Pid, Signals.Kill);
        controller.End();
        using var next = cli.Start("controller", "--listen", "unix:" + socket, "--state", state);
        Wait.For(() => next.Error.Contains("ready on", StringComparison.Ordinal), () => next.Error);
        Signals.Send(next.Pid, Signals.Terminate);
        Assert.Equal(0, next.End().ExitCode);
    }
}
