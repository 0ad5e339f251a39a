using System.Globalization;
using System.Text.Json.Nodes;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers.Oci;

/// <summary>A directory of the host in a container.</summary>
/// <param name="Source">Of the host: where a volume is published.</param>
/// <param name="Destination">In the container.</param>
internal sealed record ContainerMount(string Source, string Destination = "/tmp")
{
    /// <summary><c>readOnly</c> of a volume mount.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Owners are shown as the container's user namespace has them (<c>hostUsers: false</c>).</summary>
    public bool IdMapped { get; init; }

    /// <summary>rprivate is <c>mountPropagation: None</c>, rslave is HostToContainer.</summary>
    public string Propagation { get; init; } = "rprivate";

    public JsonObject ToJson() => new()
    {
        ["destination"] = Destination,
        ["type"] = "bind",
        ["source"] = Source,
        ["options"] = new JsonArray(["rbind", Propagation, ReadOnly ? "ro" : "rw", .. IdMapped ? (JsonNode[])["idmap"] : []]),
    };
}

/// <summary>What a pod says of a container. What it leaves out is as the strictest of Kubernetes' pod security standards wants it: no root, no capability.</summary>
/// <param name="Mounts">Volumes.</param>
internal sealed record ContainerOptions(params ContainerMount[] Mounts)
{
    public uint User { get; init; } = 1000;

    public uint Group { get; init; } = 1000;

    /// <summary>A group more, of the pod.</summary>
    public uint? FsGroup { get; init; }

    /// <summary><c>capabilities.add</c>, such as CAP_CHOWN: over what is in the container's user namespace.</summary>
    public IReadOnlyList<string> Capabilities { get; init; } = [];

    /// <summary><c>readOnlyRootFilesystem</c>.</summary>
    public bool ReadOnlyRoot { get; init; } = true;

    /// <summary><c>resources.limits.memory</c>, of memory and swap together; 0 for none.</summary>
    public long MemoryBytes { get; init; }

    /// <summary><c>hostUsers: false</c>: ids from 0 are others outside.</summary>
    public bool UserNamespace { get; init; }
}

/// <summary>
/// A container, run by crun as a container engine would have it run: namespaces and a cgroup of its own, no capabilities, seccomp, and of the host only its
/// programs, read-only. Disposing kills it and leaves nothing of it.
/// </summary>
internal sealed class Container : IDisposable
{
    /// <summary>Where ids of a container with a user namespace begin outside, and how many there are.</summary>
    public const uint FirstId = 200_000, Ids = 65_536;

    /// <summary>Exit code of what the kernel killed.</summary>
    public const int Killed = 128 + 9;

    private const string Cgroup = "ephemeralfs-test";
    private const string Cgroups = "/sys/fs/cgroup";
    private const int RuntimeSeconds = 60;
    private const int BetweenKillsMs = 200;

    private static int counter;

    private readonly string id = string.Create(CultureInfo.InvariantCulture, $"c{Environment.ProcessId}-{Interlocked.Increment(ref counter)}");
    private readonly string directory;
    private readonly ContainerOptions options;
    private readonly Command.Running running;

    private Container(string home, ContainerOptions options, int seconds, string[] command)
    {
        this.options = options;
        directory = Path.Combine(home, id);
        string bundle = Directory.CreateDirectory(Path.Combine(directory, "bundle")).FullName;
        MakeRoot(Directory.CreateDirectory(Path.Combine(bundle, "rootfs")).FullName);
        File.WriteAllText(Path.Combine(bundle, "config.json"), Configuration(command).ToJsonString());
        running = Runtime(seconds, "run", "--bundle", bundle, id).Start();
    }

    /// <summary>Starts a container.</summary>
    /// <param name="home">A directory that others may pass through; the container gets one in it.</param>
    /// <param name="options">What it may do and see.</param>
    /// <param name="seconds">After so many it is killed.</param>
    /// <param name="command">What runs in it, as process 1. Its standard input is the test's.</param>
    public static Container Start(string home, ContainerOptions options, int seconds, params string[] command) => new(home, options, seconds, command);

    /// <summary>Starts a container in which nothing happens but what is told to <see cref="Execute"/>.</summary>
    public static Container StartIdle(string home, ContainerOptions options, int seconds)
    {
        var container = Start(home, options, seconds, Bash("echo ready; exec sleep infinity"));
        try
        {
            container.WaitForOutput("ready");
            return container;
        }
        catch
        {
            container.Dispose();
            throw;
        }
    }

    /// <summary>Runs a bash script, which stops at the first failure, in a container.</summary>
    public static CommandResult Script(string home, ContainerOptions options, int seconds, string script)
    {
        using var container = Start(home, options, seconds, Bash(script));
        container.Input.Close();
        return container.End();
    }

    /// <summary>The command line of a bash script that stops at the first failure.</summary>
    public static string[] Bash(string script) => ["/bin/bash", "-c", $"set -euo pipefail\n{script}"];

    /// <summary>Standard input of process 1.</summary>
    public StreamWriter Input => running.Process.StandardInput;

    /// <summary>Waits for a line of the output.</summary>
    public void WaitForOutput(string line) => running.WaitForOutput(line);

    /// <summary>Runs one more bash script in it, as process 1 runs.</summary>
    public CommandResult Execute(int seconds, string script)
    {
        string process = Path.Combine(directory, "process.json");
        File.WriteAllText(process, Process(Bash(script)).ToJsonString());
        return Runtime(seconds, "exec", "--process", process, id).Run();
    }

    /// <summary>Waits for its end. What the kernel killed has exit code <see cref="Killed"/>.</summary>
    public CommandResult End() => running.Wait();

    public void Dispose()
    {
        // One that is being started cannot be killed yet. With the container, the runtime ends.
        long start = Environment.TickCount64;
        bool ended;
        CommandResult? kill = null;
        while (!(ended = running.Process.WaitForExit(kill is null ? 0 : BetweenKillsMs)) && Environment.TickCount64 - start < RuntimeSeconds * 1000)
        {
            kill = Runtime(RuntimeSeconds, "kill", id, "KILL").Run();
        }
        running.Dispose();
        if (Directory.Exists(Path.Combine(directory, "state", id)))
        {
            Runtime(RuntimeSeconds, "delete", "--force", id).Run().MustSucceed();
        }
        Assert.True(ended, $"the container did not end: {kill?.Describe()}");
        foreach (string parent in Directory.GetDirectories(Cgroups).Append(Cgroups).Select(controller => Path.Combine(controller, Cgroup)).Where(Directory.Exists))
        {
            Assert.False(Directory.Exists(Path.Combine(parent, id)), $"{parent}/{id} was left");
            RemoveIfEmpty(parent);
        }
        Model.Running.Scratch.Remove(directory);
    }

    /// <summary>
    /// The runtime. crun refuses machines with both versions of cgroups, where a version 2 without controllers lies beside version 1; there it runs where that
    /// has been unmounted, for itself only.
    /// </summary>
    private Command Runtime(int seconds, params string[] arguments)
    {
        string[] crun = [Tool.Find("crun"), "--root", Path.Combine(directory, "state"), "--cgroup-manager", "cgroupfs", .. arguments];
        string hybrid = Path.Combine(Cgroups, "unified");
        return !MountInfo.IsMountPoint(hybrid)
            ? new Command("/", seconds, crun[0], crun[1..])
            : new Command("/", seconds, Tool.Find("unshare"), ["--mount", "--propagation", "slave", "/bin/sh", "-c", $"umount {hybrid} && exec \"$@\"", "sh", .. crun]);
    }

    private static void RemoveIfEmpty(string directory)
    {
        try
        {
            Directory.Delete(directory);
        }
        catch (IOException)
        {
            // Another container is in it.
        }
    }

    /// <summary>Mount points, and the links of a system whose programs are all in /usr.</summary>
    private static void MakeRoot(string root)
    {
        foreach (string name in new[] { "usr", "etc", "proc", "dev", "tmp", "mnt" })
        {
            Directory.CreateDirectory(Path.Combine(root, name));
        }
        foreach (string link in new[] { "bin", "lib", "lib64", "sbin" }.Where(link => Directory.Exists("/" + link)))
        {
            File.CreateSymbolicLink(Path.Combine(root, link), "usr/" + link);
        }
    }

    private JsonObject Configuration(string[] command)
    {
        var linux = new JsonObject
        {
            ["cgroupsPath"] = $"/{Cgroup}/{id}",
            ["namespaces"] = new JsonArray([.. new[] { "pid", "network", "ipc", "uts", "mount", "cgroup" }.Select(type => new JsonObject { ["type"] = type })]),
            ["resources"] = new JsonObject { ["devices"] = new JsonArray(new JsonObject { ["allow"] = false, ["access"] = "rwm" }) },
            ["seccomp"] = Seccomp.Default(),
            ["maskedPaths"] = new JsonArray("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi"),
            ["readonlyPaths"] = new JsonArray("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),
        };
        if (options.MemoryBytes > 0)
        {
            linux["resources"]!["memory"] = new JsonObject { ["limit"] = options.MemoryBytes, ["swap"] = options.MemoryBytes };
        }
        if (options.UserNamespace)
        {
            linux["namespaces"]!.AsArray().Add(new JsonObject { ["type"] = "user" });
            foreach (string mappings in new[] { "uidMappings", "gidMappings" })
            {
                linux[mappings] = new JsonArray(new JsonObject { ["containerID"] = 0, ["hostID"] = FirstId, ["size"] = Ids });
            }
        }
        return new JsonObject
        {
            ["ociVersion"] = "1.0.0",
            ["process"] = Process(command),
            ["root"] = new JsonObject { ["path"] = "rootfs", ["readonly"] = options.ReadOnlyRoot },
            ["hostname"] = id,
            ["mounts"] = new JsonArray(
            [
                Special("/proc", "proc"),
                Special("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=64k"),
                Special("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
                Special("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"),
                new ContainerMount("/usr", "/usr") { ReadOnly = true }.ToJson(),
                new ContainerMount("/etc", "/etc") { ReadOnly = true }.ToJson(),
                .. options.Mounts.Select(mount => mount.ToJson()),
            ]),
            ["linux"] = linux,
        };
    }

    private JsonObject Process(string[] command) => new()
    {
        ["terminal"] = false,
        ["cwd"] = "/",
        ["args"] = new JsonArray([.. command]),
        ["env"] = new JsonArray(
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LC_ALL=C.UTF-8", "TZ=UTC",
            "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@example.org"),
        ["user"] = new JsonObject
        {
            ["uid"] = options.User,
            ["gid"] = options.Group,
            ["additionalGids"] = new JsonArray([.. options.FsGroup is { } group ? (JsonNode[])[group] : []]),
        },
        ["capabilities"] = new JsonObject(
            new[] { "bounding", "effective", "inheritable", "permitted", "ambient" }
                .Select(set => KeyValuePair.Create<string, JsonNode?>(set, new JsonArray([.. options.Capabilities])))),
        ["noNewPrivileges"] = true,
    };

    private static JsonObject Special(string destination, string type, params string[] options) => new()
    {
        ["destination"] = destination,
        ["type"] = type,
        ["source"] = type,
        ["options"] = new JsonArray([.. options]),
    };
}
