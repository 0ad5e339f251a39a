using System.CommandLine;
using System.CommandLine.Invocation;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Cli.Commands;
using EphemeralFs.Cli.Roles;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;

namespace EphemeralFs.Cli;

/// <summary>The program: one subcommand for each role and tool.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        try
        {
            if (arguments.Length == 0)
            {
                throw StartupException.Usage("no command given: try 'ephemeralfs up DIR', or see 'ephemeralfs --help'");
            }

            if (arguments[0] == "up")
            {
                SignalDefaults.AcceptInterrupt();
            }

            var parsed = CreateRoot().Parse(arguments);
            if (parsed.Action is ParseErrorAction)
            {
                throw StartupException.Usage($"{Mistake(parsed)} (see '{Usage(parsed)} --help')");
            }

            // Signals are handled where something has to be stopped.
            return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null }).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            return StartupErrors.Report(e);
        }
    }

    private static RootCommand CreateRoot()
    {
        var root = new RootCommand("EphemeralFs: an elastic, shared, ephemeral /tmp. Start with: ephemeralfs up DIR")
        {
            UpCommand.Create(),
            MountCommand.Create(),
            UmountCommand.Create(),
            DownCommand.Create(),
            StatusCommand.Create(),
            VolumeCommand.Create(),
            UpgradeNodeCommand.Create(),
            VersionCommand.Create(),
            KeeperCommand.Create(),
        };
        foreach (var role in AllRoles.All)
        {
            root.Add(RoleCommand.Create(role));
        }

        return root;
    }

    /// <summary>What is wrong with the command line; a word where a subcommand belongs is named.</summary>
    private static string Mistake(ParseResult parsed) =>
        parsed.CommandResult.Command.Subcommands.Count == 0 ? parsed.Errors[0].Message.TrimEnd('.', ':')
        : parsed.UnmatchedTokens is [var word, ..] ? $"there is no command '{word}'"
        : "no command given";

    /// <summary>"ephemeralfs volume create": the command that was meant.</summary>
    private static string Usage(ParseResult parsed)
    {
        var names = new Stack<string>();
        for (System.CommandLine.Parsing.SymbolResult? at = parsed.CommandResult; at is System.CommandLine.Parsing.CommandResult command; at = at.Parent)
        {
            names.Push(command.Command is RootCommand ? "ephemeralfs" : command.Command.Name);
        }

        return string.Join(' ', names);
    }
}
