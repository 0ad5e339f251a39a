namespace EphemeralFs.Cli.Cluster;

/// <summary>Making and removing the state directory itself.</summary>
internal static class StateDirectory
{
    /// <summary>Makes it when it is missing.</summary>
    /// <returns>Whether it was made, and so goes with the cluster.</returns>
    public static bool Make(ClusterPaths paths)
    {
        if (Directory.Exists(paths.State))
        {
            return false;
        }

        ClusterPaths.MakePrivateDirectory(paths.State);
        return true;
    }

    /// <summary>Removes it, if we made it and nothing is left in it.</summary>
    public static void RemoveIfEmpty(ClusterPaths paths, bool made)
    {
        if (made && Directory.Exists(paths.State) && !Directory.EnumerateFileSystemEntries(paths.State).Any())
        {
            Directory.Delete(paths.State);
        }
    }
}
