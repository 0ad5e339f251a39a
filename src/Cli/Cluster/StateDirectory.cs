namespace EphemeralFs.Cli.Cluster;

/// <summary>Making and removing the state directory itself.</summary>
internal static class StateDirectory
{
    /// <summary>A file in a state directory that was made by us.</summary>
    private const string MadeMark = "made-by-ephemeralfs";

    /// <summary>Makes it when it is missing.</summary>
    /// <returns>Whether it was made, and so goes with the cluster.</returns>
    public static bool Make(ClusterPaths paths)
    {
        if (Directory.Exists(paths.State))
        {
            return false;
        }

        ClusterPaths.MakePrivateDirectory(paths.State);
        // Beside the record, for when that is damaged or was never written.
        File.WriteAllText(Path.Combine(paths.State, MadeMark), "");
        return true;
    }

    /// <summary>Removes it, if we made it and nothing is left in it.</summary>
    public static void RemoveIfEmpty(ClusterPaths paths, bool made)
    {
        var mark = Path.Combine(paths.State, MadeMark);
        made |= File.Exists(mark);
        if (!made || !Directory.Exists(paths.State) || Directory.EnumerateFileSystemEntries(paths.State).Any(entry => entry != mark))
        {
            return;
        }

        File.Delete(mark);
        try
        {
            Directory.Delete(paths.State);
        }
        catch (IOException)
        {
            // Somebody starts a cluster in it at this moment.
            File.WriteAllText(mark, "");
        }
    }
}
