using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Cluster;

/// <summary>How to start this program again.</summary>
internal static class Self
{
    /// <summary>Set in everything that a cluster starts, to its state directory: by it <c>down</c> finds what no record names.</summary>
    public const string ClusterVariable = "EPHEMERALFS_CLUSTER";

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
