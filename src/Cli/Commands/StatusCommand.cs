using System.CommandLine;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Cli.Output;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs status [--json]</c>: exit code 0 when there is a cluster, healthy or not.</summary>
internal static class StatusCommand
{
    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "As JSON; docs/operations.md documents the fields" };
        var command = new Command("status", "Show roles, tiers, volumes and mounts") { json };
        var cluster = new ClusterOptions(command, withController: true);
        command.SetAction((parsed, _) =>
        {
            var paths = cluster.Paths(parsed);
            return RunAsync(paths, cluster.ControllerIfGiven(parsed), parsed.GetValue(json));
        });
        return command;
    }

    private static async Task<int> RunAsync(ClusterPaths paths, Endpoint? controller, bool json)
    {
        var view = await ClusterStatus.ReadAsync(paths, controller).ConfigureAwait(false) ?? throw (controller is null
            ? ClusterOptions.NotRunning(paths)
            : VolumeCommand.NoAnswer(controller, Status.Unavailable));
        if (json)
        {
            Console.WriteLine(StatusJson.Serialize(view));
        }
        else
        {
            StatusText.Write(view, Console.Out);
        }

        return ExitCodes.Success;
    }
}
