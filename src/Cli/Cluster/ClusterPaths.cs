using System.Security.Cryptography;
using System.Text;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Where everything of a cluster on this machine lies: below its state directory, but for sockets whose path would be too long.</summary>
public sealed class ClusterPaths
{
    /// <summary>The variable that names the state directory.</summary>
    public const string Variable = "EPHEMERALFS_STATE";

    /// <summary>Leaves room for what the keeper appends to the name of its socket.</summary>
    private const int SocketPathMaxBytes = Rpc.Endpoint.UnixPathMaxBytes - 7;

    /// <summary>The paths of the cluster in a state directory.</summary>
    public ClusterPaths(string stateDirectory)
    {
        State = Path.TrimEndingDirectorySeparator(Path.GetFullPath(stateDirectory));
        Id = Hash(State);
        ShortSockets = ProcessControl.EffectiveUserId == 0
            ? $"/run/ephemeralfs-{Id}"
            : $"/tmp/ephemeralfs-{ProcessControl.EffectiveUserId}-{Id}";
    }

    /// <summary>The state directory, absolute.</summary>
    public string State { get; }

    /// <summary>Twelve hexadecimal digits that follow from the state directory.</summary>
    public string Id { get; }

    /// <summary>For sockets whose path below <see cref="State"/> would be too long.</summary>
    public string ShortSockets { get; }

    /// <summary>Processes, endpoints and options of the cluster.</summary>
    public string File => Path.Combine(State, "cluster.json");

    /// <summary>What <see cref="File"/> said of a cluster that was stopped and whose data was kept.</summary>
    public string Kept => Path.Combine(State, "kept.json");

    /// <summary>Locked while a supervisor runs.</summary>
    public string SupervisorLock => Path.Combine(State, "supervisor.lock");

    public string Logs => Path.Combine(State, "logs");

    public string Nodes => Path.Combine(State, "nodes");

    /// <summary>A file for each mount that was asked for, so that it is found after any crash.</summary>
    public string Mounts => Path.Combine(State, "mounts");

    /// <summary>Tiers on tmpfs, unless they were given.</summary>
    public string Dram => $"/dev/shm/ephemeralfs-{Id}";

    /// <summary>Where <c>up --detach</c>, as this process, waits for the word of its supervisor. Not in /tmp: that may be what is going to be mounted.</summary>
    public string DetachSocket(int pid) => $"{Dram}-up-{pid}.sock";

    /// <summary>Those of <see cref="DetachSocket"/> whose process was killed.</summary>
    public IEnumerable<string> AbandonedDetachSockets =>
        Directory.EnumerateFiles(Path.GetDirectoryName(Dram)!, $"{Path.GetFileName(Dram)}-up-*.sock")
            .Where(socket => !Directory.Exists($"/proc/{Path.GetFileNameWithoutExtension(socket).Split('-')[^1]}"));

    /// <summary>Directory of a node.</summary>
    public string Node(string name) => Path.Combine(Nodes, name);

    /// <summary>The control socket of a node.</summary>
    public string NodeSocket(string name) => Socket($"nodes/{name}/node.sock");

    /// <summary>The socket of a node's keeper.</summary>
    public string KeeperSocket(string name) => Socket($"nodes/{name}/keeper.sock");

    /// <summary>The log of a process.</summary>
    public string Log(string process) => Path.Combine(Logs, process + ".log");

    /// <summary>The path of a socket, which fits <c>sun_path</c>.</summary>
    public string Socket(string relative)
    {
        var path = Path.Combine(State, relative);
        return Encoding.UTF8.GetByteCount(path) <= SocketPathMaxBytes ? path : Path.Combine(ShortSockets, Hash(relative) + ".sock");
    }

    /// <summary>The state directory without --state; null when there is none.</summary>
    public static string? Default =>
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } variable ? Path.TrimEndingDirectorySeparator(Path.GetFullPath(variable))
        : ProcessControl.EffectiveUserId == 0 ? "/var/lib/ephemeralfs"
        : Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime ? Path.Combine(runtime, "ephemeralfs")
        : null;

    /// <summary>From --state, else the variable, else the user's default.</summary>
    public static ClusterPaths Resolve(string? stateOption)
    {
        if (!string.IsNullOrEmpty(stateOption))
        {
            return new ClusterPaths(stateOption);
        }

        return Default is { } state
            ? new ClusterPaths(state)
            : throw StartupException.Usage("XDG_RUNTIME_DIR is not set, so there is no default state directory: give --state DIR or set EPHEMERALFS_STATE");
    }

    /// <summary>Makes the directory that sockets go to, closed to others.</summary>
    public static void MakePrivateDirectory(string path)
    {
        try
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartupException($"cannot create {path}: {e.Message.TrimEnd('.')}: choose another directory with --state", e);
        }
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..12];
}
