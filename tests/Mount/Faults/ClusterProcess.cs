using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>A process of a cluster, found by the mark that all of them carry in their environment.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Role">up, controller, metadata, storage, keeper, node or csi.</param>
/// <param name="Name">Its <c>--name</c>; empty if it has none.</param>
internal sealed record ClusterProcess(int Pid, string Role, string Name)
{
    private const int SIGCONT = 18;
    private const int SIGSTOP = 19;

    private static readonly string[] Roles = ["up", "controller", "metadata", "storage", "keeper", "node", "csi"];

    /// <summary>The processes that belong to the cluster of a state directory now. Those that only wait to be reaped are none.</summary>
    public static IReadOnlyList<ClusterProcess> All(string state) =>
        [.. Directory.EnumerateDirectories("/proc").Select(directory => Read(directory, state)).OfType<ClusterProcess>()];

    /// <summary>Ends it as <c>kill -9</c> does.</summary>
    public void Kill()
    {
        try
        {
            using var process = Process.GetProcessById(Pid);
            process.Kill();
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            // It died before: what was wanted.
        }
    }

    /// <summary>Stops it until <see cref="Continue"/>; nothing of it runs any more when this returns.</summary>
    public void Stop()
    {
        Signal(SIGSTOP);
        Wait.For(() => !Path.Exists($"/proc/{Pid}") || Directory.EnumerateDirectories($"/proc/{Pid}/task").All(IsStopped), () => $"{this} does not stop");

        static bool IsStopped(string task)
        {
            try
            {
                return File.ReadAllText(Path.Combine(task, "stat")).Split(") ")[^1][0] is 'T' or 'D' or 'X' or 'Z';
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return true; // a thread that has ended
            }
        }
    }

    /// <summary>Lets it go on.</summary>
    public void Continue() => Signal(SIGCONT);

    /// <summary>For how long it has been running; nothing of a process that is gone.</summary>
    public TimeSpan Age()
    {
        try
        {
            using var process = Process.GetProcessById(Pid);
            return DateTime.Now - process.StartTime;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return TimeSpan.Zero;
        }
    }

    /// <summary>Open descriptors and threads, and resident bytes.</summary>
    public (int Descriptors, int Threads, long ResidentBytes) Usage()
    {
        long resident = long.Parse(File.ReadAllText($"/proc/{Pid}/statm").Split(' ')[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
        return (Directory.EnumerateFileSystemEntries($"/proc/{Pid}/fd").Count(), Directory.EnumerateDirectories($"/proc/{Pid}/task").Count(), resident);
    }

    /// <summary>Open sockets; none of a process that is gone.</summary>
    public int Sockets()
    {
        try
        {
            return Directory.EnumerateFileSystemEntries($"/proc/{Pid}/fd").Count(fd => new FileInfo(fd).LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) ?? false);
        }
        catch (DirectoryNotFoundException)
        {
            return 0;
        }
    }

    private void Signal(int signal)
    {
        Assert.Equal(Errno.OK, ProcessControl.OpenPidFd(Pid, out var process));
        using (process)
        {
            Assert.Equal(Errno.OK, ProcessControl.Signal(process!, signal));
        }
    }

    private static ClusterProcess? Read(string directory, string state)
    {
        if (!int.TryParse(Path.GetFileName(directory), NumberStyles.None, CultureInfo.InvariantCulture, out int pid))
        {
            return null;
        }
        try
        {
            string[] command = File.ReadAllText(Path.Combine(directory, "cmdline")).Split('\0');
            // The program, or dotnet and its assembly, then the role. The shell that is about to become the program is not it yet.
            int role = Array.FindIndex(command, 0, Math.Min(command.Length, 3), argument => Roles.Contains(argument));
            if (role < 1 || !Path.GetFileName(command[role - 1]).StartsWith("ephemeralfs", StringComparison.Ordinal)
                || !File.ReadAllText(Path.Combine(directory, "environ")).Split('\0').Contains($"EPHEMERALFS_CLUSTER={state}"))
            {
                return null;
            }
            int name = Array.IndexOf(command, "--name");
            return new ClusterProcess(pid, command[role], name < 0 ? "" : command[name + 1]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // gone meanwhile
        }
    }
}
