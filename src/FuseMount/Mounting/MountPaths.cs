namespace EphemeralFs.FuseMount.Mounting;

/// <summary>Paths as the mount table writes them.</summary>
public static class MountPaths
{
    /// <summary>Symbolic links followed before giving up, as the kernel's limit.</summary>
    private const int MaxLinks = 40;

    /// <summary>
    /// The absolute path without symbolic links, dots and double slashes. The last part is not looked at if it is a mount point (its daemon
    /// may be dead), and parts that do not exist stay as they are.
    /// </summary>
    public static string Resolve(string path)
    {
        string absolute = Path.GetFullPath(path);
        int links = 0;
        return ResolveParts(absolute, ref links);
    }

    private static string ResolveParts(string absolute, ref int links)
    {
        string resolved = "/";
        string[] parts = absolute.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (int i = 0; i < parts.Length; i++)
        {
            string next = Path.Combine(resolved, parts[i]);
            string? target = new FileInfo(next).LinkTarget;
            if (target is null)
            {
                resolved = next;
                continue;
            }
            if (++links > MaxLinks)
            {
                throw new MountException(Core.Errno.ELOOP, $"{absolute}: too many symbolic links");
            }
            string rest = string.Join('/', parts[(i + 1)..]);
            return ResolveParts(Path.GetFullPath(Path.Combine(resolved, target, rest)), ref links);
        }
        return resolved;
    }
}
