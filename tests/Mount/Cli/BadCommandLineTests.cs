using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>What bad command lines, variables and files are tried on: no cluster runs.</summary>
public sealed class BadCommandLineHome : IDisposable
{
    private readonly TcpListener busy = new(IPAddress.Loopback, 0);

    public BadCommandLineHome()
    {
        busy.Start();
        Cli.MakeDirectory("empty");
        // For the roles: what they make of their own in it before they fail is theirs.
        Cli.MakeDirectory("role");
        Cli.MakeDirectory("tier");
        Cli.MakeDirectory("full/x");
        File.WriteAllText(Path.Combine(Cli.Home, "file"), "precious");
        foreach (var (name, text) in new Dictionary<string, string>
        {
            ["unknown.yaml"] = "frobnicate: 1\n", ["near.yaml"] = "capacty: 1G\n", ["broken.yaml"] = "listen: [\n", ["address.yaml"] = "listen: nowhere\n", ["size.yaml"] = "size: big\n",
        })
        {
            File.WriteAllText(Path.Combine(Cli.Home, name), text);
        }
    }

    public CliHome Cli { get; } = new();

    /// <summary>Puts names in: {home}, {busy} (a port that somebody listens at).</summary>
    public string Fill(string text) => text.Replace("{home}", Cli.Home, StringComparison.Ordinal)
        .Replace("{busy}", ((IPEndPoint)busy.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
        .Replace("{long}", new string('x', 120), StringComparison.Ordinal);

    public void Dispose()
    {
        busy.Stop();
        Cli.Dispose();
    }
}

/// <summary>Every mistake gets one line on standard error that says what is wrong or what to do, an exit code, and leaves nothing behind.</summary>
public sealed class BadCommandLineTests(BadCommandLineHome home) : IClassFixture<BadCommandLineHome>
{
    private const string Role = "--listen tcp:127.0.0.1:0 --controller tcp:127.0.0.1:1";
    private const string Nobody = "--controller tcp:127.0.0.1:1";

    /// <summary>Words apart by blanks, '' for an empty one; NAME=value before the command sets a variable.</summary>
    [Theory]
    // The program and its commands.
    [InlineData("", 2, "no command given")]
    [InlineData("frobnicate", 2, "'frobnicate'")]
    [InlineData("volume", 2, "no command given")]
    [InlineData("volume frobnicate", 2, "'frobnicate'")]
    [InlineData("version x", 2, "'x'")]
    [InlineData("status --frobnicate", 2, "--frobnicate")]
    [InlineData("down x", 2, "'x'")]
    // up
    [InlineData("up", 2, "DIR")]
    [InlineData("up empty x", 2, "'x'")]
    [InlineData("up ''", 2, "empty")]
    [InlineData("up none", 1, "mkdir -p none")]
    [InlineData("up full", 1, "not empty")]
    [InlineData("up file", 1, "not a directory")]
    [InlineData("up /proc", 1, "already a mount point")]
    [InlineData("up none --detach", 1, "mkdir -p none")]
    [InlineData("up full --detach", 1, "not empty")]
    [InlineData("up empty --capacity", 2, "--capacity")]
    [InlineData("up empty --capacity lots", 2, "'lots' is no size")]
    [InlineData("up empty --capacity 1K", 2, "at least 16M")]
    [InlineData("up empty --capacity -1", 2, "'-1' is no size")]
    [InlineData("up empty --capacity 9999999T", 2, "is no size")]
    [InlineData("up empty --capacity 1G --capacity 2G", 2, "2 times")]
    [InlineData("EPHEMERALFS_CAPACITY=lots up empty", 2, "EPHEMERALFS_CAPACITY: 'lots' is no size")]
    [InlineData("EPHEMERALFS_CAPACTY=1G up empty", 2, "did you mean 'capacity'")]
    [InlineData("up empty --config none.yaml", 2, "does not exist")]
    [InlineData("EPHEMERALFS_CONFIG=none.yaml up empty", 2, "does not exist")]
    [InlineData("up empty --config unknown.yaml", 2, "unknown key 'frobnicate'")]
    [InlineData("up empty --config near.yaml", 2, "did you mean 'capacity'")]
    [InlineData("up empty --config broken.yaml", 2, "not valid YAML")]
    [InlineData("up empty --config size.yaml", 2, "'big' is no size")]
    [InlineData("up empty --config empty", 2, "cannot be read")]
    [InlineData("up empty --storage-servers 0", 2, "between 1 and 999")]
    [InlineData("up empty --storage-servers many", 2, "'many' is no number")]
    [InlineData("up empty --tier fast", 2, "CLASS=PATH:SIZE")]
    [InlineData("up empty --tier floppy={home}/tier:1G", 2, "unknown class 'floppy'")]
    [InlineData("up empty --tier ssd={home}/tier:0", 2, "'0' for a size")]
    [InlineData("up empty --tier ssd={home}/tier:big", 2, "'big' for a size")]
    [InlineData("up empty --tier ssd=:1G", 2, "CLASS=PATH:SIZE")]
    [InlineData("up empty --tier ssd={home}/none:1G", 1, "mkdir -p {home}/none")]
    [InlineData("up empty --tier ssd={home}/file:1G", 1, "{home}/file")]
    [InlineData("up empty --port 99999", 2, "a port up to 64000")]
    [InlineData("up empty --port http", 2, "'http' is no number")]
    [InlineData("up empty --port {busy}", 1, "{busy} is in use")]
    [InlineData("up empty --port {busy} --detach", 1, "{busy} is in use")]
    [InlineData("up empty --listen nowhere", 2, "unix or tcp:ADDRESS:PORT")]
    [InlineData("up empty --listen tcp:192.0.2.1:7001", 1, "no address of this machine")]
    [InlineData("up empty --port 0 --listen tcp:127.0.0.1:0", 2, "exclude each other")]
    [InlineData("up empty --metrics 192.0.2.1:0", 2, "loopback")]
    [InlineData("up empty --node ../x", 2, "'../x' is no name")]
    [InlineData("up empty --node ''", 2, "is no name")]
    [InlineData("up empty --mount-options ro,frobnicate", 2, "'frobnicate'")]
    [InlineData("up empty --size big", 2, "'big' is no size")]
    [InlineData("up empty --size 0", 2, "above 0")]
    [InlineData("up empty --inodes 0", 2, "above 0")]
    [InlineData("up empty --inodes -1", 2, "'-1' is no number")]
    [InlineData("up empty --log-level loud", 2, "one of verbose")]
    [InlineData("up empty --state ''", 2, "is empty")]
    [InlineData("up empty --state /proc/none", 1, "choose another directory with --state")]
    [InlineData("up empty --state file", 1, "choose another directory with --state")]
    [InlineData("up empty --state file/none --detach", 1, "choose another directory with --state")]
    // No cluster.
    [InlineData("status", 1, "ephemeralfs up DIR")]
    [InlineData("status --json", 1, "ephemeralfs up DIR")]
    [InlineData("status --state none", 1, "{home}/none")]
    [InlineData("status " + Nobody, 1, "does not answer")]
    [InlineData("status --controller nowhere", 2, "'nowhere'")]
    [InlineData("mount", 2, "VOLUME")]
    [InlineData("mount tmp", 2, "DIR")]
    [InlineData("mount tmp empty", 1, "ephemeralfs up DIR")]
    [InlineData("mount tmp empty --node ../x " + Nobody, 2, "'../x' is no name")]
    [InlineData("mount tmp empty -o frobnicate " + Nobody, 2, "'frobnicate'")]
    [InlineData("mount tmp '' " + Nobody, 2, "empty")]
    [InlineData("mount tmp full " + Nobody, 1, "not empty")]
    [InlineData("mount tmp none " + Nobody, 1, "mkdir -p none")]
    [InlineData("umount", 2, "DIR")]
    [InlineData("umount ''", 2, "empty")]
    [InlineData("umount empty", 1, "no volume is mounted there")]
    [InlineData("umount none", 1, "no volume is mounted there")]
    [InlineData("umount /proc", 1, "no volume is mounted there")]
    [InlineData("volume create", 2, "NAME")]
    [InlineData("volume create v", 1, "ephemeralfs up DIR")]
    [InlineData("volume create v --size big " + Nobody, 2, "'big' is no size")]
    [InlineData("volume create v --size 0 " + Nobody, 2, "'0'")]
    [InlineData("volume create v --inodes 0 " + Nobody, 2, "above 0")]
    [InlineData("volume create v --inodes many " + Nobody, 2, "'many'")]
    [InlineData("volume list", 1, "ephemeralfs up DIR")]
    [InlineData("volume show v", 1, "ephemeralfs up DIR")]
    [InlineData("volume delete v", 1, "ephemeralfs up DIR")]
    [InlineData("upgrade-node", 1, "ephemeralfs up DIR")]
    [InlineData("upgrade-node node-1", 1, "ephemeralfs up DIR")]
    // Roles by themselves.
    [InlineData("controller", 2, "--listen is missing")]
    [InlineData("controller --listen nowhere --state role", 2, "'nowhere' is no address")]
    [InlineData("controller --listen tcp:127.0.0.1:0", 2, "--state is missing")]
    [InlineData("controller --listen tcp:127.0.0.1:0 --state none", 1, "does not exist")]
    [InlineData("controller --listen tcp:127.0.0.1:{busy} --state role", 1, "{busy} is in use")]
    [InlineData("controller --listen tcp:127.0.0.1:0 --metrics 127.0.0.1:{busy} --state role", 1, "{busy} is in use")]
    [InlineData("controller --listen tcp:192.0.2.1:7001 --state role", 1, "no address of this machine")]
    [InlineData("controller --listen unix:/none/s --state role", 1, "/none does not exist")]
    [InlineData("controller --listen unix:{home}/file --state role", 1, "is no socket")]
    [InlineData("controller --listen unix:/tmp/{long} --state role", 2, "107 bytes")]
    [InlineData("controller --config unknown.yaml", 2, "unknown key 'frobnicate'")]
    [InlineData("controller --config address.yaml", 2, "listen: 'nowhere' is no address")]
    [InlineData("EPHEMERALFS_LISTEN=nowhere controller", 2, "EPHEMERALFS_LISTEN: 'nowhere' is no address")]
    [InlineData("metadata", 2, "--listen is missing")]
    [InlineData("metadata --listen tcp:127.0.0.1:0 --state role", 2, "--controller is missing")]
    [InlineData("metadata --state none " + Role, 1, "mkdir -p {home}/none")]
    [InlineData("metadata --state file " + Role, 1, "no directory")]
    [InlineData("metadata --state role --session-timeout-ms 1 " + Role, 2, "between 1000")]
    [InlineData("metadata --state role --listen tcp:127.0.0.1:{busy} " + Nobody, 1, "{busy} is in use")]
    [InlineData("metadata --frobnicate", 2, "--frobnicate")]
    [InlineData("storage --state role " + Role, 2, "--tier is missing")]
    [InlineData("storage --state role --tier ssd={home}/none:1G " + Role, 1, "does not exist")]
    [InlineData("storage --state role --tier ssd={home}/file:1G " + Role, 1, "not a directory")]
    [InlineData("storage --state role --tier fast " + Role, 2, "CLASS=PATH:SIZE")]
    [InlineData("storage --state file --tier ssd={home}/tier:1G " + Role, 1, "no directory")]
    [InlineData("storage --state role --tier ssd={home}/tier:1G --name a/b " + Role, 2, "'a/b' is no name")]
    [InlineData("storage --state role --tier ssd={home}/tier:1G --listen tcp:127.0.0.1:{busy} " + Nobody, 1, "{busy} is in use")]
    [InlineData("node", 2, "--listen is missing")]
    [InlineData("node --workers 0 " + Role, 2, "between 1 and 999")]
    [InlineData("node --write-cache 1K " + Role, 2, "at least 8M")]
    [InlineData("node --read-cache big " + Role, 2, "'big' is no size")]
    [InlineData("node --deadline-ms 1 " + Role, 2, "between 100")]
    [InlineData("node --trace everything " + Role, 2, "fuse,rpc")]
    [InlineData("node --log-file none/log " + Role, 1, "{home}/none/log")]
    [InlineData("node --keeper none.sock " + Role, 1, "none.sock")]
    [InlineData("node --listen tcp:127.0.0.1:{busy} " + Nobody, 1, "{busy} is in use")]
    [InlineData("keeper", 2, "--name")]
    [InlineData("keeper --name a/b --socket k", 2, "'a/b' is no name")]
    [InlineData("keeper --name a --socket /none/k", 1, "/none/k")]
    [InlineData("keeper --name a --socket file", 1, "is no socket")]
    [InlineData("keeper --name a --socket {long}", 2, "107 bytes")]
    public void A_mistake_is_one_line_and_leaves_nothing(string commandLine, int exitCode, string word)
    {
        var variables = new Dictionary<string, string>();
        var words = home.Fill(commandLine).Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(w => w == "''" ? "" : w).ToList();
        // The roles' --state has the variable of the state directory; here only what is on the line counts.
        if (words is ["controller" or "metadata" or "storage" or "node", ..])
        {
            variables["EPHEMERALFS_STATE"] = "";
        }
        while (words.Count > 0 && words[0].StartsWith("EPHEMERALFS_", StringComparison.Ordinal))
        {
            int equals = words[0].IndexOf('=', StringComparison.Ordinal);
            variables[words[0][..equals]] = words[0][(equals + 1)..];
            words.RemoveAt(0);
        }
        var before = Tree();

        home.Cli.Run(variables, [.. words]).MustFail(exitCode, home.Fill(word));

        Assert.Equal(before, Tree());
        Assert.Equal("precious", File.ReadAllText(Path.Combine(home.Cli.Home, "file")));
        home.Cli.NothingRemains();
    }

    /// <summary>These try for a while; together, so that it is one while.</summary>
    [Fact]
    public async Task A_controller_that_does_not_answer_is_told()
    {
        var before = Tree();
        string[] lines = ["mount tmp empty ", "volume create v "];
        var results = await Task.WhenAll(lines.Select(line => Task.Run(() => home.Cli.Run((line + Nobody).Split(' ')))));
        Assert.All(results, result => result.MustFail(1, "does not answer"));
        Assert.Equal(before, Tree());
        home.Cli.NothingRemains();
    }

    private List<string> Tree() => [.. home.Cli.Tree().Where(p => !p.StartsWith("role/", StringComparison.Ordinal) && !p.StartsWith("tier/", StringComparison.Ordinal))];
}
