using System.Security.Cryptography;
using System.Text;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Which directories this cluster mounted, written down before it is done: after any crash they can be unmounted.</summary>
internal static class MountRecords
{
    /// <summary>Writes a directory down. One line: the node, a tab, the path.</summary>
    public static void Add(ClusterPaths paths, string directory, string node)
    {
        Directory.CreateDirectory(paths.Mounts);
        File.WriteAllText(RecordOf(paths, directory), $"{node}\t{directory}");
    }

    public static void Remove(ClusterPaths paths, string directory)
    {
        try
        {
            File.Delete(RecordOf(paths, directory));
        }
        catch (DirectoryNotFoundException)
        {
            // Nothing was ever mounted here.
        }
    }

    /// <summary>Everything that was written down.</summary>
    public static IReadOnlyList<(string Node, string Directory)> All(ClusterPaths paths)
    {
        if (!Directory.Exists(paths.Mounts))
        {
            return [];
        }

        var found = new List<(string, string)>();
        foreach (var file in Directory.EnumerateFiles(paths.Mounts))
        {
            var text = File.ReadAllText(file);
            var tab = text.IndexOf('\t', StringComparison.Ordinal);
            if (tab >= 0)
            {
                found.Add((text[..tab], text[(tab + 1)..]));
            }
        }

        return found;
    }

    /// <summary>Is a file system of this program mounted there?</summary>
    public static bool IsMounted(string directory) => MountTable.Find(directory) is { Type: MountTable.FileSystemType };

    private static string RecordOf(ClusterPaths paths, string directory) =>
        Path.Combine(paths.Mounts, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(directory)))[..16]);
}
