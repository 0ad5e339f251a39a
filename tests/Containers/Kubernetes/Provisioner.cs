using System.Text.Json.Nodes;
using EphemeralFs.Tests.Integration.Csi;

namespace EphemeralFs.Tests.Containers.Kubernetes;

/// <summary>What the sidecar external-provisioner does for claims.</summary>
/// <param name="controller">Where the driver's controller service is.</param>
internal sealed class Provisioner(CsiClient controller)
{
    /// <summary><c>parameters</c> of the storage class.</summary>
    public IEnumerable<KeyValuePair<string, string>> Parameters { get; init; } = [];

    /// <summary>Makes a volume for a claim.</summary>
    /// <param name="claim">Name of the claim.</param>
    /// <param name="accessMode">RWO, RWOP, ROX or RWX.</param>
    /// <param name="bytes">What it asks for.</param>
    /// <param name="mountOptions">Of its storage class.</param>
    public async Task<PersistentVolume> MakeAsync(string claim, string accessMode, long bytes, params string[] mountOptions)
    {
        string name = "pvc-" + Guid.NewGuid();
        JsonObject segments() => new() { ["segments"] = new JsonObject { ["topology.ephemeralfs.io/zone"] = "default" } };
        var request = new JsonObject
        {
            ["name"] = name,
            ["capacity_range"] = new JsonObject { ["required_bytes"] = bytes },
            ["volume_capabilities"] = new JsonArray(new JsonObject
            {
                ["mount"] = new JsonObject { ["mount_flags"] = new JsonArray([.. mountOptions]) },
                ["access_mode"] = new JsonObject { ["mode"] = AccessModes.OfCsi(accessMode) },
            }),
            ["parameters"] = new JsonObject
            {
                ["csi.storage.k8s.io/pvc/name"] = claim,
                ["csi.storage.k8s.io/pvc/namespace"] = Pod.Namespace,
                ["csi.storage.k8s.io/pv/name"] = name,
            },
            ["accessibility_requirements"] = new JsonObject { ["requisite"] = new JsonArray(segments()), ["preferred"] = new JsonArray(segments()) },
        };
        foreach (var (key, value) in Parameters)
        {
            request["parameters"]![key] = value;
        }
        var volume = (await controller.CallAsync("Controller", "CreateVolume", request.ToJsonString())).Ok()["volume"]!;
        Assert.True(long.Parse((string?)volume["capacity_bytes"] ?? "0", System.Globalization.CultureInfo.InvariantCulture) >= bytes, $"too small: {volume}");
        return new PersistentVolume(name, (string)volume["volume_id"]!, accessMode, mountOptions, volume["volume_context"]?.DeepClone().AsObject() ?? []);
    }

    /// <summary>The claim is gone, and the class says Delete.</summary>
    public async Task DeleteAsync(PersistentVolume volume) =>
        (await controller.CallAsync("Controller", "DeleteVolume", new JsonObject { ["volume_id"] = volume.Handle }.ToJsonString())).Ok();
}
