namespace EphemeralFs.Tests.Containers;

/// <summary>What is mounted on this machine.</summary>
internal static class MountInfo
{
    public static bool IsMountPoint(string path) => Read().Any(mount => mount.Path == path);

    /// <summary>Mount points below any of the directories.</summary>
    public static IReadOnlyList<string> Below(params string[] directories) =>
        [.. Read().Select(mount => mount.Path).Where(path => directories.Any(directory => path.StartsWith(directory + "/", StringComparison.Ordinal)))];

    /// <summary>Options of a mount, such as ro and noexec.</summary>
    public static string[] OptionsOf(string path) => Read().Single(mount => mount.Path == path).Options.Split(',');

    private static IEnumerable<(string Path, string Options)> Read() =>
        File.ReadLines("/proc/self/mountinfo").Select(line => line.Split(' ')).Select(fields => (fields[4], fields[5]));
}
