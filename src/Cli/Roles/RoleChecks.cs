using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;

namespace EphemeralFs.Cli.Roles;

/// <summary>What roles check alike at their start.</summary>
internal static class RoleChecks
{
    /// <summary>How long a role that serves already waits for the controller before it calls itself ready without one.</summary>
    public static readonly TimeSpan RegistrationPatience = TimeSpan.FromSeconds(5);

    /// <summary>The directory, unless something else has its name.</summary>
    public static string DirectoryToMake(string option, string path) => File.Exists(path) ? throw NoDirectory(option, path) : path;

    /// <summary>The directory, when it exists and may be written.</summary>
    public static string ExistingDirectory(string option, string path)
    {
        if (!Directory.Exists(path))
        {
            throw File.Exists(path)
                ? NoDirectory(option, path)
                : new StartupException($"{option} {path} does not exist: create it (mkdir -p {path}), or give another");
        }

        return path;
    }

    /// <summary>The right to be the only one of its kind in a directory: two would overwrite each other's journal.</summary>
    public static ProcessControlLock TakeDirectory(string role, string directory, string file)
    {
        var error = ProcessControlLock.TryTake(Path.Combine(directory, file), out var taken, out var owner);
        return error switch
        {
            Errno.OK => taken!,
            Errno.EAGAIN => throw new StartupException($"another {role} (process {owner}) uses {directory}: stop it, or give another --state"),
            _ => throw new StartupException($"cannot write to {directory} ({error}): give another --state, or run as a user who may"),
        };
    }

    private static StartupException NoDirectory(string option, string path) => new($"{option} {path} is no directory: give a directory");
}
