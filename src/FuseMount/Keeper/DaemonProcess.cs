using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>A process that the keeper watches: one that it started, or one that came to it. Owns the pidfd.</summary>
internal sealed class DaemonProcess(int pid, SafeFileHandle pidFd, bool isChild) : IDisposable
{
    private readonly ulong _startTime = ProcessControlThreads.StartTime(pid);
    private bool _gone;
    private long _nextLookMs;

    internal int Pid => pid;

    internal int PidFd => (int)pidFd.DangerousGetHandle();

    /// <summary>How it ended, as far as is known.</summary>
    internal string Ending { get; private set; } = "unknown end";

    /// <summary>Has the kernel nothing left of it? Until then it must not be forgotten: a child is reaped when it is over.</summary>
    internal bool IsOver { get; private set; }

    /// <summary>Starts a child.</summary>
    internal static Errno Start(IReadOnlyList<string> command, out DaemonProcess? process)
    {
        process = null;
        var error = ProcessControlSpawn.Start(command, out var pid);
        if (error != Errno.OK)
        {
            return error;
        }

        // Nobody else reaps our child, so the process id is still its own.
        error = ProcessControl.OpenPidFd(pid, out var pidFd);
        if (error != Errno.OK)
        {
            // Out of descriptors. An unwatched child would be a second daemon one day.
            ProcessControl.KillChild(pid);
            return error;
        }

        process = new DaemonProcess(pid, pidFd!, isChild: true);
        return Errno.OK;
    }

    internal bool IsSame(int otherPid) => pid == otherPid && ProcessControlThreads.StartTime(otherPid) == _startTime;

    /// <summary>The keeper itself: a daemon in the same process, as tests start it. It is gone when its connection is.</summary>
    internal bool IsSelf { get; } = pid == Environment.ProcessId;

    /// <summary>Is it certain that it will not run again? Reaps it when it can be reaped.</summary>
    internal bool CheckGone()
    {
        if (IsOver || IsSelf)
        {
            return _gone;
        }

        // /proc is slow beside the pidfd, so it is asked less often; the pidfd is asked last, because between the two looks the process may
        // come to its regular end.
        var silent = false;
        var now = Environment.TickCount64;
        if (!_gone && now >= _nextLookMs)
        {
            _nextLookMs = now + (KeeperLimits.WatchIntervalMs / 2);
            silent = ProcessControlThreads.IsGone(pid);
        }

        if (ProcessControl.HasExited(pidFd))
        {
            IsOver = _gone = true;
            Ending = isChild && ProcessControl.TryReap(pid, out var exit) == Errno.OK ? exit.ToString() : "ended";
        }
        else if (silent)
        {
            // Costs nothing when it is true and makes it true if /proc was read at a wrong moment.
            Signal(ProcessControl.SigKill);
            _gone = true;
            Ending = "killed, with a thread still waiting in the kernel";
        }

        return _gone;
    }

    /// <summary>For a daemon in our own process: its connection is closed.</summary>
    internal void ConnectionClosed()
    {
        if (IsSelf)
        {
            IsOver = _gone = true;
            Ending = "disconnected";
        }
    }

    internal void Signal(int signal)
    {
        if (!IsSelf)
        {
            // ESRCH: it is what was wanted.
            _ = ProcessControl.Signal(pidFd, signal);
        }
    }

    public void Dispose() => pidFd.Dispose();
}
