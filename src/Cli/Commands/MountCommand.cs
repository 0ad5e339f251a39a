using System.CommandLine;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs mount VOLUME DIR --node NAME</c></summary>
internal static class MountCommand
{
    public static Command Create()
    {
        var volume = new Argument<string>("volume") { HelpName = "VOLUME", Description = "Name of the volume" };
        var directory = new Argument<string>("dir") { HelpName = "DIR", Description = "An empty directory" };
        var node = new Option<string?>("--node") { HelpName = "NAME", Description = "Node whose daemon mounts it; started when it does not run [default: the node of 'up']" };
        var mountOptions = new Option<string?>("-o", "--options")
        {
            HelpName = "OPTIONS",
            Description = "Separated by commas: ro, nosuid, nodev, noexec, allow_other, default_permissions, idmap, nonempty",
        };
        var command = new Command("mount", "Mount a volume") { volume, directory, node, mountOptions };
        var cluster = new ClusterOptions(command, withController: true);
        command.SetAction((parsed, stopping) =>
        {
            var paths = cluster.Paths(parsed);
            return RunAsync(
                paths,
                cluster.Controller(parsed),
                parsed.GetValue(volume)!,
                parsed.GetValue(directory)!,
                parsed.GetValue(node) ?? ClusterFile.Load(paths)?.Node ?? "node-1",
                parsed.GetValue(mountOptions) ?? "",
                stopping);
        });
        return command;
    }

    private static async Task<int> RunAsync(
        ClusterPaths paths, Endpoint controller, string volume, string directory, string node, string options, CancellationToken stopping)
    {
        if (CommonOptions.NameError(node) is { } wrong)
        {
            throw StartupException.Usage($"--node: '{node}' {wrong}");
        }

        if (NodeMounts.OptionsError(options) is { } unknown)
        {
            throw StartupException.Usage($"-o: {unknown}");
        }

        var path = NodeMounts.Check(directory, options);
        using (var client = new RpcClient(controller))
        {
            // Before a daemon is started for it.
            var found = await client.CallAsync<GetVolumesRequest, GetVolumesReply>(new(volume), timeoutMs: VolumeCommand.AnswerMs, cancellation: stopping).ConfigureAwait(false);
            if (!found.IsOk)
            {
                throw VolumeCommand.NoAnswer(controller, found.Status, found.Error);
            }

            if (found.Value.Volumes.Length == 0)
            {
                throw VolumeCommand.NoSuchVolume(volume);
            }
        }

        StateDirectory.Make(paths);
        await NodeLauncher.EnsureRunningAsync(paths, node, controller.Text, [], stopping).ConfigureAwait(false);
        await NodeMounts.MountAsync(paths, node, volume, path, options).ConfigureAwait(false);
        Console.WriteLine($"volume {volume} is mounted at {path} by node {node}");
        return ExitCodes.Success;
    }
}
