using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary><c>upgrade-node</c>: the daemon is replaced, and programs do not notice.</summary>
public sealed class UpgradeTests
{
    [Fact]
    public void Programs_at_work_carry_on()
    {
        Tool.Require("dd", "tar");
        using var cli = new CliHome();
        cli.Up();
        string source = cli.MakeDirectory("source");
        GeneratedTree.Create(Path.Combine(source, "tree"), 500, seed: 9);
        // One long file by one descriptor, and many small ones; until they are told to stop, so that each upgrade comes in the middle.
        string write = """
            exec 3> "$MOUNT/big"
            for ((n = 0; ; n++)); do
                if [ -e stop ] && [ $n -ge 20 ]; then break; fi
                printf '%0131072d' $n | dd bs=64K iflag=fullblock status=none >&3
            done
            exec 3>&-
            for ((i = 0; i < n; i++)); do printf '%0131072d' $i; done | cmp - "$MOUNT/big"
            """;
        string copy = """
            for ((n = 0; ; n++)); do
                if [ -e stop ] && [ $n -ge 2 ]; then break; fi
                rm -rf "$MOUNT/copy"; mkdir "$MOUNT/copy"
                tar -C source --xattrs --xattrs-include='*' --numeric-owner -cf - tree | tar -C "$MOUNT/copy" --xattrs --xattrs-include='*' --numeric-owner -xpf -
            done
            """;
        using var writing = Script(write).With("MOUNT", cli.Mount).Start();
        using var copying = Script(copy).With("MOUNT", cli.Mount).Start();
        Wait.For(() => File.Exists(Path.Combine(cli.Mount, "big")) && Directory.Exists(Path.Combine(cli.Mount, "copy/tree")), () => "the programs do not start");
        int before = CliHome.PidOf(cli.Status(), "node");
        var pids = new List<int> { before };
        for (int i = 0; i < 3; i++)
        {
            string said = cli.Run(i == 0 ? ["upgrade-node"] : ["upgrade-node", "node-1"]).MustSucceed();
            pids.Add(CliHome.PidOf(cli.Status(), "node"));
            Assert.Contains($"process {pids[^1]}", said, StringComparison.Ordinal);
            Assert.False(Directory.Exists($"/proc/{pids[^2]}") && cli.Processes().Contains(pids[^2]), "the old daemon still runs");
        }
        File.WriteAllText(Path.Combine(cli.Home, "stop"), "");
        writing.Wait().MustSucceed();
        copying.Wait().MustSucceed();
        Assert.Equal(4, pids.Distinct().Count());
        Sides.MustBeEqual(Path.Combine(source, "tree"), Path.Combine(cli.Mount, "copy/tree"));

        Command Script(string script) => new(cli.Home, 100, "/bin/bash", "-c", "set -euo pipefail\n" + script);
    }
}
