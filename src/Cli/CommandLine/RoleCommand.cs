using System.CommandLine;
using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.CommandLine;

/// <summary>The subcommand of a role.</summary>
internal static class RoleCommand
{
    public static Command Create(RoleDefinition role)
    {
        var command = new Command(role.Name, role.Summary);
        var options = new SpecOptions(command, role.AllOptions);
        command.SetAction((parsed, _) => RoleHost.RunAsync(role, options.Load(parsed)));
        return command;
    }
}
