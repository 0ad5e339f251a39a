using System.Globalization;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>
/// A machine for pods: process ids, mounts and a network (loopback only) of its own; of ours it has programs, devices and one directory. Its process 1 ends with the
/// test's, and with that everything that runs and is mounted there.
/// </summary>
internal sealed class Machine : IDisposable
{
    private const string AllCgroups = "/sys/fs/cgroup";

    /// <summary>Longer than all tests together.</summary>
    private const int Seconds = 1200;

    /// <summary>
    /// A root of links to where a system has its programs. Mounts are seen by those who share a directory, as systemd sets it up, and by nobody outside. crun
    /// refuses machines with both versions of cgroups, where a version 2 without controllers lies beside version 1. The shell reaps processes whose parents have
    /// ended, as process 1 has to.
    /// </summary>
    private const string Script = """
        set -e
        mkdir -p "$1/disk" "$1/root"; mount -t tmpfs -o mode=755 tmpfs "$1/root"; cd "$1/root"
        mkdir -p proc dev sys usr etc tmp run var/lib old ".$1"
        cp -P /bin /lib* /sbin .
        mount -o bind,ro /usr usr; mount -o bind,ro /etc etc
        mount --rbind /dev dev; mount --rbind /sys sys
        mount --bind "$1" ".$1"; mount --bind "$1/disk" var/lib
        mount -t proc proc proc
        pivot_root . old; cd /; umount --lazy old
        if mountpoint -q "$2/unified"; then umount "$2/unified"; fi
        mount --make-rshared /
        ip link set lo up
        echo ready
        read -r _ || true
        """;

    private readonly Command.Running first;
    private readonly int pid;

    /// <param name="directory">Of both, at the same path; the machine's disk is in it.</param>
    public Machine(string directory)
    {
        Tool.Require("crun", "ip", "nsenter");
        first = new Command(
            "/", Seconds, Tool.Find("unshare"), "--mount", "--propagation", "private", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child",
            "/bin/bash", "-c", Script, "machine", directory, AllCgroups).Start();
        try
        {
            first.WaitForOutput("ready");
            int parent = first.Process.Id;
            pid = int.Parse(File.ReadAllText($"/proc/{parent}/task/{parent}/children"), CultureInfo.InvariantCulture);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>A directory of the machine, in memory.</summary>
    public string Scratch => "/run";

    /// <summary>Where cgroups of its containers are.</summary>
    public string Cgroup { get; } = string.Create(CultureInfo.InvariantCulture, $"/ephemeralfs-machine-{Environment.ProcessId}");

    /// <summary>Where we find what the machine has there.</summary>
    public string Outside(string path) => $"/proc/{pid}/root{path}";

    /// <summary>A program of ours, run on the machine.</summary>
    public Command Command(int seconds, params string[] command) =>
        new("/", seconds, Tool.Find("nsenter"), ["--target", pid.ToString(CultureInfo.InvariantCulture), "--mount", "--net", "--ipc", "--uts", "--pid", "--", .. command]);

    public void Run(params string[] command) => Command(60, command).Run().MustSucceed();

    /// <summary>The container runtime.</summary>
    public Command Runtime(int seconds, params string[] arguments) =>
        Command(seconds, [Tool.Find("crun"), "--root", Path.Combine(Scratch, "crun"), "--cgroup-manager", "cgroupfs", .. arguments]);

    /// <summary>Whether a web server of the machine answers that all is well.</summary>
    public bool Answers(string address, int port, string path) => Command(
        20, "/bin/bash", "-c", """
            exec 3<>"/dev/tcp/$1/$2" && printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$3" "$1" >&3 && read -r _ code _ <&3 && ((code >= 200 && code < 400))
            """, "get", address, port.ToString(CultureInfo.InvariantCulture), path).Run().ExitCode == 0;

    /// <summary>Where anybody on the machine has our file system mounted.</summary>
    public IReadOnlyList<string> Mounts() =>
    [
        .. Directory.GetDirectories(Outside("/proc")).Where(path => Path.GetFileName(path).All(char.IsAsciiDigit)).SelectMany(MountInfoOf)
            .Where(line => line.Contains(" - fuse.ephemeralfs ", StringComparison.Ordinal)).Select(line => line.Split(' ')[4]).Distinct().Order(),
    ];

    public void Dispose()
    {
        // Process 1 reads this, and is gone only when all others are.
        first.Process.StandardInput.Close();
        bool ended = first.Process.WaitForExit(TimeSpan.FromSeconds(60));
        first.Dispose();
        Assert.True(ended, "processes of the machine do not end");
        foreach (string cgroup in Directory.GetDirectories(AllCgroups).Append(AllCgroups).Select(controller => controller + Cgroup).Where(Directory.Exists))
        {
            foreach (string left in Directory.GetDirectories(cgroup).Append(cgroup))
            {
                Directory.Delete(left);
            }
        }
    }

    private static string[] MountInfoOf(string process)
    {
        try
        {
            return File.ReadAllLines(Path.Combine(process, "mountinfo"));
        }
        catch (IOException)
        {
            return []; // it has ended
        }
    }
}
