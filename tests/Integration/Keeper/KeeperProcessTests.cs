using System.Diagnostics;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Integration.Keeper;

/// <summary>What the keeper promises, with real processes and <c>kill -9</c>.</summary>
public sealed class KeeperProcessTests : IDisposable
{
    private readonly KeeperRig _rig = new();

    public void Dispose() => _rig.Dispose();

    [Fact]
    public void Descriptors_and_memory_survive_the_daemon_again_and_again()
    {
        var keeper = _rig.StartKeeper(_rig.Daemon());
        var status = _rig.WaitForDaemon(1);
        for (var incarnation = 2ul; incarnation <= 4; incarnation++)
        {
            KeeperRig.Kill(status.DaemonPid);
            var next = _rig.WaitForDaemon(incarnation);
            Assert.NotEqual(status.DaemonPid, next.DaemonPid);
            Assert.Equal(keeper.Id, next.KeeperPid);
            status = next;
        }

        // The counter is in the memfd, the text in the pipe: each daemon found what the one before left.
        Assert.Equal(
            [
                "started incarnation=1 counter=0 pipe=nothing",
                "started incarnation=2 counter=1 pipe=from-1",
                "started incarnation=3 counter=2 pipe=from-2",
                "started incarnation=4 counter=3 pipe=from-3",
            ],
            _rig.ReportLines);
        Assert.Equal(3, status.Restarts);
        Assert.Equal(
            [("mount:1", "written by 4".Length, 2), ("shm:main", 0, 1)],
            status.Entries.Select(static entry => (entry.Key, entry.PayloadBytes, entry.Fds)).Order());
        _rig.ShutdownAndCheck();
        Assert.Equal("terminated", _rig.ReportLines[^1]);
    }

    [Fact]
    public void A_new_keeper_adopts_the_living_daemon_and_gets_everything_back()
    {
        _ = _rig.StartKeeper(_rig.Daemon());
        var before = _rig.WaitForDaemon(1);
        for (var round = 1; round <= 2; round++)
        {
            KeeperRig.Kill(KeeperControl.Status(_rig.Socket).KeeperPid);
            var lost = round;
            _rig.Until(() => _rig.ReportLines.Count(static line => line == "keeper lost") == lost, () => "keeper lost");
            var next = _rig.StartKeeper(_rig.Daemon());
            _rig.Until(() => _rig.ReportLines.Count(static line => line == "keeper back") == lost, () => "keeper back");
            var after = _rig.WaitFor("running", static status => status.State == KeeperState.Running);
            Assert.Equal(next.Id, after.KeeperPid);
            Assert.NotEqual(before.KeeperId, after.KeeperId);
            Assert.Equal((before.DaemonPid, 1ul, 0), (after.DaemonPid, after.Incarnation, after.Restarts));
            Assert.Equal(before.Entries.Order(ByKey), after.Entries.Order(ByKey));
        }

        // And it can do its work: the adopted daemon is no child, its death is seen all the same.
        KeeperRig.Kill(before.DaemonPid);
        _ = _rig.WaitForDaemon(2);
        Assert.Contains("started incarnation=2 counter=1 pipe=from-1", _rig.ReportLines);
        _rig.ShutdownAndCheck();
    }

    [Fact]
    public void A_keeper_that_is_asked_to_end_leaves_the_daemon_to_the_next()
    {
        var first = _rig.StartKeeper(_rig.Daemon());
        var before = _rig.WaitForDaemon(1);
        KeeperRig.Terminate(first);
        Assert.True(first.WaitForExit(TimeSpan.FromSeconds(60)));
        Assert.Equal(0, first.ExitCode);
        Assert.False(File.Exists(_rig.Socket));
        _ = _rig.StartKeeper(_rig.Daemon());
        var after = _rig.WaitFor("running", static status => status.State == KeeperState.Running);
        Assert.Equal(before.DaemonPid, after.DaemonPid);
        _rig.ShutdownAndCheck();
    }

    [Fact]
    public void Incarnations_grow_even_when_keeper_and_daemon_die_together()
    {
        var first = _rig.StartKeeper(_rig.Daemon());
        var status = _rig.WaitForDaemon(1);
        KeeperRig.Kill(status.DaemonPid);
        status = _rig.WaitForDaemon(2);
        KeeperRig.Kill(first.Id);
        KeeperRig.Kill(status.DaemonPid);
        _ = _rig.StartKeeper(_rig.Daemon());
        Assert.Equal(3ul, _rig.WaitFor("a third", static status => status.State == KeeperState.Running).Incarnation);
    }

    [Fact]
    public void An_upgrade_stops_the_daemon_cleanly_and_starts_the_next()
    {
        _ = _rig.StartKeeper(_rig.Daemon());
        var before = _rig.WaitForDaemon(1);
        Assert.Equal(2ul, KeeperControl.Handover(_rig.Socket));
        var after = _rig.WaitForDaemon(2);
        Assert.NotEqual(before.DaemonPid, after.DaemonPid);
        Assert.Equal(
            ["started incarnation=1 counter=0 pipe=nothing", "stopped Handover", "started incarnation=2 counter=1 pipe=from-1"], _rig.ReportLines);

        // With another command line, which stays: the next one by itself uses it too.
        var other = Path.Combine(_rig.Folder, "other-report");
        Assert.Equal(3ul, KeeperControl.Handover(_rig.Socket, [KeeperRig.Program, "daemon", _rig.Socket, other]));
        KeeperRig.Kill(KeeperControl.Status(_rig.Socket).DaemonPid);
        _ = _rig.WaitFor("incarnation 4", static status => status is { Incarnation: 4, State: KeeperState.Running });
        _rig.Until(() => File.Exists(other) && File.ReadAllText(other).Contains("incarnation=4 ", StringComparison.Ordinal), () => "incarnation 4");
        _rig.ShutdownAndCheck();
    }

    [Fact]
    public void A_daemon_that_does_not_stop_is_killed_at_the_deadline()
    {
        _ = _rig.StartKeeper(_rig.Daemon("ignore-stop", "ignore-term"));
        _ = _rig.WaitForDaemon(1);
        Assert.Equal(2ul, KeeperControl.Handover(_rig.Socket, stopTimeout: TimeSpan.FromMilliseconds(200)));
        _ = _rig.WaitForDaemon(2);
        Assert.Contains("did not stop in time: killing it", _rig.LogText, StringComparison.Ordinal);
        _rig.ShutdownAndCheck(TimeSpan.FromMilliseconds(200));
    }

    [Theory]
    [InlineData("/no/such/program")]
    [InlineData("false")]
    public void An_upgrade_to_a_broken_program_goes_back(string program)
    {
        _ = _rig.StartKeeper(_rig.Daemon());
        _ = _rig.WaitForDaemon(1);
        Assert.Equal(Errno.EIO, Assert.Throws<KeeperException>(() => KeeperControl.Handover(_rig.Socket, [program])).Error);
        _ = _rig.WaitForDaemon(2);
        Assert.Contains("started incarnation=2 counter=1 pipe=from-1", _rig.ReportLines);
        _rig.ShutdownAndCheck();
    }

    [Fact]
    public void A_daemon_behind_a_wrapper_is_watched_itself()
    {
        var keeper = _rig.StartKeeper(["sh", "-c", "\"$@\"; exit 0", "sh", .. _rig.Daemon()]);
        var before = _rig.WaitForDaemon(1);
        var wrapper = ProcessControlThreads.Parent(before.DaemonPid);
        Assert.Equal(keeper.Id, ProcessControlThreads.Parent(wrapper));
        KeeperRig.Kill(before.DaemonPid);
        _ = _rig.WaitForDaemon(2);
        Assert.True(ProcessControlThreads.IsGone(wrapper));
        _rig.ShutdownAndCheck();
    }

    [Fact]
    public void A_daemon_that_never_attaches_is_killed_and_tried_again()
    {
        _ = _rig.StartKeeper(["sleep", "1000"], "start=100");
        var status = _rig.WaitFor("two failures", static status => status.FailuresInARow >= 2);
        Assert.Equal(0ul, status.Incarnation);
        Assert.Contains("did not attach within 100 ms: killing it", _rig.LogText, StringComparison.Ordinal);
        _rig.ShutdownAndCheck();
    }

    [Fact]
    public async Task A_storm_of_failures_is_bounded_and_costs_no_entry()
    {
        // In this process, to see every decision; the daemon is the test, its successors fail.
        var lines = new System.Collections.Concurrent.ConcurrentQueue<string>();
        var marker = Path.Combine(_rig.Folder, "starts");
        using var host = KeeperHost.Start(new KeeperOptions
        {
            SocketPath = _rig.Socket,
            NodeCommand = ["sh", "-c", $"echo x >>'{marker}'; exit 7"],
            RestartBackoff = new RestartBackoff
            {
                ImmediateRestarts = 2,
                InitialDelayMs = 5,
                MaxDelayMs = 20,
                FailuresBeforeLongDelay = 6,
                LongDelayMs = 3_600_000,
            },
            Log = lines.Enqueue,
        });
        _rig.Until(() => lines.Any(static line => line.Contains("in 3600000 ms", StringComparison.Ordinal)), () => string.Join('\n', lines));
        Assert.Equal(6, File.ReadAllLines(marker).Length);
        Assert.Equal(
            ["5", "10", "20", "3600000"],
            lines.Where(static line => line.Contains("starts in", StringComparison.Ordinal)).Select(static line => line.Split(' ')[^2]));

        // A daemon that comes by itself is still welcome, and a handover tries at once.
        using (var client = KeeperClient.Attach(new KeeperClientOptions { SocketPath = _rig.Socket }))
        {
            await client.PutAsync("kept", [1, 2, 3]);
        }

        _ = _rig.WaitFor("backoff", static status => status.State == KeeperState.Backoff);
        Assert.Equal(Errno.EIO, Assert.Throws<KeeperException>(() => KeeperControl.Handover(_rig.Socket)).Error);
        Assert.Equal(new KeeperEntryInfo("kept", 3, 0), Assert.Single(KeeperControl.Status(_rig.Socket).Entries));
        KeeperControl.Shutdown(_rig.Socket);
        Assert.True(host.WaitForEnd(TimeSpan.FromSeconds(60)));
    }

    [RootFact]
    public void Another_user_is_refused()
    {
        _ = _rig.StartKeeper(_rig.Daemon());
        _ = _rig.WaitForDaemon(1);

        // Let everybody reach the socket: then only the keeper itself stands between.
        using (var chmod = Process.Start("chmod", ["-R", "a+rwX", _rig.Folder]))
        {
            chmod.WaitForExit();
        }

        const string connect = "import socket,sys; s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); "
            + "sys.exit(42 if s.recv(100)==b'' else 1)";
        using var stranger = Process.Start("setpriv", ["--reuid", "65534", "--clear-groups", "/usr/bin/python3", "-c", connect, _rig.Socket]);
        Assert.True(stranger.WaitForExit(TimeSpan.FromSeconds(60)));
        Assert.Equal(42, stranger.ExitCode);
        _rig.Until(() => _rig.LogText.Contains("of user 65534", StringComparison.Ordinal), () => "the refusal in the log");
        _rig.ShutdownAndCheck();
    }

    [FuseFact]
    public void A_daemon_that_cannot_finish_dying_is_replaced_and_so_set_free()
    {
        var mount = Directory.CreateDirectory(Path.Combine(_rig.Folder, "mnt")).FullName;
        _ = _rig.StartKeeper([KeeperRig.Program, "stuck", _rig.Socket, _rig.Report, mount]);
        try
        {
            var first = _rig.WaitForDaemon(1);
            using var program = Process.Start("sh", ["-c", $": > '{mount}/victim'"]);
            _rig.Until(() => Stuck(first.DaemonPid), () => "a thread in uninterruptible sleep");
            KeeperRig.Kill(first.DaemonPid);

            // The successor comes although the process is still there, answers the create, and so ends both.
            _ = _rig.WaitForDaemon(2);
            Assert.True(program.WaitForExit(TimeSpan.FromSeconds(60)));
            Assert.NotEqual(0, program.ExitCode);
            Assert.Contains("create again, resent=1", _rig.ReportLines);
            Assert.Contains("with a thread still waiting in the kernel", _rig.LogText, StringComparison.Ordinal);
            _rig.Until(() => !Directory.Exists($"/proc/{first.DaemonPid}"), () => "the end of the first daemon, reaped");
            _rig.ShutdownAndCheck();
            Assert.DoesNotContain(File.ReadLines("/proc/self/mounts"), line => line.Contains(mount, StringComparison.Ordinal));
        }
        finally
        {
            // Aborts the connection if the test has failed: nothing may hang.
            using var abort = Process.Start("sh", ["-c", $"umount -f -l '{mount}' 2>/dev/null; true"]);
            abort.WaitForExit();
        }
    }

    [Fact]
    public void The_keeper_is_small()
    {
        var keeper = _rig.StartKeeper(_rig.Daemon());
        var status = _rig.WaitForDaemon(1);
        KeeperRig.Kill(status.DaemonPid);
        status = _rig.WaitForDaemon(2);

        // 35 MiB is the aim for the shipped program; this build is not compiled ahead of time and carries the tests' console.
        Assert.InRange(status.ResidentBytes, 1L << 20, 64L << 20);
        var threads = Process.GetProcessById(keeper.Id).Threads.Count;
        Assert.InRange(threads, 1, 16);
        _rig.ShutdownAndCheck();
    }

    private static bool Stuck(int pid) => Directory.EnumerateDirectories($"/proc/{pid}/task")
        .Any(static task => File.ReadLines(Path.Combine(task, "status")).Any(static line => line.StartsWith("State:\tD", StringComparison.Ordinal)));

    private static readonly Comparer<KeeperEntryInfo> ByKey = Comparer<KeeperEntryInfo>.Create(static (a, b) => string.CompareOrdinal(a.Key, b.Key));
}
