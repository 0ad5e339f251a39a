using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Cluster;

/// <summary>How to start this program again.</summary>
internal static class Self
{
    /// <summary>Set in everything that a cluster starts, to its state directory: by it <c>down</c> finds what no record names.</summary>
    public const string ClusterVariable = "EPHEMERALFS_CLUSTER";

    /// <summary>The .NET runtime's switch for its diagnostic sockets.</summary>
    private const string DiagnosticsVariable = "DOTNET_EnableDiagnostics";

    /// <summary>Marks the processes that are started from now on as those of a cluster, and prepares them as <see cref="PrepareChildren()"/> does.</summary>
    /// <param name="state">The cluster's state directory.</param>
    public static void PrepareChildren(string state)
    {
        Environment.SetEnvironmentVariable(ClusterVariable, state);
        PrepareChildren();
    }

    /// <summary>
    /// Keeps the runtime of processes that are started from now on from making its sockets in the directory for temporary files, unless the
    /// environment asks for them: one that is killed leaves them there, and where /tmp is our own mount, the daemon that is to serve it would
    /// wait for itself before its first instruction.
    /// </summary>
    public static void PrepareChildren()
    {
        if (Environment.GetEnvironmentVariable(DiagnosticsVariable) is null)
        {
            Environment.SetEnvironmentVariable(DiagnosticsVariable, "0");
        }
    }

    /// <summary>The program and, when it runs under <c>dotnet</c>, its assembly.</summary>
    public static IReadOnlyList<string> Command
    {
        get
        {
            var program = Environment.ProcessPath ?? throw new StartupException("the path of this program is not known (is /proc mounted?)");
            return Path.GetFileNameWithoutExtension(program) == "dotnet"
                ? [program, Path.Combine(AppContext.BaseDirectory, "ephemeralfs.dll")]
                : [program];
        }
    }
}
