using System.CommandLine;
using System.Reflection;
using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs version</c></summary>
internal static class VersionCommand
{
    public static string Version =>
        typeof(VersionCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    public static Command Create()
    {
        var command = new Command("version", "Print the version");
        command.SetAction(_ =>
        {
            Console.WriteLine($"ephemeralfs {Version}");
            return ExitCodes.Success;
        });
        return command;
    }
}
