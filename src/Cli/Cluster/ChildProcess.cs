using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Cli.Cluster;

/// <summary>A process by its pidfd: started by us in a session of its own, or found.</summary>
internal sealed class ChildProcess : IDisposable
{
    private readonly SafeFileHandle _pidFd;
    private readonly bool _isChild;
    private string _ending = "ended";

    private ChildProcess(int pid, SafeFileHandle pidFd, bool isChild)
    {
        Record = ProcessRecord.Of(pid);
        _pidFd = pidFd;
        _isChild = isChild;
        // A thread of its own: an end has to be seen however busy the pool is.
        Exited = Task.Factory.StartNew(WaitForExit, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    public ProcessRecord Record { get; }

    public int Pid => Record.Pid;

    /// <summary>Completes when it has exited, with how it ended.</summary>
    public Task<string> Exited { get; }

    /// <summary>Starts a program; its output is appended to a file.</summary>
    /// <param name="command">Program and arguments.</param>
    /// <param name="log">Receives standard output and error.</param>
    public static ChildProcess Start(IReadOnlyList<string> command, string log)
    {
        // The shell only puts the output into the file and becomes the program.
        var error = ProcessControlSpawn.Start(["/bin/sh", "-c", "exec \"$@\" >>\"$0\" 2>&1", log, .. command], out var pid);
        if (error != Errno.OK)
        {
            throw new StartupException($"cannot start {command[0]}: {error}");
        }

        error = ProcessControl.OpenPidFd(pid, out var pidFd);
        if (error != Errno.OK)
        {
            ProcessControl.KillChild(pid);
            throw new StartupException($"cannot watch a new process: {error}; raise the limit of open files (ulimit -n)");
        }

        return new ChildProcess(pid, pidFd!, isChild: true);
    }

    /// <summary>A process that somebody else started; null when it does not run any more.</summary>
    public static ChildProcess? Find(ProcessRecord record)
    {
        if (!record.IsAlive || ProcessControl.OpenPidFd(record.Pid, out var pidFd) != Errno.OK)
        {
            return null;
        }

        // Looked at again with the pidfd in hand: now it cannot be another process.
        if (!record.IsAlive)
        {
            pidFd!.Dispose();
            return null;
        }

        return new ChildProcess(record.Pid, pidFd!, isChild: false);
    }

    public void Signal(int signal) => _ = ProcessControl.Signal(_pidFd, signal); // ESRCH: it is what was wanted

    /// <summary>SIGTERM, and SIGKILL when it has not ended by then.</summary>
    public async Task StopAsync(TimeSpan patience)
    {
        Signal(ProcessControl.SigTerm);
        if (await EndsWithinAsync(patience).ConfigureAwait(false))
        {
            return;
        }

        Signal(ProcessControl.SigKill);
        await EndsWithinAsync(TimeSpan.FromSeconds(10)).ConfigureAwait(false);
    }

    public async Task<bool> EndsWithinAsync(TimeSpan patience)
    {
        try
        {
            await Exited.WaitAsync(patience).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            // Killed within a FUSE notification it may never end, and yet run no more.
            return ProcessControlThreads.IsGone(Pid);
        }
    }

    public void Dispose()
    {
        if (Exited.IsCompleted)
        {
            _pidFd.Dispose();
        }
        else
        {
            // The watching thread still uses the descriptor.
            _ = Exited.ContinueWith(_ => _pidFd.Dispose(), TaskScheduler.Default);
        }
    }

    private string WaitForExit()
    {
        while (UnixSocketPoll.WaitOne((int)_pidFd.DangerousGetHandle(), PollFd.In, -1) == 0)
        {
            // Interrupted; the pidfd says when it is over.
        }

        if (_isChild && ProcessControl.TryReap(Pid, out var exit) == Errno.OK)
        {
            _ending = exit.ToString();
        }

        return _ending;
    }
}
