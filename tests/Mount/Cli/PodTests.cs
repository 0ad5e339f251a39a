using System.Diagnostics;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>Daemon and keeper as pods: each is started, and stopped by SIGTERM, by somebody who is neither of them.</summary>
public sealed class PodTests
{
    [Fact]
    public void Either_is_replaced_while_files_are_open()
    {
        using var cli = new CliHome();
        foreach (string name in new[] { "controller", "metadata", "storage", "blocks" })
        {
            cli.MakeDirectory(name);
        }
        string c = Path.Combine(cli.Home, "c.sock"), m = Path.Combine(cli.Home, "m.sock"), alias = Path.Combine(cli.Home, "a.sock"), t = Path.Combine(cli.Home, "t.sock");
        string node = Directory.CreateDirectory(Path.Combine(cli.State, "nodes", "pod")).FullName;
        var none = new Dictionary<string, string> { ["EPHEMERALFS_STATE"] = "" };
        using var controller = cli.Start(none, "controller", "--listen", "unix:" + c, "--state", "controller");
        File.CreateSymbolicLink(alias, m);
        using var metadata = cli.Start(none, "metadata", "--listen", "unix:" + m, "--advertise", "unix:" + alias, "--controller", "unix:" + c, "--state", "metadata");
        using var storage = cli.Start(none, "storage", "--listen", "unix:" + t, "--controller", "unix:" + c, "--state", "storage", "--tier", $"ssd={cli.Home}/blocks:128M");
        Array.ForEach([controller, metadata, storage], Ready);
        string[] at = ["--controller", "unix:" + c];
        string[] keeperCommand = ["keeper", "--name", "pod", "--socket", Path.Combine(node, "keeper.sock")];
        string[] nodeCommand = ["node", "--name", "pod", "--listen", "unix:" + Path.Combine(node, "node.sock"), "--keeper", Path.Combine(node, "keeper.sock"), "--leave-mounts", "true", .. at];

        cli.Run(["node", "--listen", "unix:" + Path.Combine(node, "x.sock"), "--leave-mounts", "true", .. at]).MustFail(2, "--keeper");
        var keeper = cli.Start(none, keeperCommand);
        Wait.For(() => Path.Exists(Path.Combine(node, "keeper.sock")), () => keeper.Error);
        var daemon = cli.Start(none, nodeCommand);
        try
        {
            Ready(daemon);
            cli.Run(["volume", "create", "work", .. at]).MustSucceed();
            Assert.Contains(alias, cli.Run(["volume", "list", "--json", .. at]).MustSucceed(), StringComparison.Ordinal);
            cli.Run(["mount", "work", cli.Mount, "--node", "pod", .. at]).MustSucceed();

            // In a process of its own: one that has files open on a mount without a daemon cannot start the daemon.
            string written = Path.Combine(cli.Mount, "f");
            using var writer = Process.Start("sh", ["-c", "exec 9>\"$0\"; while echo tick >&9; do sleep 0.02; done", written]);
            Wait.For(() => File.Exists(written) && new FileInfo(written).Length > 0, () => "a first line");

            Terminate(daemon);
            Assert.NotNull(MountTable.Find(cli.Mount));
            daemon = cli.Start(none, nodeCommand);
            Ready(daemon);
            MustGoOn(writer, written);

            Terminate(keeper);
            MustGoOn(writer, written);
            keeper = cli.Start(none, keeperCommand);
            Wait.For(() => keeper.Error.Contains("attached", StringComparison.Ordinal), () => keeper.Error);
            Terminate(daemon);
            daemon = cli.Start(none, nodeCommand);
            Ready(daemon);
            MustGoOn(writer, written);
            writer.Kill();
            writer.WaitForExit();
            Assert.All(File.ReadAllLines(written), line => Assert.Equal("tick", line));
        }
        finally
        {
            cli.Run("umount", cli.Mount, "--lazy");
            Terminate(daemon);
            Terminate(keeper);
        }
        Assert.Null(MountTable.Find(cli.Mount));
        Directory.Delete(cli.State, recursive: true); // made here; a keeper that is to have a successor has left it the number of the daemon
    }

    private static void Ready(CliRunning role) => Wait.For(() => role.Error.Contains("ready on", StringComparison.Ordinal), () => role.Error);

    private static void MustGoOn(Process writer, string file)
    {
        long before = new FileInfo(file).Length;
        Wait.For(() => new FileInfo(file).Length > before, () => "the writer stands still");
        Assert.False(writer.HasExited);
    }

    private static void Terminate(CliRunning process)
    {
        Signals.Send(process.Pid, Signals.Terminate);
        var ended = process.End();
        Assert.True(ended.ExitCode == 0, ended.Describe());
    }
}
