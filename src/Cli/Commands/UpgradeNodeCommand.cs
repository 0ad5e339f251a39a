using System.CommandLine;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs upgrade-node [NAME]</c>: replaces the daemon of a node by this program; mounts, open files and locks stay.</summary>
internal static class UpgradeNodeCommand
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    public static Command Create()
    {
        var name = new Argument<string?>("name") { HelpName = "NAME", Arity = ArgumentArity.ZeroOrOne, Description = "Node; all nodes when left out" };
        var command = new Command("upgrade-node", "Replace a node's daemon in place by this version; programs carry on") { name };
        var cluster = new ClusterOptions(command);
        command.SetAction(parsed => Run(cluster.Paths(parsed), parsed.GetValue(name)));
        return command;
    }

    private static int Run(ClusterPaths paths, string? name)
    {
        var known = NodeLauncher.Names(paths);
        if (known.Count == 0)
        {
            throw ClusterOptions.NotRunning(paths);
        }

        foreach (var node in name is null ? known : [name])
        {
            var record = (known.Contains(node) ? NodeLauncher.Load(paths, node) : null)
                ?? throw new StartupException($"there is no node {node}: choose from {string.Join(", ", known)}");
            var command = DaemonCommand(record);
            try
            {
                var incarnation = KeeperControl.Handover(paths.KeeperSocket(node), command, timeout: s_patience);
                Console.WriteLine($"node {node}: daemon number {incarnation} runs, process {KeeperControl.Status(paths.KeeperSocket(node)).DaemonPid}");
            }
            catch (KeeperException e)
            {
                throw new StartupException($"node {node}: {e.Message}: see {record.Log}", e);
            }
        }

        return ExitCodes.Success;
    }

    /// <summary>The daemon's command line with this program in front.</summary>
    private static List<string> DaemonCommand(NodeRecord record)
    {
        var after = record.Command.SkipWhile(argument => argument != "--").Skip(1).SkipWhile(argument => argument != "node");
        return [.. Self.Command, .. after];
    }
}
