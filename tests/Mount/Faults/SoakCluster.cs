using System.Globalization;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>A cluster on TCP with two nodes, the second of which is in a network of its own that can be cut. Both have volume tmp; a second volume only the first node has.</summary>
/// <remarks>How many operations are in flight the kernel says: requests of a mount that have no answer yet (fusectl). Needs root and iproute2.</remarks>
internal sealed class SoakCluster : IDisposable
{
    private const string FirstNode = "node-1";
    private const string VolumeAlone = "alone";

    private readonly NetworkOfItsOwn network = new();
    private readonly TestCluster cluster;
    private readonly string connections;

    public SoakCluster()
    {
        Tool.Require("fio", "tar", "git", "sqlite3", "mount", "umount");
        try
        {
            cluster = new TestCluster("efssoak", null, "--listen", $"tcp:{network.Outside}:0");
        }
        catch
        {
            network.Dispose();
            throw;
        }
        connections = cluster.MakeDirectory("fusectl");
        Second = cluster.MakeDirectory("b");
        Alone = cluster.MakeDirectory("alone");
        try
        {
            new Command(cluster.Home, 20, "mount", "-t", "fusectl", "none", connections).Run().MustSucceed();
            cluster.MountIn(network, Second, "b");
            cluster.Program(60, "volume", "create", VolumeAlone).Run().MustSucceed();
            cluster.Program(60, "mount", VolumeAlone, Alone, "--node", FirstNode).Run().MustSucceed();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The volume through the first node.</summary>
    public string First => cluster.First;

    /// <summary>The volume through the node whose network can be cut.</summary>
    public string Second { get; }

    /// <summary>A volume that only the first node has, so that the server hears of files late.</summary>
    public string Alone { get; }

    public NetworkOfItsOwn Network => network;

    /// <summary>A new directory outside of the volume.</summary>
    public string NewPlainDirectory(string name) => cluster.MakeDirectory(name);

    /// <summary>The processes of a role.</summary>
    public IReadOnlyList<ClusterProcess> Living(string role) => [.. ClusterProcess.All(cluster.State).Where(process => process.Role == role)];

    /// <summary>Operations of programs that wait for their answer now, on all mounts.</summary>
    public int InFlight() => Waiting(First) + Waiting(Second) + Waiting(Alone);

    /// <summary>
    /// Whether both the keeper and the daemon of a node have its mounts now, so that either of them may die. While a new one has not got it yet from the other, the
    /// other is the only one that has it.
    /// </summary>
    public bool IsHeldTwice(string node)
    {
        string sockets = Path.Combine(cluster.State, "nodes", node);
        int mounts = node == FirstNode ? 2 : 1;
        try
        {
            var kept = KeeperControl.Status(Path.Combine(sockets, "keeper.sock"));
            if (kept is not { State: KeeperState.Running, DaemonConnected: true } || kept.Entries.Count != mounts)
            {
                return false;
            }
        }
        catch (KeeperException)
        {
            return false; // it is being started
        }
        using var daemon = new RpcClient(Endpoint.Unix(Path.Combine(sockets, "node.sock")));
        var status = daemon.CallAsync<NodeStatusRequest, NodeStatusReply>(default, timeoutMs: 1000).AsTask().GetAwaiter().GetResult();
        return status.IsOk && status.Value.Mounts.Length == mounts;
    }

    /// <summary>Returns when the servers have answered both nodes.</summary>
    public void AwaitAnswers()
    {
        foreach (string mount in new[] { First, Second })
        {
            new Command(cluster.Home, 120, "stat", "-f", mount).Run().MustSucceed();
        }
    }

    /// <inheritdoc cref="TestCluster.KeepLogs"/>
    public string KeepLogs(string name) => cluster.KeepLogs(name);

    public CommandResult Status() => cluster.Program(60, "status", "--json").Run();

    /// <summary>Bytes and inodes of the volumes that are in use.</summary>
    public string Usage() => string.Concat(
        from volume in (string[])["tmp", VolumeAlone] select cluster.Program(60, "volume", "show", volume, "--json").Run().MustSucceed());

    public void Dispose()
    {
        new Command(cluster.Home, 20, "umount", connections).Run();
        try
        {
            cluster.Dispose();
        }
        finally
        {
            network.Dispose();
        }
    }

    /// <summary>The directory of a connection is the number of the mount's device, which mountinfo tells without asking the mount itself.</summary>
    private int Waiting(string mount)
    {
        string device = File.ReadLines("/proc/self/mountinfo").Select(line => line.Split(' ')).Last(fields => fields[4] == mount)[2];
        string number = device[(device.IndexOf(':', StringComparison.Ordinal) + 1)..];
        return int.Parse(File.ReadAllText(Path.Combine(connections, number, "waiting")), CultureInfo.InvariantCulture);
    }
}
