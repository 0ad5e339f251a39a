using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using EphemeralFs.Cli.Cluster;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;
using EphemeralFs.Interop;

namespace EphemeralFs.Cli.Commands;

/// <summary>
/// <c>ephemeralfs keeper</c>: holds a node's descriptors and supervises its daemon. It has no web server, no logger and no options file:
/// it must stay small, because it is what everything else on the node relies on.
/// </summary>
internal static class KeeperCommand
{
    /// <summary>Name of the node.</summary>
    public static readonly OptionSpec NameSpec = CommonOptions.Name("node-1");

    public static Command Create()
    {
        var name = new Option<string>("--name") { HelpName = "NAME", Description = "Name of the node", Required = true };
        var socket = new Option<string>("--socket") { HelpName = "PATH", Description = "Unix socket to serve", Required = true };
        var daemon = new Argument<string[]>("daemon")
        {
            Arity = ArgumentArity.ZeroOrMore,
            Description = "After --: the command line of the node daemon; without one nothing is started",
        };
        var command = new Command("keeper", "Run the keeper of a node: holds its mounts while the daemon is replaced") { name, socket, daemon };
        command.SetAction(parsed => Run(parsed.GetValue(name)!, parsed.GetValue(socket)!, parsed.GetValue(daemon) ?? []));
        return command;
    }

    private static int Run(string name, string socket, string[] daemon)
    {
        if (NameSpec.Validate(name) is { } wrong)
        {
            throw StartupException.Usage($"--name: '{name}' {wrong}");
        }

        var path = Path.GetFullPath(socket);
        if (Path.Exists(path) && !UnixSocketFile.IsSocket(path))
        {
            throw new StartupException($"--socket: {path} is there and is no socket: remove it, or choose another path");
        }

        if (System.Text.Encoding.UTF8.GetByteCount(path) > Rpc.Endpoint.UnixPathMaxBytes)
        {
            throw StartupException.Usage($"--socket: {path} is longer than the {Rpc.Endpoint.UnixPathMaxBytes} bytes that the path of a unix socket may have: choose a shorter one");
        }

        Self.PrepareChildren();
        var human = !Console.IsErrorRedirected;
        var options = new KeeperOptions { SocketPath = path, NodeCommand = daemon, Log = line => Log(human, name, line) };
        KeeperHost keeper;
        try
        {
            keeper = KeeperHost.Start(options);
        }
        catch (KeeperException e)
        {
            throw new StartupException(e.Message, e);
        }

        using (keeper)
        {
            using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
            ServiceNotifier.Send("", "READY=1", $"MAINPID={Environment.ProcessId}");
            keeper.WaitForEnd(Timeout.InfiniteTimeSpan);
            return ExitCodes.Success;
        }

        void Stop(PosixSignalContext context)
        {
            context.Cancel = true;
            if (daemon.Length > 0)
            {
                keeper.RequestShutdown();
            }
            else
            {
                // A daemon that somebody else started goes on, and gives everything to the next keeper.
                keeper.RequestExit();
            }
        }
    }

    private static void Log(bool human, string name, string line)
    {
        var now = DateTime.UtcNow;
        Console.Error.WriteLine(human
            ? $"{now.ToString("HH:mm:ss.fff", CultureInfo.InvariantCulture)} INF keeper {name}: {line}"
            : $"{{\"@t\":\"{now.ToString("O", CultureInfo.InvariantCulture)}\",\"@l\":\"Information\",\"@m\":\"{JsonEncodedText.Encode(line)}\",\"Role\":\"keeper\",\"Node\":\"{name}\",\"Pid\":{Environment.ProcessId}}}");
    }
}
