using System.Runtime.InteropServices;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>Processes by pidfd, so that a recycled process id is never signalled or waited for.</summary>
public static partial class ProcessControl
{
    /// <summary>SIGKILL.</summary>
    public const int SigKill = 9;

    /// <summary>SIGTERM.</summary>
    public const int SigTerm = 15;

    /// <summary>ESRCH: there is no such process.</summary>
    public const Errno NoSuchProcess = (Errno)3;

    /// <summary>ECHILD: not a child of ours, or reaped already.</summary>
    public const Errno NotAChild = (Errno)10;

    private const long SYS_pidfd_send_signal = 424;
    private const long SYS_pidfd_open = 434;
    private const int WNOHANG = 1;
    private const int PR_SET_PDEATHSIG = 1;

    /// <summary>The effective user id of this process.</summary>
    public static uint EffectiveUserId => GetEUid();

    /// <summary>A pidfd: readable when the process has exited, every thread included.</summary>
    /// <returns><see cref="NoSuchProcess"/>, EINVAL for a thread that leads no process.</returns>
    public static Errno OpenPidFd(int pid, out SafeFileHandle? pidFd)
    {
        pidFd = null;
        var fd = SysCall(SYS_pidfd_open, pid, 0, 0, 0);
        if (fd < 0)
        {
            return UnixSocketNative.LastError();
        }

        pidFd = new SafeFileHandle((nint)fd, ownsHandle: true);
        return Errno.OK;
    }

    /// <summary>Sends a signal to the process of a pidfd; signal 0 only asks whether it is there.</summary>
    /// <returns><see cref="NoSuchProcess"/>, EPERM.</returns>
    public static Errno Signal(SafeFileHandle pidFd, int signal) =>
        SysCall(SYS_pidfd_send_signal, pidFd.DangerousGetHandle(), signal, 0, 0) < 0 ? UnixSocketNative.LastError() : Errno.OK;

    /// <summary>Has the process of this pidfd exited, with every thread? Never waits.</summary>
    public static bool HasExited(SafeFileHandle pidFd) =>
        UnixSocketPoll.WaitOne((int)pidFd.DangerousGetHandle(), PollFd.In, 0) != 0;

    /// <summary>Reaps a child that has exited; never waits.</summary>
    /// <param name="pid">The child.</param>
    /// <param name="exit">How it ended, when the result is OK.</param>
    /// <returns>EAGAIN while it runs, <see cref="NotAChild"/>.</returns>
    public static Errno TryReap(int pid, out ProcessExit exit)
    {
        exit = default;
        int result;
        int status;
        do
        {
            result = WaitPid(pid, out status, WNOHANG);
        }
        while (result < 0 && UnixSocketNative.LastError() == Errno.EINTR);

        if (result < 0)
        {
            return UnixSocketNative.LastError();
        }

        if (result == 0)
        {
            return Errno.EAGAIN;
        }

        var signal = status & 0x7f;
        exit = new ProcessExit(signal == 0 ? (status >> 8) & 0xff : 0, signal);
        return Errno.OK;
    }

    /// <summary>Kills a child that is not reaped yet and waits for its end. For a child that has only just been started.</summary>
    public static void KillChild(int pid)
    {
        _ = Kill(pid, SigKill);
        while (WaitPid(pid, out _, 0) < 0 && UnixSocketNative.LastError() == Errno.EINTR)
        {
        }
    }

    /// <summary>Asks the kernel to send this process a signal when the thread that started it ends (PR_SET_PDEATHSIG).</summary>
    /// <param name="signal">The signal; 0 takes the wish back.</param>
    /// <param name="expectedParent">The parent's process id; when it is somebody else by now the parent died before the call.</param>
    /// <returns><see cref="NoSuchProcess"/> when the parent is gone already: the caller ends itself.</returns>
    /// <remarks>It is the *thread* of the parent that counts (<c>prctl(2)</c>): parents start such children from a thread that stays.</remarks>
    public static Errno SignalOnParentDeath(int signal, int expectedParent)
    {
        if (PrCtl(PR_SET_PDEATHSIG, signal, 0, 0, 0) < 0)
        {
            return UnixSocketNative.LastError();
        }

        return GetPPid() == expectedParent ? Errno.OK : NoSuchProcess;
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SysCall(long number, long first, long second, long third, long fourth);

    [LibraryImport("libc", EntryPoint = "waitpid", SetLastError = true)]
    private static partial int WaitPid(int pid, out int status, int options);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int pid, int signal);

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    private static partial int PrCtl(int option, long first, long second, long third, long fourth);

    [LibraryImport("libc", EntryPoint = "getppid")]
    private static partial int GetPPid();

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint GetEUid();
}

/// <summary>How a process ended: by a signal when <see cref="Signal"/> is not 0, else with <see cref="Code"/>.</summary>
public readonly record struct ProcessExit(int Code, int Signal)
{
    /// <inheritdoc/>
    public override string ToString() => Signal != 0 ? $"signal {Signal}" : $"exit code {Code}";
}
