using System.Text.Json.Nodes;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Mount;

/// <summary>A cluster of a test's own below the directory for temporary files, started with the program itself as a user would. Disposing stops it.</summary>
public sealed class TestCluster : IDisposable
{
    /// <summary>Starts it.</summary>
    /// <param name="name">Begins the name of its directory. Short: paths of sockets are below it.</param>
    /// <param name="environment">Set for the cluster's processes.</param>
    /// <param name="upOptions">Further options of <c>up</c>.</param>
    public TestCluster(string name, IReadOnlyDictionary<string, string>? environment = null, params string[] upOptions)
    {
        Home = Directory.CreateTempSubdirectory(name).FullName;
        // Other users' processes (PostgreSQL's) pass through it.
        File.SetUnixFileMode(Home, (UnixFileMode)0b111_101_101);
        State = Path.Combine(Home, "state");
        First = MakeDirectory("a");
        try
        {
            // The launcher builds the program if its sources changed; a slow build is not a slow start.
            Program(1200, "version").Run().MustSucceed();
            With(Program(120, ["up", First, "--detach", .. upOptions]), environment).Run().MustSucceed();
        }
        catch
        {
            Stop();
            throw;
        }
    }

    /// <summary>Everything of the cluster that is not in /dev/shm or /run is below it.</summary>
    public string Home { get; }

    /// <summary>The cluster's state directory.</summary>
    public string State { get; }

    /// <summary>Where <c>up</c> mounted volume tmp.</summary>
    public string First { get; }

    /// <summary>A directory beside the mount.</summary>
    public string MakeDirectory(string name) => Directory.CreateDirectory(Path.Combine(Home, name)).FullName;

    /// <summary>Mounts volume tmp through another node.</summary>
    public void Mount(string directory, string node, IReadOnlyDictionary<string, string>? environment = null, params string[] options) =>
        With(Program(60, ["mount", "tmp", directory, "--node", node, .. options]), environment).Run().MustSucceed();

    /// <summary>The same through a node in a network of its own, without metrics, which nobody could reach there.</summary>
    internal void MountIn(Faults.NetworkOfItsOwn network, string directory, string node, IReadOnlyDictionary<string, string>? environment = null)
    {
        string[] command = network.Enter(Launcher, "mount", "tmp", directory, "--node", node);
        With(With(new Command(Home, 60, command[0], command[1..])), environment).With("EPHEMERALFS_METRICS", "off").Run().MustSucceed();
    }

    /// <summary>Names of all volumes.</summary>
    public IReadOnlyList<string> Volumes() =>
        [.. JsonNode.Parse(Program(60, "volume", "list", "--json").Run().MustSucceed())!.AsArray().Select(volume => (string)volume!["name"]!)];

    /// <summary>Copies the logs to where they stay, for a failure that cannot be had again at will.</summary>
    /// <returns>The directory.</returns>
    internal string KeepLogs(string name)
    {
        string kept = Directory.CreateDirectory(Path.Combine(Root, "artifacts", "test-results", name)).FullName;
        foreach (string log in Directory.EnumerateFiles(Path.Combine(State, "logs")))
        {
            File.Copy(log, Path.Combine(kept, Path.GetFileName(log)), overwrite: true);
        }
        return kept;
    }

    /// <summary>The program, told to use this cluster.</summary>
    public Command Program(int seconds, params string[] arguments) => With(new Command(Home, seconds, Launcher, arguments));

    private static string Launcher => Path.Combine(Root, "ephemeralfs");

    private static string Root
    {
        get
        {
            string root = AppContext.BaseDirectory;
            while (!File.Exists(Path.Combine(root, "EphemeralFs.sln")))
            {
                root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException($"no EphemeralFs.sln above {AppContext.BaseDirectory}");
            }
            return root;
        }
    }

    // HOME is the caller's: the launcher may have to build, and dotnet wants it.
    private Command With(Command command) => command
        .With("EPHEMERALFS_STATE", State)
        .With("HOME", Environment.GetEnvironmentVariable("HOME") ?? "/root")
        .With("PATH", Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin");

    /// <summary>Stops the cluster, which must succeed, and removes its directory.</summary>
    public void Dispose() => Stop().MustSucceed();

    private static Command With(Command command, IReadOnlyDictionary<string, string>? environment)
    {
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            command.With(name, value);
        }
        return command;
    }

    private CommandResult Stop()
    {
        var down = Program(120, "down").Run();
        if (down.ExitCode == 0)
        {
            Scratch.Remove(Home);
        }
        return down;
    }
}
