using System.CommandLine;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Rpc;

namespace EphemeralFs.Cli.CommandLine;

/// <summary>The flags by which a command finds the cluster that it is about.</summary>
internal sealed class ClusterOptions
{
    private readonly Option<string?> _state = new("--state")
    {
        HelpName = "DIR",
        Description = "State directory of the cluster [EPHEMERALFS_STATE; default: /var/lib/ephemeralfs for root, else $XDG_RUNTIME_DIR/ephemeralfs]",
    };

    private readonly Option<string?>? _controller;

    /// <summary>Adds the flags to the command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="withController">Also <c>--controller</c>, for a cluster that <c>up</c> did not start here.</param>
    public ClusterOptions(Command command, bool withController = false)
    {
        command.Add(_state);
        if (withController)
        {
            _controller = new Option<string?>("--controller")
            {
                HelpName = "ADDRESS",
                Description = "The controller's address, when the cluster was not started here by 'up' [EPHEMERALFS_CONTROLLER]",
            };
            command.Add(_controller);
        }
    }

    /// <summary>Where the cluster lies.</summary>
    public ClusterPaths Paths(ParseResult parsed) => ClusterPaths.Resolve(parsed.GetValue(_state));

    /// <summary>The controller's address: from the flag, the variable, or what <c>up</c> wrote down.</summary>
    public Endpoint Controller(ParseResult parsed)
    {
        // Where it is given no state directory is needed: in a pod there may be none.
        if (ControllerIfGiven(parsed) is { } given)
        {
            return given;
        }

        var paths = Paths(parsed);
        return ClusterFile.Load(paths) is { Controller.Length: > 0 } cluster ? Endpoint.Parse(cluster.Controller) : throw NotRunning(paths);
    }

    /// <summary>The controller's address from the flag or the variable, or null.</summary>
    public Endpoint? ControllerIfGiven(ParseResult parsed)
    {
        var text = (_controller is null ? null : parsed.GetValue(_controller)) ?? Environment.GetEnvironmentVariable(CommonOptions.Controller.Variable);
        return string.IsNullOrEmpty(text) ? null
            : Endpoint.TryParse(text, out var given, out var error) ? given
            : throw StartupException.Usage($"--controller: {error}");
    }

    /// <summary>There is no cluster.</summary>
    public static StartupException NotRunning(ClusterPaths paths) =>
        new($"no cluster runs in {paths.State}: start one with 'ephemeralfs up DIR', or name another state directory with --state");
}
