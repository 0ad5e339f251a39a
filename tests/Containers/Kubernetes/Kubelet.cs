using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers.Kubernetes;

/// <summary>
/// What kubelet does for the volumes of a node's pods, with its directories, files, calls and repetitions (kubelet: pkg/volume/csi, pkg/kubelet/volumemanager).
/// Disposing it ends kubelet, not the pods: all that it knows is on disk.
/// </summary>
internal sealed class Kubelet : IAsyncDisposable
{
    /// <summary>The driver that pods and claims name.</summary>
    public const string DriverName = "csi.ephemeralfs.io";

    private const string DataFile = "vol_data.json";
    private const string CsiPlugin = "kubernetes.io~csi";
    private const string EmptyDirPlugin = "kubernetes.io~empty-dir";

    /// <summary>Kubelet waits two minutes for each call; the client of these tests itself has no more for all it does.</summary>
    private const int CallMs = 110_000;

    private const int RetryMaxMs = 2 * 60_000;

    private readonly string pods;
    private readonly string node;
    private readonly KubeletOptions options;
    private readonly PluginWatcher plugins;
    private volatile bool ended;

    private Kubelet(string directory, string node, KubeletOptions options)
    {
        this.node = node;
        this.options = options;
        pods = Directory.CreateDirectory(Path.Combine(directory, "pods")).FullName;
        plugins = new PluginWatcher(Directory.CreateDirectory(Path.Combine(directory, "plugins_registry")).FullName, options.RetryBaseMs);
    }

    /// <summary>The driver; null unless it is registered.</summary>
    public RegisteredDriver? Driver => plugins.Find(DriverName);

    /// <summary>Why drivers could not be registered.</summary>
    public string Problems => plugins.Problems;

    /// <summary>Starts with nothing in memory: finds plugins, and finds on disk which pods had volumes.</summary>
    /// <param name="directory"><c>/var/lib/kubelet</c>.</param>
    /// <param name="node">Name of the node.</param>
    /// <param name="assigned">What the API server has for this node. Their volumes are mounted (again); those of others are taken away.</param>
    /// <param name="options">How long it repeats.</param>
    public static async Task<Kubelet> StartAsync(string directory, string node, IEnumerable<Pod> assigned, KubeletOptions? options = null)
    {
        var kubelet = new Kubelet(directory, node, options ?? new());
        var known = assigned.ToList();
        foreach (string found in Directory.EnumerateDirectories(kubelet.pods))
        {
            if (known.All(pod => pod.Uid != Path.GetFileName(found)))
            {
                await kubelet.EndAsync(Path.GetFileName(found));
            }
        }
        foreach (var pod in known)
        {
            (await kubelet.StartPodAsync(pod)).Ok();
        }
        return kubelet;
    }

    /// <summary>Where a pod's volume is, for the runtime.</summary>
    public string PathOf(Pod pod, string volume) => pod.Volumes.Single(v => v.Name == volume) switch
    {
        CsiVolume csi => Path.Combine(DirectoryOf(pod.Uid, csi.SpecName), "mount"),
        var other => Path.Combine(pods, pod.Uid, "volumes", EmptyDirPlugin, other.Name),
    };

    /// <summary>Mounts the volumes of a pod, one after the other. The first failure that kubelet takes for final ends it; so does its own patience.</summary>
    /// <returns>How the last publish ended.</returns>
    public async Task<CsiAnswer> StartPodAsync(Pod pod)
    {
        var answer = new CsiAnswer(GrpcStatusCode.OK, "", []);
        foreach (var volume in pod.Volumes)
        {
            answer = volume is CsiVolume csi ? await MountAsync(pod, csi) : MountMemory(PathOf(pod, volume.Name));
            if (answer.Code != GrpcStatusCode.OK)
            {
                break;
            }
        }
        return answer;
    }

    /// <summary>Unmounts the volumes of a pod, whose containers have ended, and removes its directory. What the driver left there is a failure.</summary>
    public Task EndPodAsync(Pod pod) => EndAsync(pod.Uid);

    /// <summary>What kubelet asks each minute for its metrics and the eviction of pods.</summary>
    public async Task<JsonObject> StatsAsync(Pod pod, string volume)
    {
        var csi = (CsiVolume)pod.Volumes.Single(v => v.Name == volume);
        var request = new JsonObject { ["volume_id"] = HandleOf(pod, csi), ["volume_path"] = PathOf(pod, volume) };
        var stats = (await RepeatAsync(static code => code == GrpcStatusCode.OK, () => CallAsync("NodeGetVolumeStats", request))).Ok();
        Assert.Contains("GET_VOLUME_STATS", await TryCapabilitiesAsync() ?? []);
        Assert.Equal(["BYTES", "INODES"], stats["usage"]!.AsArray().Select(usage => (string)usage!["unit"]!).Order());
        return stats;
    }

    public async ValueTask DisposeAsync()
    {
        ended = true;
        await plugins.DisposeAsync();
    }

    private static CsiAnswer MountMemory(string path)
    {
        Directory.CreateDirectory(path);
        if (!MountInfo.IsMountPoint(path))
        {
            new Command("/", 20, Tool.Find("mount"), "-t", "tmpfs", "-o", "mode=1777", "tmpfs", path).Run().MustSucceed();
        }
        return new CsiAnswer(GrpcStatusCode.OK, "", []);
    }

    private async Task<CsiAnswer> MountAsync(Pod pod, CsiVolume volume)
    {
        string directory = DirectoryOf(pod.Uid, volume.SpecName);
        string handle = HandleOf(pod, volume);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute);
        // Before the call: whatever becomes of it, the next kubelet finds what has to be taken away.
        File.WriteAllText(Path.Combine(directory, DataFile), new JsonObject
        {
            ["attachmentID"] = "csi-" + Hash(handle + DriverName + node),
            ["driverName"] = DriverName,
            ["nodeName"] = node,
            ["specVolID"] = volume.SpecName,
            ["volumeHandle"] = handle,
            ["volumeLifecycleMode"] = volume is InlineVolume ? "Ephemeral" : "Persistent",
        }.ToJsonString());
        var answer = await RepeatAsync(IsFinal, () => PublishAsync(pod, volume, handle));
        if (answer.Code != GrpcStatusCode.OK && IsFinal(answer.Code))
        {
            RemoveMountDirectory(directory);
        }
        return answer;
    }

    private async Task<CsiAnswer> PublishAsync(Pod pod, CsiVolume volume, string handle)
    {
        if (await TryCapabilitiesAsync() is not { } capabilities)
        {
            return new CsiAnswer(GrpcStatusCode.Unavailable, $"{DriverName} is not registered, or does not tell what its node service can: {Problems}", null);
        }
        Assert.False(capabilities.Contains("STAGE_UNSTAGE_VOLUME"), "the driver wants volumes staged, which this kubelet does not do");
        var context = new JsonObject
        {
            ["csi.storage.k8s.io/ephemeral"] = volume is InlineVolume ? "true" : "false",
            ["csi.storage.k8s.io/pod.name"] = pod.Name,
            ["csi.storage.k8s.io/pod.namespace"] = Pod.Namespace,
            ["csi.storage.k8s.io/pod.uid"] = pod.Uid,
            ["csi.storage.k8s.io/serviceAccount.name"] = "default",
        };
        var mount = new JsonObject();
        string mode = "RWO";
        if (volume is InlineVolume inline)
        {
            foreach (var (key, value) in inline.Attributes)
            {
                context[key] = value;
            }
        }
        else if (volume is ClaimVolume { Volume: var claimed })
        {
            foreach (var (key, value) in claimed.Attributes)
            {
                context[key] = value?.DeepClone();
            }
            mount["mount_flags"] = new JsonArray([.. claimed.MountOptions]);
            mode = claimed.AccessMode;
        }
        if (pod.FsGroup is { } group)
        {
            Assert.True(capabilities.Contains("VOLUME_MOUNT_GROUP"), "without this capability kubelet itself gives every file to the group");
            mount["volume_mount_group"] = group.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        return await CallAsync("NodePublishVolume", new JsonObject
        {
            ["volume_id"] = handle,
            ["target_path"] = PathOf(pod, volume.Name),
            ["volume_capability"] = new JsonObject { ["mount"] = mount, ["access_mode"] = new JsonObject { ["mode"] = AccessModes.OfCsi(mode) } },
            ["readonly"] = volume is ClaimVolume { ReadOnly: true },
            ["volume_context"] = context,
        });
    }

    private async Task EndAsync(string uid)
    {
        string volumes = Path.Combine(pods, uid, "volumes");
        foreach (string directory in Children(Path.Combine(volumes, CsiPlugin)))
        {
            var data = JsonNode.Parse(File.ReadAllText(Path.Combine(directory, DataFile)))!;
            var request = new JsonObject { ["volume_id"] = (string)data["volumeHandle"]!, ["target_path"] = Path.Combine(directory, "mount") };
            var answer = await RepeatAsync(static code => code == GrpcStatusCode.OK, () => CallAsync("NodeUnpublishVolume", request));
            answer.Ok();
            RemoveMountDirectory(directory);
        }
        foreach (string directory in Children(Path.Combine(volumes, EmptyDirPlugin)))
        {
            if (MountInfo.IsMountPoint(directory))
            {
                new Command("/", 20, Tool.Find("umount"), directory).Run().MustSucceed();
            }
            Directory.Delete(directory);
        }
        foreach (string directory in (string[])[.. Children(volumes), volumes, Path.Combine(pods, uid)])
        {
            if (Directory.Exists(directory))
            {
                // rmdir(2): what is left in it is what kubelet calls an orphaned pod.
                Directory.Delete(directory);
            }
        }
    }

    /// <summary>Removes what was made for a publish, if nothing is mounted there (kubelet: removeMountDir).</summary>
    private static void RemoveMountDirectory(string directory)
    {
        string target = Path.Combine(directory, "mount");
        Assert.False(MountInfo.IsMountPoint(target), $"orphaned pod: {target} is a mount still");
        if (Directory.Exists(target))
        {
            Directory.Delete(target);
        }
        File.Delete(Path.Combine(directory, DataFile));
        Directory.Delete(directory);
    }

    /// <summary>Repeats with delays that double, until the code is one to stop at or patience has an end.</summary>
    private async Task<CsiAnswer> RepeatAsync(Func<GrpcStatusCode, bool> isEnd, Func<Task<CsiAnswer>> call)
    {
        long start = Environment.TickCount64;
        for (int delay = options.RetryBaseMs; ; delay = Math.Min(2 * delay, RetryMaxMs))
        {
            var answer = await call();
            if (isEnd(answer.Code) || ended || Environment.TickCount64 + delay - start > options.PatienceMs)
            {
                return answer;
            }
            await Task.Delay(delay);
        }
    }

    private Task<CsiAnswer> CallAsync(string method, JsonObject request) => Driver is { } driver
        ? new CsiClient(driver.Endpoint).CallAsync("Node", method, request.ToJsonString(), Math.Min(CallMs, options.CallMs))
        : Task.FromResult(new CsiAnswer(GrpcStatusCode.Unavailable, $"driver name {DriverName} not found in the list of registered CSI drivers: {Problems}", null));

    private async Task<HashSet<string>?> TryCapabilitiesAsync() => (await CallAsync("NodeGetCapabilities", [])).Response is { } response
        ? [.. response["capabilities"]!.AsArray().Select(capability => (string)capability!["rpc"]!["type"]!)]
        : null;

    /// <summary>After these a volume is mounted, or certainly not; with others it may be either, or become so (kubelet: isFinalError). -1 is a call that was never made.</summary>
    private static bool IsFinal(GrpcStatusCode code) => code is not (
        GrpcStatusCode.DeadlineExceeded or GrpcStatusCode.Unavailable or GrpcStatusCode.Cancelled or GrpcStatusCode.Aborted or GrpcStatusCode.ResourceExhausted or (GrpcStatusCode)(-1));

    private static string HandleOf(Pod pod, CsiVolume volume) => volume is ClaimVolume claim ? claim.Volume.Handle : "csi-" + Hash(pod.Uid + volume.SpecName);

    private string DirectoryOf(string uid, string spec) => Path.Combine(pods, uid, "volumes", CsiPlugin, spec);

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private static string[] Children(string directory) => Directory.Exists(directory) ? Directory.GetDirectories(directory) : [];
}

/// <summary>How long kubelet waits and repeats. Its own numbers are 500 ms, and no end.</summary>
internal sealed record KubeletOptions
{
    /// <summary>Before the first repetition; doubled each time.</summary>
    public int RetryBaseMs { get; init; } = 20;

    /// <summary>For one operation with all its repetitions.</summary>
    public int PatienceMs { get; init; } = 60_000;

    /// <summary>Of one call; never more than kubelet's own.</summary>
    public int CallMs { get; init; } = int.MaxValue;
}
