using System.Security.Cryptography;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>
/// How ids of CSI and names of volumes belong together. A name of CSI (128 bytes of almost anything) is an idempotency key, so the volume's name follows from it;
/// the id is the volume's name. Ids that are no name of a volume, as kubelet gives to inline volumes, follow the same way.
/// </summary>
internal static class CsiNames
{
    /// <summary>Longest name that a request may carry (CSI specification, "Size Limits").</summary>
    public const int NameMaxBytes = 128;

    private const int HashDigits = 40;

    private const string VolumePrefix = "pvc-";

    /// <summary>Of a volume that CreateVolume makes.</summary>
    public static string OfVolume(string name) => VolumePrefix + Hash(name);

    /// <summary>Whether a publish may have made the volume of this name: one that CreateVolume made it has not.</summary>
    public static bool MayBeInline(string name) => !name.StartsWith(VolumePrefix, StringComparison.Ordinal);

    /// <summary>Of a snapshot: a volume that nobody mounts.</summary>
    public static string OfSnapshot(string name) => "snap-" + Hash(name);

    /// <summary>Id of a group of snapshots.</summary>
    public static string OfGroup(string name) => "group-" + Hash(name);

    /// <summary>Stands for the volumes of a group, which are in order.</summary>
    public static string OfSources(IEnumerable<string> volumes) => Hash(string.Join('/', volumes));

    /// <summary>Of the snapshot of one volume in a group.</summary>
    public static string OfSnapshotInGroup(string group, string volume) => "snap-" + Hash($"{group}/{volume}");

    /// <summary>The volume that an id stands for.</summary>
    public static string OfId(string id) => VolumeName.IsValid(id) ? id : "tmp-" + Hash(id);

    /// <summary>What is wrong with a name; null for a good one. Tab, line feed and carriage return are allowed, other control characters are not (CSI specification, "CreateVolume").</summary>
    public static string? Problem(string name) =>
        name.Length == 0 ? "name is missing"
        : Encoding.UTF8.GetByteCount(name) > NameMaxBytes ? $"name has more than {NameMaxBytes} bytes"
        : name.Any(character => char.IsControl(character) && character is not ('\t' or '\n' or '\r')) ? "name has control characters"
        : null;

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..HashDigits];
}

/// <summary>What the driver keeps with its volumes at the controller.</summary>
internal static class CsiLabels
{
    /// <summary><see cref="Volume"/>, <see cref="Snapshot"/> or <see cref="Inline"/>; volumes without it were not made by the driver.</summary>
    public const string Kind = "csi.kind";

    public const string Volume = "volume";
    public const string Snapshot = "snapshot";
    public const string Inline = "inline";

    /// <summary>The name that the request had.</summary>
    public const string Name = "csi.name";

    /// <summary>Parameters of the request in a form that can be compared.</summary>
    public const string Parameters = "csi.parameters";

    /// <summary>Of what a volume was made: "volume" or "snapshot".</summary>
    public const string SourceKind = "csi.source";

    /// <summary>Snapshots: id of their group.</summary>
    public const string Group = "csi.group";

    /// <summary>Snapshots of a group: which volumes it is of, see <see cref="CsiNames.OfSources"/>.</summary>
    public const string GroupSources = "csi.group.sources";

    /// <summary>Inline volumes: the node that publishes them.</summary>
    public const string Node = "csi.node";

    /// <summary>The value of a label; "" without one.</summary>
    public static string Get(in VolumeStatus volume, string key) => volume.Labels?.FirstOrDefault(label => label.Key == key).Value ?? "";

    /// <summary>When it was asked for, UTC.</summary>
    public static DateTime CreatedAt(in VolumeStatus volume) => DateTime.UnixEpoch.AddTicks(volume.CreatedNs / TimeSpan.NanosecondsPerTick);

    /// <summary>Whether it is of this kind.</summary>
    public static bool Is(in VolumeStatus volume, string kind) => Get(volume, Kind) == kind;
}
