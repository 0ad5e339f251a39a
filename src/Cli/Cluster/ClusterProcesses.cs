using System.Globalization;
using System.Text;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Finds the processes of a cluster by what they have in their environment, whatever records were lost.</summary>
internal static class ClusterProcesses
{
    /// <summary>Everything that carries this cluster's mark, this process excepted.</summary>
    public static IReadOnlyList<ProcessRecord> Find(ClusterPaths paths)
    {
        var mark = Encoding.UTF8.GetBytes($"{Self.ClusterVariable}={paths.State}");
        var found = new List<ProcessRecord>();
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
                && pid != Environment.ProcessId
                && IsOurs(directory))
            {
                // Read the start time first, then look again: the process id may have changed hands in between.
                var record = ProcessRecord.Of(pid);
                if (IsMarked(directory, mark) && record.IsAlive)
                {
                    found.Add(record);
                }
            }
        }

        return found;
    }

    /// <summary>The command line of a process; empty when it has gone.</summary>
    public static IReadOnlyList<string> Arguments(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Split('\0', StringSplitOptions.RemoveEmptyEntries);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Is it this program? A program that a user started from one of our processes inherits the mark, and is none of our business.</summary>
    private static bool IsOurs(string directory)
    {
        try
        {
            var program = new FileInfo(Path.Combine(directory, "exe")).LinkTarget ?? "";
            return Path.GetFileName(program).Replace(" (deleted)", "", StringComparison.Ordinal) is "ephemeralfs" or "dotnet" or "sh" or "dash" or "bash";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false; // gone, or another user's
        }
    }

    private static bool IsMarked(string directory, byte[] mark)
    {
        try
        {
            var rest = File.ReadAllBytes(Path.Combine(directory, "environ")).AsSpan();
            while (!rest.IsEmpty)
            {
                var end = rest.IndexOf((byte)0);
                var variable = end < 0 ? rest : rest[..end];
                if (variable.SequenceEqual(mark))
                {
                    return true;
                }

                rest = end < 0 ? [] : rest[(end + 1)..];
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Gone, or another user's.
        }

        return false;
    }
}
