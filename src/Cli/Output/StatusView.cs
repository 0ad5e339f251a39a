using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Output;

/// <summary>What <c>status --json</c> prints. Fields are only ever added; <c>docs/operations.md</c> documents them.</summary>
/// <param name="Version">Of this form: 1.</param>
/// <param name="State">State directory.</param>
/// <param name="Directory">Where <c>up</c> mounted volume tmp; null when it was not started by <c>up</c>.</param>
/// <param name="StartedAt">When <c>up</c> started it.</param>
/// <param name="Healthy">Whether everything below is.</param>
/// <param name="Supervisor">The process of <c>up</c>.</param>
/// <param name="Roles">Controller, servers, node daemons, keepers.</param>
/// <param name="Tiers">Of all storage servers.</param>
/// <param name="Volumes">All volumes.</param>
/// <param name="Mounts">On this machine.</param>
internal sealed record StatusView(
    int Version,
    string State,
    string? Directory,
    DateTimeOffset? StartedAt,
    bool Healthy,
    SupervisorView? Supervisor,
    IReadOnlyList<RoleView> Roles,
    IReadOnlyList<TierView> Tiers,
    IReadOnlyList<VolumeView> Volumes,
    IReadOnlyList<MountView> Mounts);

/// <param name="Pid">Process id.</param>
/// <param name="Alive">Whether it runs. When it does not, nothing restarts roles that die.</param>
internal sealed record SupervisorView(int Pid, bool Alive);

/// <param name="Role">controller, metadata, storage, node or keeper.</param>
/// <param name="Name">Name of the server.</param>
/// <param name="Id">The controller's id for it; 0 for the controller and keepers.</param>
/// <param name="Pid">Process id, 0 when not known.</param>
/// <param name="Alive">Whether it answers (keeper), or its heartbeats arrive.</param>
/// <param name="Health">"ok", or what is wrong.</param>
/// <param name="Endpoint">Where it serves.</param>
/// <param name="Metrics">http://…, or empty.</param>
/// <param name="Restarts">How often the supervisor or the keeper started it again.</param>
internal sealed record RoleView(string Role, string Name, uint Id, int Pid, bool Alive, string Health, string Endpoint, string Metrics, int Restarts);

/// <param name="Server">Storage server.</param>
/// <param name="Tier">dram, nvme, ssd, hdd or null.</param>
/// <param name="Path">Directory.</param>
/// <param name="CapacityBytes">What it may hold.</param>
/// <param name="UsedBytes">What it holds.</param>
/// <param name="Blocks">Number of blocks.</param>
/// <param name="Healthy">False after the medium failed.</param>
internal sealed record TierView(string Server, string Tier, string Path, ulong CapacityBytes, ulong UsedBytes, ulong Blocks, bool Healthy);

/// <param name="Name">Name.</param>
/// <param name="Id">Id.</param>
/// <param name="LimitBytes">Quota, 0 for none.</param>
/// <param name="UsedBytes">Used of it.</param>
/// <param name="LimitInodes">Quota, 0 for none.</param>
/// <param name="UsedInodes">Used of it.</param>
/// <param name="Sessions">Nodes that have it open.</param>
/// <param name="Metadata">Endpoint of its metadata server.</param>
/// <param name="Hints">Its hints, as they are given.</param>
/// <param name="Source">The volume that it is a copy of; empty for none.</param>
internal sealed record VolumeView(
    string Name, uint Id, ulong LimitBytes, ulong UsedBytes, ulong LimitInodes, ulong UsedInodes, uint Sessions, string Metadata, string Hints, string Source)
{
    public static VolumeView From(VolumeStatus v) =>
        new(v.Name, v.Id, v.LimitBytes, v.UsedBytes, v.LimitInodes, v.UsedInodes, v.Sessions, v.MetadataEndpoint, v.Hints, v.Source);
}

/// <param name="Node">Node name.</param>
/// <param name="Volume">Volume name; empty when the daemon does not tell.</param>
/// <param name="Directory">Mount point.</param>
/// <param name="Options">Mount options.</param>
/// <param name="Alive">Whether the daemon answers for it.</param>
internal sealed record MountView(string Node, string Volume, string Directory, string Options, bool Alive);

/// <summary>Writes views as JSON.</summary>
internal static class StatusJson
{
    private static readonly StatusJsonContext s_context = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });

    public static string Serialize(StatusView view) => JsonSerializer.Serialize(view, s_context.StatusView);

    public static string Serialize(VolumeView view) => JsonSerializer.Serialize(view, s_context.VolumeView);

    public static string Serialize(VolumeView[] views) => JsonSerializer.Serialize(views, s_context.VolumeViewArray);
}

/// <summary>Serialisation without reflection.</summary>
[JsonSerializable(typeof(StatusView))]
[JsonSerializable(typeof(VolumeView))]
[JsonSerializable(typeof(VolumeView[]))]
internal sealed partial class StatusJsonContext : JsonSerializerContext;
