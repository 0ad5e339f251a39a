using System.CommandLine;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs umount DIR</c>: by the daemon that has it, else directly (the daemon is dead, or of another cluster).</summary>
internal static class UmountCommand
{
    public static Command Create()
    {
        var directory = new Argument<string>("dir") { HelpName = "DIR", Description = "The mount point" };
        var lazy = new Option<bool>("--lazy", "-l") { Description = "Take it out of sight at once, also while it is in use" };
        var command = new Command("umount", "Unmount a volume") { directory, lazy };
        var cluster = new ClusterOptions(command);
        command.SetAction((parsed, _) => RunAsync(cluster.Paths(parsed), parsed.GetValue(directory)!, parsed.GetValue(lazy)));
        return command;
    }

    private static async Task<int> RunAsync(ClusterPaths paths, string directory, bool lazy)
    {
        var path = NodeMounts.Resolve(directory);
        if (!MountRecords.IsMounted(path))
        {
            MountRecords.Remove(paths, path);
            throw new StartupException($"{directory}: no volume is mounted there: see 'ephemeralfs status'");
        }

        var node = MountRecords.All(paths).FirstOrDefault(m => m.Directory == path).Node ?? "";
        if (await Teardown.UnmountAsync(paths, node, path, lazy).ConfigureAwait(false) is { } error)
        {
            throw new StartupException(error);
        }

        Console.WriteLine($"{path} is unmounted");
        return ExitCodes.Success;
    }
}
