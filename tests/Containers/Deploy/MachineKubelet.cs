using System.Globalization;
using System.Text.Json.Nodes;
using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Integration.Deploy;
using k8s.Models;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>
/// What kubelet calls the plugin for, and the provisioner the controller's: each once, since what happens when calls fail is tested with
/// <see cref="Kubernetes.Kubelet"/>, which has no machine of its own.
/// </summary>
/// <param name="machine">Its paths are the plugin's.</param>
/// <param name="api">Where claims are.</param>
/// <param name="manifests">Storage classes.</param>
/// <param name="controller">The controller's plugin.</param>
internal sealed class MachineKubelet(Machine machine, ApiServer api, Manifests manifests, CsiClient controller)
{
    private const string Registration = "pluginregistration.Registration";

    private readonly Dictionary<string, PersistentVolume> claimed = []; // by uid of the pod and volume
    private CsiClient? plugin;

    /// <summary>The plugin whose socket is in <c>plugins_registry</c>, and no other, is told that it is registered.</summary>
    /// <returns>What it calls the node.</returns>
    public async Task<string> RegisterAsync()
    {
        var socket = new CsiClient(Assert.Single(Directory.GetFiles(machine.Outside(MachinePod.Kubelet + "/plugins_registry"))));
        var info = (await socket.CallAsync(Registration, "GetInfo")).Ok();
        Assert.Equal(manifests.Of<V1CSIDriver>().Single().Metadata.Name, (string)info["name"]!);
        plugin = new CsiClient(machine.Outside((string)info["endpoint"]!));
        var node = (await plugin.CallAsync("Node", "NodeGetInfo")).Ok();
        (await socket.CallAsync(Registration, "NotifyRegistrationStatus", """{"plugin_registered": true}""")).Ok();
        return (string)node["node_id"]!;
    }

    /// <summary>Makes and mounts the volumes of a pod, and starts it.</summary>
    public async Task StartAsync(MachinePod pod)
    {
        foreach (var volume in VolumesOf(pod))
        {
            var context = new JsonObject
            {
                ["csi.storage.k8s.io/ephemeral"] = volume.Csi is null ? "false" : "true",
                ["csi.storage.k8s.io/pod.name"] = pod.Spec.Metadata.Name,
                ["csi.storage.k8s.io/pod.namespace"] = Pod.Namespace,
                ["csi.storage.k8s.io/pod.uid"] = pod.Spec.Metadata.Uid,
                ["csi.storage.k8s.io/serviceAccount.name"] = "default",
            };
            if (volume.Ephemeral is { VolumeClaimTemplate: var template })
            {
                var storageClass = manifests.Of<V1StorageClass>().Single(c => c.Metadata.Name == template.Spec.StorageClassName);
                string name = $"{pod.Spec.Metadata.Name}-{volume.Name}";
                api.Add(new V1PersistentVolumeClaim { Metadata = new V1ObjectMeta { Name = name, Annotations = template.Metadata?.Annotations }, Spec = template.Spec });
                Assert.Equal(["ReadWriteOnce"], template.Spec.AccessModes);
                claimed[Key(pod, volume)] = await new Provisioner(controller) { Parameters = storageClass.Parameters ?? new Dictionary<string, string>() }
                    .MakeAsync(name, "RWO", template.Spec.Resources.Requests["storage"].ToInt64());
            }
            var attributes = volume.Csi is { } inline
                ? inline.VolumeAttributes.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))
                : claimed[Key(pod, volume)].Attributes;
            foreach (var (key, value) in attributes)
            {
                context[key] = value?.DeepClone();
            }
            var mount = new JsonObject();
            if (pod.Spec.Spec.SecurityContext?.FsGroup is { } group)
            {
                mount["volume_mount_group"] = group.ToString(CultureInfo.InvariantCulture);
            }
            Directory.CreateDirectory(Path.GetDirectoryName(pod[volume.Name])!, (UnixFileMode)0b111_101_000);
            (await plugin!.CallAsync("Node", "NodePublishVolume", new JsonObject
            {
                ["volume_id"] = HandleOf(pod, volume),
                ["target_path"] = pod.SourceOf(volume),
                ["volume_capability"] = new JsonObject { ["mount"] = mount, ["access_mode"] = new JsonObject { ["mode"] = AccessModes.OfCsi("RWO") } },
                ["volume_context"] = context,
            }.ToJsonString())).Ok();
        }
        pod.Start();
    }

    /// <summary>Bytes and inodes in use, as kubelet asks for each minute.</summary>
    public async Task<long[]> UsedAsync(MachinePod pod)
    {
        var volume = VolumesOf(pod).Single();
        var request = new JsonObject { ["volume_id"] = HandleOf(pod, volume), ["volume_path"] = pod.SourceOf(volume) };
        var usage = (await plugin!.CallAsync("Node", "NodeGetVolumeStats", request.ToJsonString())).Ok()["usage"]!.AsArray();
        return [.. usage.Select(unit => long.Parse((string?)unit!["used"] ?? "0", CultureInfo.InvariantCulture))];
    }

    /// <summary>Takes away the volumes of a pod whose containers have ended, and the claims that were made for it.</summary>
    public async Task EndAsync(MachinePod pod)
    {
        foreach (var volume in VolumesOf(pod))
        {
            (await plugin!.CallAsync("Node", "NodeUnpublishVolume", new JsonObject { ["volume_id"] = HandleOf(pod, volume), ["target_path"] = pod.SourceOf(volume) }.ToJsonString())).Ok();
            Assert.False(Directory.Exists(pod[volume.Name]), $"{pod.SourceOf(volume)} was left");
            Directory.Delete(Path.GetDirectoryName(pod[volume.Name])!);
            if (claimed.Remove(Key(pod, volume), out var made))
            {
                await new Provisioner(controller).DeleteAsync(made);
            }
        }
        pod.RemoveVolumes();
    }

    private static IEnumerable<V1Volume> VolumesOf(MachinePod pod) => pod.Spec.Spec.Volumes.Where(volume => volume.Csi is not null || volume.Ephemeral is not null);

    private static string Key(MachinePod pod, V1Volume volume) => $"{pod.Spec.Metadata.Uid}-{volume.Name}";

    private string HandleOf(MachinePod pod, V1Volume volume) => claimed.TryGetValue(Key(pod, volume), out var made) ? made.Handle : "csi-" + Key(pod, volume);
}
