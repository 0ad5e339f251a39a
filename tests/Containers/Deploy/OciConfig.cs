using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using EphemeralFs.Tests.Containers.Oci;
using k8s.Models;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>
/// What kubelet and containerd make of a container of a pod: the configuration of an OCI bundle (kubelet: pkg/kubelet/kuberuntime; containerd:
/// internal/cri/server/container_create_linux.go). The network is the machine's; SELinux and AppArmor, CPU and ephemeral storage are left out.
/// </summary>
/// <param name="image">Of every container.</param>
/// <param name="pod">With its <c>spec.nodeName</c> and <c>status.podIP</c>.</param>
internal sealed partial class OciConfig(OciImage image, V1Pod pod)
{
    /// <summary>What containerd leaves to containers that say nothing.</summary>
    private static readonly string[] s_usual =
        ["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"];

    /// <summary>In the order of their numbers (linux/capability.h).</summary>
    private static readonly string[] s_capabilities =
    [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
        "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
        "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    ];

    /// <summary>Of <c>mountPropagation</c>.</summary>
    private static readonly Dictionary<string, string> s_propagations = new() { ["None"] = "rprivate", ["HostToContainer"] = "rslave", ["Bidirectional"] = "rshared" };

    /// <summary>A container's configuration.</summary>
    /// <param name="container">Of the pod.</param>
    /// <param name="sourceOf">Where the machine has a volume of the pod.</param>
    /// <param name="hosts">What is mounted at /etc/hosts.</param>
    /// <param name="cgroup">Path.</param>
    public JsonObject Of(V1Container container, Func<V1Volume, string> sourceOf, string hosts, string cgroup)
    {
        bool isPrivileged = container.SecurityContext?.Privileged == true;
        var mounts = (container.VolumeMounts ?? []).OrderBy(mount => mount.MountPath.Count(c => c == '/')).ToList();
        string[] propagations = [.. mounts.Select(mount => s_propagations[mount.MountPropagation ?? "None"])];
        string access = isPrivileged ? "rw" : "ro";
        return new JsonObject
        {
            ["ociVersion"] = "1.0.0",
            ["process"] = Process(container, isPrivileged),
            ["root"] = new JsonObject { ["path"] = "rootfs", ["readonly"] = container.SecurityContext?.ReadOnlyRootFilesystem == true },
            ["hostname"] = pod.Metadata.Name,
            ["mounts"] = new JsonArray(
            [
                Mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
                Mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
                Mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
                Mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
                Mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"),
                Mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", access),
                Mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", access),
                Mount("/etc/hosts", "bind", hosts, "rbind", "rprivate", "rw"),
                .. mounts.Zip(propagations, (mount, propagation) => Mount(
                    mount.MountPath, "bind", sourceOf(pod.Spec.Volumes.Single(volume => volume.Name == mount.Name)), "rbind", propagation, mount.ReadOnlyProperty == true ? "ro" : "rw")),
            ]),
            ["linux"] = Linux(container, isPrivileged, propagations, cgroup),
        };
    }

    private JsonObject Process(V1Container container, bool isPrivileged)
    {
        var (own, podwide) = (container.SecurityContext, pod.Spec.SecurityContext);
        long? said = own?.RunAsUser ?? podwide?.RunAsUser;
        // A user who is said takes his group along from the image's /etc/passwd, which has nobody: 0.
        long user = said ?? image.Uid, group = own?.RunAsGroup ?? podwide?.RunAsGroup ?? (said is null ? image.Gid : 0);
        Assert.False((own?.RunAsNonRoot ?? podwide?.RunAsNonRoot) == true && user == 0, $"kubelet refuses to run {pod.Metadata.Name}/{container.Name} as root");
        var environment = (container.Env ?? []).ToDictionary(variable => variable.Name, variable => variable.Value ?? Field(variable.ValueFrom.FieldRef.FieldPath));
        string expand(string text) => Variable().Replace(text, match => environment.GetValueOrDefault(match.Groups[1].Value, match.Value));
        var capabilities = isPrivileged ? Held() : Changed(own?.Capabilities);
        return new JsonObject
        {
            ["terminal"] = false,
            ["cwd"] = "/",
            ["args"] = new JsonArray([.. container.Command?.Select(expand) ?? image.Command, .. (container.Args ?? []).Select(expand)]),
            ["env"] = new JsonArray(
                [.. image.Environment, $"HOSTNAME={pod.Metadata.Name}", $"KUBERNETES_SERVICE_HOST={ApiServer.Address}", $"KUBERNETES_SERVICE_PORT={ApiServer.Port}", .. environment.Select(variable => $"{variable.Key}={variable.Value}")]),
            ["user"] = new JsonObject { ["uid"] = user, ["gid"] = group, ["additionalGids"] = new JsonArray([.. podwide?.FsGroup is { } more ? (JsonNode[])[more] : []]) },
            // None is ambient: a process of another user than root has none, whatever is said here.
            ["capabilities"] = new JsonObject(
                new[] { "bounding", "effective", "permitted" }.Select(set => KeyValuePair.Create<string, JsonNode?>(set, new JsonArray([.. capabilities.Select(name => "CAP_" + name)])))),
            ["noNewPrivileges"] = own?.AllowPrivilegeEscalation == false,
        };
    }

    private JsonObject Linux(V1Container container, bool isPrivileged, string[] propagations, string cgroup)
    {
        var linux = new JsonObject
        {
            ["cgroupsPath"] = cgroup,
            ["namespaces"] = new JsonArray(
                [.. new[] { "ipc", "uts", "mount", pod.Spec.HostPID == true ? "" : "pid", isPrivileged ? "" : "cgroup" }.Where(type => type.Length > 0).Select(type => new JsonObject { ["type"] = type })]),
            ["resources"] = new JsonObject { ["devices"] = new JsonArray(new JsonObject { ["allow"] = isPrivileged, ["access"] = "rwm" }) },
            ["rootfsPropagation"] = propagations.Contains("rshared") ? "rshared" : propagations.Contains("rslave") ? "rslave" : "rprivate",
        };
        if (container.Resources?.Limits?.TryGetValue("memory", out var memory) == true)
        {
            linux["resources"]!["memory"] = new JsonObject { ["limit"] = memory.ToInt64() };
        }
        if (isPrivileged)
        {
            // It gets every device of the machine; this one is why it wants them. 10 is misc, 229 is FUSE (devices.txt of the kernel).
            linux["devices"] = new JsonArray(new JsonObject { ["path"] = "/dev/fuse", ["type"] = "c", ["major"] = 10, ["minor"] = 229, ["fileMode"] = 0b110_110_110, ["uid"] = 0, ["gid"] = 0 });
            return linux;
        }
        linux["maskedPaths"] = new JsonArray("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware");
        linux["readonlyPaths"] = new JsonArray("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger");
        if ((container.SecurityContext?.SeccompProfile ?? pod.Spec.SecurityContext?.SeccompProfile)?.Type == "RuntimeDefault")
        {
            linux["seccomp"] = Seccomp.Default();
        }
        return linux;
    }

    private string Field(string path) => path switch
    {
        "metadata.name" => pod.Metadata.Name,
        "metadata.namespace" => pod.Metadata.NamespaceProperty,
        "spec.nodeName" => pod.Spec.NodeName,
        "status.podIP" => pod.Status.PodIP,
        _ => throw new NotSupportedException($"a variable of a container from {path}"),
    };

    private static IEnumerable<string> Changed(V1Capabilities? change)
    {
        var (add, drop) = (change?.Add ?? [], change?.Drop ?? []);
        return (drop.Contains("ALL") ? [] : s_usual.Except(drop)).Union(add);
    }

    /// <summary>What this process may give to others: of a privileged container, everything.</summary>
    private static IEnumerable<string> Held()
    {
        string bounding = File.ReadLines("/proc/self/status").Single(line => line.StartsWith("CapBnd:", StringComparison.Ordinal)).Split('\t')[1];
        ulong held = ulong.Parse(bounding, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        return s_capabilities.Where((_, number) => (held >> number & 1) != 0);
    }

    private static JsonObject Mount(string destination, string type, string source, params string[] options) => new()
    {
        ["destination"] = destination,
        ["type"] = type,
        ["source"] = source,
        ["options"] = new JsonArray([.. options]),
    };

    [GeneratedRegex(@"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")]
    private static partial Regex Variable();
}
