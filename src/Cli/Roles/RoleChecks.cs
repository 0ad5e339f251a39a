using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Roles;

/// <summary>What roles check alike at their start.</summary>
internal static class RoleChecks
{
    /// <summary>How long a role that serves already waits for the controller before it calls itself ready without one.</summary>
    public static readonly TimeSpan RegistrationPatience = TimeSpan.FromSeconds(5);

    /// <summary>The directory, when it exists and may be written.</summary>
    public static string ExistingDirectory(string option, string path)
    {
        if (!Directory.Exists(path))
        {
            throw new StartupException(File.Exists(path)
                ? $"{option} {path} is no directory: give a directory"
                : $"{option} {path} does not exist: create it (mkdir -p {path}), or give another");
        }

        return path;
    }
}
