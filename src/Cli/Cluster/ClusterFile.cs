using System.Text.Json;
using System.Text.Json.Serialization;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;

namespace EphemeralFs.Cli.Cluster;

/// <summary>A process, named so that a recycled process id is never taken for it.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="StartTime">In clock ticks since boot.</param>
/// <param name="Boot">Id of the boot.</param>
public sealed record ProcessRecord(int Pid, ulong StartTime, string Boot)
{
    private static readonly string s_boot = System.IO.File.Exists("/proc/sys/kernel/random/boot_id")
        ? System.IO.File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim()
        : "-";

    /// <summary>This process.</summary>
    public static ProcessRecord Self => Of(Environment.ProcessId);

    /// <summary>Whether it still runs.</summary>
    [JsonIgnore]
    public bool IsAlive => Pid > 0 && StartTime != 0 && Boot == s_boot && ProcessControlThreads.StartTime(Pid) == StartTime && !ProcessControlThreads.IsGone(Pid);

    /// <summary>A running process.</summary>
    public static ProcessRecord Of(int pid) => new(pid, ProcessControlThreads.StartTime(pid), s_boot);
}

/// <summary>A role that the supervisor started.</summary>
/// <param name="Role">Subcommand.</param>
/// <param name="Name">Name of the server.</param>
/// <param name="Process">Its process.</param>
/// <param name="Endpoint">Where it serves.</param>
/// <param name="Metrics">http://… or empty.</param>
/// <param name="Log">Its log file.</param>
/// <param name="Restarts">How often it was started again.</param>
public sealed record RoleRecord(string Role, string Name, ProcessRecord Process, string Endpoint, string Metrics, string Log, int Restarts);

/// <summary>A node: its keeper and how to start it again.</summary>
/// <param name="Name">Node name.</param>
/// <param name="Keeper">The keeper's process.</param>
/// <param name="Command">Command line of the keeper.</param>
/// <param name="Log">Log file of keeper and daemon.</param>
public sealed record NodeRecord(string Name, ProcessRecord Keeper, IReadOnlyList<string> Command, string Log);

/// <summary>The file <c>cluster.json</c>: what <c>up</c> started. Written by the supervisor only, replaced as a whole.</summary>
/// <param name="Version">Of this form: 1.</param>
/// <param name="Directory">Where volume tmp is mounted.</param>
/// <param name="Controller">The controller's endpoint.</param>
/// <param name="Node">The node that <c>up</c> started.</param>
/// <param name="Supervisor">The process of <c>up</c>.</param>
/// <param name="Roles">Its children.</param>
/// <param name="Owned">Directories outside the state directory that go with the cluster.</param>
/// <param name="Keep">Whether data stays when the cluster stops.</param>
/// <param name="MadeState">Whether <c>up</c> made the state directory, which then goes too.</param>
/// <param name="StartedAt">When.</param>
public sealed record ClusterFile(
    int Version,
    string Directory,
    string Controller,
    string Node,
    ProcessRecord Supervisor,
    IReadOnlyList<RoleRecord> Roles,
    IReadOnlyList<string> Owned,
    bool Keep,
    bool MadeState,
    DateTimeOffset StartedAt)
{
    /// <summary>The form that this program writes.</summary>
    public const int CurrentVersion = 1;

    /// <summary>Reads the file; null when there is none. A damaged one is an error that says what to do.</summary>
    public static ClusterFile? Load(ClusterPaths paths) => Checked(JsonFiles.Load(paths.File, JsonFiles.Context.ClusterFile), paths.File);

    /// <summary>The cluster whose data was kept, or null.</summary>
    public static ClusterFile? LoadKept(ClusterPaths paths) => Checked(JsonFiles.Load(paths.Kept, JsonFiles.Context.ClusterFile), paths.Kept);

    /// <summary>Replaces the file.</summary>
    public void Save(ClusterPaths paths) => JsonFiles.Save(paths.File, this, JsonFiles.Context.ClusterFile);

    private static ClusterFile? Checked(ClusterFile? file, string path) =>
        file is null or { Version: CurrentVersion, Directory: not null, Controller: not null, Supervisor: not null, Roles: not null, Owned: not null }
            ? file
            : throw JsonFiles.Damaged(path, "something is missing, or another version wrote it", null);
}

/// <summary>Small JSON files that are replaced as a whole, so that a reader never sees half of one.</summary>
public static class JsonFiles
{
    internal static readonly ClusterJson Context = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });

    internal static T? Load<T>(string path, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(System.IO.File.ReadAllText(path), type);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (UnauthorizedAccessException e)
        {
            throw new StartupException($"{path} cannot be read: run as the user who started the cluster, or name another state directory with --state", e);
        }
        catch (JsonException e)
        {
            throw Damaged(path, e.Message.ReplaceLineEndings(" ").TrimEnd('.'), e);
        }
    }

    internal static StartupException Damaged(string path, string how, Exception? e) =>
        new($"{path} is damaged ({how}): take the cluster down with 'ephemeralfs down' and start again", e!);

    internal static void Save<T>(string path, T value, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type)
    {
        var next = $"{path}.{Environment.ProcessId}.new";
        System.IO.File.WriteAllText(next, JsonSerializer.Serialize(value, type) + "\n");
        System.IO.File.Move(next, path, overwrite: true);
    }
}

/// <summary>Serialisation without reflection: it costs nothing at the start.</summary>
[JsonSerializable(typeof(ClusterFile))]
[JsonSerializable(typeof(NodeRecord))]
internal sealed partial class ClusterJson : JsonSerializerContext;
