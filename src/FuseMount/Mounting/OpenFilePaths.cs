using System.Globalization;

namespace EphemeralFs.FuseMount.Mounting;

/// <summary>Under which paths programs have files of a mount open, out of <c>/proc/[pid]/fd</c> and <c>fdinfo</c> (proc(5)). Asks no file system, so also while the mount does not answer.</summary>
public static class OpenFilePaths
{
    /// <summary>Looks at all processes that may be looked at.</summary>
    /// <param name="mountPoint">Where the file system is mounted; bind mounts of it and other namespaces count too.</param>
    /// <param name="inodes">Inode numbers.</param>
    /// <returns>A path for each that is open somewhere, as that program sees it.</returns>
    public static IReadOnlyDictionary<ulong, string> Find(string mountPoint, IReadOnlySet<ulong> inodes)
    {
        var found = new Dictionary<ulong, string>();
        if (MountTable.Find(mountPoint) is not { } mount)
        {
            return found;
        }

        foreach (string process in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out _))
            {
                try
                {
                    Look(process, mount.Device, inodes, found);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    // It has ended, or belongs to somebody else.
                }
            }
        }

        return found;
    }

    private static void Look(string process, string device, IReadOnlySet<ulong> inodes, Dictionary<ulong, string> found)
    {
        HashSet<ulong>? mounts = null;

        // Not the links in fd: .NET asks what they lead to, and that would be a request to the mount.
        foreach (string descriptor in Directory.EnumerateFiles(Path.Combine(process, "fdinfo")))
        {
            string[] info = File.ReadAllLines(descriptor);
            if (Field(info, "ino:") is not { } ino || !inodes.Contains(ino) || found.ContainsKey(ino))
            {
                continue;
            }

            // Other file systems have the same inode numbers.
            mounts ??= [.. MountTable.Parse(File.ReadLines(Path.Combine(process, "mountinfo"))).Where(m => m.Device == device).Select(m => (ulong)m.MountId)];
            if (Field(info, "mnt_id:") is { } id && mounts.Contains(id) && new FileInfo(Path.Combine(process, "fd", Path.GetFileName(descriptor))).LinkTarget is { } path)
            {
                found.Add(ino, path);
            }
        }
    }

    private static ulong? Field(string[] lines, string name) =>
        Array.Find(lines, line => line.StartsWith(name, StringComparison.Ordinal)) is { } line
        && ulong.TryParse(line.AsSpan(name.Length).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out ulong value) ? value : null;
}
