using System.Text.Json.Nodes;

namespace EphemeralFs.Tests.Containers.Kubernetes;

/// <summary>A pod as the API server has it.</summary>
/// <param name="Name">Name.</param>
/// <param name="Volumes">Its volumes; names differ.</param>
public sealed record Pod(string Name, params PodVolume[] Volumes)
{
    public const string Namespace = "default";

    /// <summary>What the API server calls it.</summary>
    public string Uid { get; } = Guid.NewGuid().ToString();

    /// <summary><c>securityContext.fsGroup</c>.</summary>
    public uint? FsGroup { get; init; }
}

/// <summary>A volume of a pod.</summary>
/// <param name="Name">Within the pod.</param>
public abstract record PodVolume(string Name);

/// <summary>An <c>emptyDir</c> with <c>medium: Memory</c>.</summary>
public sealed record MemoryVolume(string Name) : PodVolume(Name);

/// <summary>A volume of a CSI driver.</summary>
public abstract record CsiVolume(string Name) : PodVolume(Name)
{
    /// <summary>What the volume's directory in the pod is called.</summary>
    public abstract string SpecName { get; }
}

/// <summary>A volume that is written in the pod itself and lives with it.</summary>
/// <param name="Name">Within the pod.</param>
/// <param name="Attributes"><c>volumeAttributes</c>.</param>
public sealed record InlineVolume(string Name, params (string Key, string Value)[] Attributes) : CsiVolume(Name)
{
    public override string SpecName => Name;
}

/// <summary>A volume of a claim.</summary>
/// <param name="Name">Within the pod.</param>
/// <param name="Volume">What the claim is bound to.</param>
/// <param name="ReadOnly"><c>persistentVolumeClaim.readOnly</c>.</param>
public sealed record ClaimVolume(string Name, PersistentVolume Volume, bool ReadOnly = false) : CsiVolume(Name)
{
    public override string SpecName => Volume.Name;
}

/// <summary>A PersistentVolume.</summary>
/// <param name="Name">Name in the API.</param>
/// <param name="Handle">The driver's id.</param>
/// <param name="AccessMode">RWO, RWOP, ROX or RWX.</param>
/// <param name="MountOptions"><c>mountOptions</c> of its class.</param>
/// <param name="Attributes">What the driver said of it.</param>
public sealed record PersistentVolume(string Name, string Handle, string AccessMode, IReadOnlyList<string> MountOptions, JsonObject Attributes);

/// <summary>Access modes in the words of CSI, for a driver that declares SINGLE_NODE_MULTI_WRITER (external-provisioner, kubelet: csi_client.go).</summary>
internal static class AccessModes
{
    public static string OfCsi(string mode) => mode switch
    {
        "RWO" => "SINGLE_NODE_MULTI_WRITER",
        "RWOP" => "SINGLE_NODE_SINGLE_WRITER",
        "ROX" => "MULTI_NODE_READER_ONLY",
        "RWX" => "MULTI_NODE_MULTI_WRITER",
        _ => throw new ArgumentException($"'{mode}' is no access mode"),
    };
}
