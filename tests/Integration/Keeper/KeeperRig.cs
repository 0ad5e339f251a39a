using System.Diagnostics;
using System.Globalization;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Integration.Keeper;

/// <summary>Keepers and daemons as real processes in a directory of their own; ends and checks everything when disposed.</summary>
internal sealed class KeeperRig : IDisposable
{
    internal static readonly string Program = Path.Combine(AppContext.BaseDirectory, "EphemeralFs.Tests.KeeperDaemon");

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);
    private readonly List<Process> _keepers = [];
    private readonly HashSet<int> _daemons = [];

    internal string Folder { get; } = Directory.CreateTempSubdirectory("keeper-it-").FullName;

    internal string Socket => Path.Combine(Folder, "keeper.sock");

    internal string Report => Path.Combine(Folder, "report");

    internal string[] ReportLines => File.Exists(Report) ? File.ReadAllLines(Report) : [];

    internal string LogText => File.Exists(Log) ? File.ReadAllText(Log) : "";

    private string Log => Path.Combine(Folder, "log");

    internal string[] Daemon(params string[] behaviours) => [Program, "daemon", Socket, Report, .. behaviours];

    /// <summary>Starts a keeper process; standard error of it and its daemons goes to the log.</summary>
    internal Process StartKeeper(string[] command, params string[] settings)
    {
        var start = new ProcessStartInfo("sh") { UseShellExecute = false };
        string[] arguments = ["-c", "exec \"$@\" 2>>\"$0\"", Log, Program, "keeper", Socket, .. settings, "--", .. command];
        Array.ForEach(arguments, start.ArgumentList.Add);
        var keeper = Process.Start(start)!;
        _keepers.Add(keeper);
        return keeper;
    }

    /// <summary>The status once it is as wanted. Polls: a keeper reports to nobody.</summary>
    internal KeeperStatus WaitFor(string what, Func<KeeperStatus, bool> wanted)
    {
        KeeperStatus? last = null;
        Until(
            () =>
            {
                try
                {
                    last = KeeperControl.Status(Socket);
                }
                catch (KeeperException)
                {
                    return false;
                }

                if (last.DaemonPid != 0)
                {
                    _ = _daemons.Add(last.DaemonPid);
                }

                return wanted(last);
            },
            () => $"{what}; last status {last}");
        return last!;
    }

    internal KeeperStatus WaitForDaemon(ulong incarnation)
    {
        _ = WaitFor($"incarnation {incarnation}", status => status.Incarnation == incarnation && status.State == KeeperState.Running);

        // Attached is one thing, everything taken over and deposited the next.
        var line = $"started incarnation={incarnation} ";
        Until(() => ReportLines.Any(report => report.StartsWith(line, StringComparison.Ordinal)), () => line);
        return KeeperControl.Status(Socket);
    }

    internal void Until(Func<bool> condition, Func<string> what)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Patience, $"waited in vain for: {what()}\nreport:\n{string.Join('\n', ReportLines)}\nlog:\n{LogText}");
            Thread.Sleep(10);
        }
    }

    internal static void Kill(int pid)
    {
        Assert.Equal(Core.Errno.OK, ProcessControl.OpenPidFd(pid, out var pidFd));
        using (pidFd)
        {
            Assert.Equal(Core.Errno.OK, ProcessControl.Signal(pidFd!, ProcessControl.SigKill));
        }
    }

    internal static void Terminate(Process process)
    {
        Assert.Equal(Core.Errno.OK, ProcessControl.OpenPidFd(process.Id, out var pidFd));
        using (pidFd)
        {
            Assert.Equal(Core.Errno.OK, ProcessControl.Signal(pidFd!, ProcessControl.SigTerm));
        }
    }

    /// <summary>Ends keeper and daemon as <c>down</c> does and checks that nothing is left of them.</summary>
    internal void ShutdownAndCheck(TimeSpan? stopTimeout = null)
    {
        KeeperControl.Shutdown(Socket, stopTimeout, Patience);
        Assert.True(_keepers[^1].WaitForExit(Patience));
        Assert.Equal(0, _keepers[^1].ExitCode);

        // A daemon that was adopted or wrapped is no child of the keeper: its zombie is reaped by whoever inherited it.
        Assert.All(_daemons, static pid => Assert.True(ProcessControlThreads.IsGone(pid), $"daemon {pid} is still there"));
        Assert.DoesNotContain(
            Directory.GetFiles(Folder), static file => Path.GetFileName(file).StartsWith("keeper.sock", StringComparison.Ordinal));
    }

    public void Dispose()
    {
        // Keepers first: they would replace the daemons.
        foreach (var keeper in _keepers)
        {
            if (!keeper.HasExited)
            {
                keeper.Kill();
                _ = keeper.WaitForExit(Patience);
            }

            keeper.Dispose();
        }

        // A daemon that no status showed is named in its file.
        var file = Socket + ".daemon";
        if (File.Exists(file) && int.TryParse(File.ReadAllText(file).Split(' ')[0], CultureInfo.InvariantCulture, out var last))
        {
            _ = _daemons.Add(last);
        }

        foreach (var pid in _daemons)
        {
            // Only what is certainly ours: process ids are used again.
            if (IsOurs(pid) && ProcessControl.OpenPidFd(pid, out var pidFd) == Core.Errno.OK)
            {
                using (pidFd)
                {
                    _ = ProcessControl.Signal(pidFd!, ProcessControl.SigKill);
                    _ = UnixSocketPoll.WaitOne((int)pidFd!.DangerousGetHandle(), PollFd.In, (int)Patience.TotalMilliseconds);
                }
            }
        }

        Directory.Delete(Folder, recursive: true);
    }

    private bool IsOurs(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Contains(Socket, StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}
