using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>Which daemon there is, and what happens when there is none: the keeper's second half beside the table.</summary>
/// <remarks>
/// Used by the keeper's one thread only. Two processes are told apart: the *child* that was started and the *daemon* that attached. They
/// are the same process unless the command is a wrapper, or a daemon of the last keeper came by late. There is never more than one daemon,
/// and no successor is started before its predecessor certainly does nothing any more.
/// </remarks>
internal sealed class KeeperSupervisor(KeeperOptions options, DaemonPidFile pidFile, Action<string> log, Action<KeeperConnection> drain)
    : IDisposable
{
    private const long Never = long.MaxValue;
    private const int KillAgainMs = 5_000;
    private const int AncestorsLookedAt = 16;

    private readonly List<DaemonProcess> _lingering = [];
    private readonly List<(KeeperConnection Connection, uint RequestId)> _shutdownRequests = [];
    private IReadOnlyList<string> _command = options.NodeCommand;
    private IReadOnlyList<string>? _lastGoodCommand;
    private (KeeperConnection Connection, uint RequestId)? _handover;
    private DaemonProcess? _child;
    private DaemonProcess? _daemon;
    private long _deadline = Never;
    private long _attachedAt = -1;
    private bool _startPending;
    private bool _endWanted;
    private bool _shutdown;
    private int _starts;

    internal KeeperState State { get; private set; }

    internal ulong Incarnation { get; private set; }

    internal int Restarts => Math.Max(0, _starts - 1);

    internal int FailuresInARow { get; private set; }

    internal int DaemonPid => _daemon?.Pid ?? 0;

    internal bool Supervises => _command.Count > 0;

    /// <summary>The connection of the attached daemon.</summary>
    internal KeeperConnection? Connection { get; private set; }

    /// <summary>Descriptors that become readable when something ends.</summary>
    internal IEnumerable<int> PidFds
    {
        get
        {
            if (_daemon is { IsSelf: false })
            {
                yield return _daemon.PidFd;
            }

            if (_child is not null && _child != _daemon)
            {
                yield return _child.PidFd;
            }

            foreach (var process in _lingering)
            {
                yield return process.PidFd;
            }
        }
    }

    /// <summary>How long nothing is to be done if nothing is reported, in milliseconds; -1 without limit.</summary>
    internal int WaitMs(long now)
    {
        var wait = _deadline == Never ? int.MaxValue : Math.Clamp(_deadline - now, 0, int.MaxValue);
        if (_daemon is not null || _child is not null)
        {
            wait = Math.Min(wait, KeeperLimits.WatchIntervalMs);
        }

        return wait == int.MaxValue ? -1 : (int)wait;
    }

    /// <summary>Finds the daemon that outlived the last keeper, or starts the first one.</summary>
    internal void Begin(long now)
    {
        var last = pidFile.Read();
        Incarnation = last.Incarnation;
        if (last.Pid != 0 && ProcessControl.OpenPidFd(last.Pid, out var pidFd) == Errno.OK)
        {
            _daemon = new DaemonProcess(last.Pid, pidFd!, isChild: false);
            Enter(KeeperState.Adopting, now + options.AdoptTimeoutMs);
            log($"daemon {last.Pid} of the last keeper is alive: waiting for it for {options.AdoptTimeoutMs} ms");
        }
        else
        {
            Next(now);
        }
    }

    /// <summary>Looks at processes and the clock and does what is due.</summary>
    internal void Tick(long now)
    {
        for (var i = _lingering.Count - 1; i >= 0; i--)
        {
            _ = _lingering[i].CheckGone();
            if (_lingering[i].IsOver)
            {
                _lingering[i].Dispose();
                _lingering.RemoveAt(i);
            }
        }

        if (_daemon is not null && _daemon.CheckGone())
        {
            DaemonGone(now);
        }

        if (_child is not null && _child != _daemon && _child.CheckGone())
        {
            ChildGone(now);
        }

        if (now >= _deadline)
        {
            DeadlinePassed(now);
        }
    }

    /// <summary>A process announces itself as the daemon.</summary>
    /// <returns>EBUSY while another daemon lives, ESTALE for one that has been replaced, EPERM when we cannot watch it.</returns>
    internal Errno Attach(KeeperConnection connection, ulong incarnation, long now)
    {
        Tick(now);
        var pid = connection.Peer.Pid;
        if (_shutdown || State == KeeperState.Ended)
        {
            return Errno.ECANCELED;
        }

        if (incarnation != 0 && incarnation < Incarnation)
        {
            return Errno.ESTALE;
        }

        var same = _daemon is not null && _daemon.IsSame(pid);
        if (same && Connection is not null)
        {
            drain(Connection);
            if (!Connection.IsClosed && incarnation == 0)
            {
                return Errno.EBUSY;
            }

            Connection.Dispose();
        }
        else if (_daemon is not null && !same)
        {
            return Errno.EBUSY;
        }

        if (!same)
        {
            var error = Watch(connection, pid);
            if (error != Errno.OK)
            {
                return error;
            }
        }

        Incarnation = incarnation == 0 ? Incarnation + 1 : incarnation;
        Connection = connection;
        _attachedAt = now;
        _startPending = false;
        _lastGoodCommand = null;
        log($"daemon {pid} attached as incarnation {Incarnation}");
        if (State is KeeperState.Stopping or KeeperState.Killing)
        {
            // It was away when it was asked to stop.
            connection.Send(new KeeperFrame { Opcode = KeeperOpcode.Stop });
            return Errno.OK;
        }

        Enter(KeeperState.Running, Never);
        AnswerHandover(Errno.OK);
        return Errno.OK;
    }

    /// <summary>The daemon's connection has ended; the daemon may still be alive and come back.</summary>
    internal void Disconnected(KeeperConnection connection)
    {
        if (Connection == connection)
        {
            Connection = null;
            _daemon?.ConnectionClosed();
        }
    }

    /// <summary>Replaces the daemon; the answer is sent when the new one has attached.</summary>
    internal void Handover(KeeperConnection connection, uint requestId, string[] newCommand, int deadlineMs, long now)
    {
        if (_shutdown || _handover is not null || State is KeeperState.Adopting)
        {
            Answer(connection, requestId, Errno.EBUSY);
            return;
        }

        if (newCommand.Length == 0 && _command.Count == 0)
        {
            Answer(connection, requestId, Errno.EINVAL);
            return;
        }

        _handover = (connection, requestId);
        FailuresInARow = 0;
        if (newCommand.Length > 0)
        {
            _lastGoodCommand = _command;
            _command = newCommand;
        }

        log("the daemon is to be replaced");
        if (_daemon is null && _child is null)
        {
            Next(now);
            return;
        }

        End(deadlineMs, now, signal: 0);
    }

    /// <summary>Ends the daemon; <see cref="State"/> becomes Ended when it is done.</summary>
    internal void Shutdown(KeeperConnection? connection, uint requestId, int deadlineMs, long now)
    {
        if (connection is not null)
        {
            _shutdownRequests.Add((connection, requestId));
        }

        if (_shutdown)
        {
            return;
        }

        _shutdown = true;
        AnswerHandover(Errno.ECANCELED);
        if (_daemon is null && _child is null)
        {
            Next(now);
            return;
        }

        End(deadlineMs, now, ProcessControl.SigTerm);
    }

    /// <summary>The last words to those who asked for the end.</summary>
    internal void AnswerShutdown()
    {
        foreach (var (connection, requestId) in _shutdownRequests)
        {
            Answer(connection, requestId, Errno.OK);
        }
    }

    public void Dispose()
    {
        _child?.Dispose();
        _daemon?.Dispose();
        _lingering.ForEach(static process => process.Dispose());
    }

    private static void Answer(KeeperConnection connection, uint requestId, Errno status, ulong argument = 0) =>
        connection.Send(new KeeperFrame { Opcode = KeeperOpcode.Reply, RequestId = requestId, Status = status, Argument = argument });

    private void AnswerHandover(Errno status)
    {
        if (_handover is { } waiting)
        {
            _handover = null;
            Answer(waiting.Connection, waiting.RequestId, status, Incarnation);
        }
    }

    private void Enter(KeeperState state, long deadline)
    {
        State = state;
        _deadline = deadline;
    }

    private Errno Watch(KeeperConnection connection, int pid)
    {
        if (pid == 0)
        {
            log("a daemon in another pid namespace cannot be watched: run keeper and daemon in one");
            return Errno.EPERM;
        }

        if (_child is not null && _child.IsSame(pid))
        {
            _daemon = _child;
            return Errno.OK;
        }

        var pidFd = connection.TakePeerPidFd();
        if (pidFd is null)
        {
            var error = ProcessControl.OpenPidFd(pid, out pidFd);
            if (error != Errno.OK)
            {
                return error;
            }
        }

        if (_child is not null && !IsDescendant(pid, _child.Pid))
        {
            // A daemon that the last keeper had just started. It may serve mounts already; ours has nothing yet.
            log($"daemon {pid} was started by somebody else and came first: ending {_child.Pid}");
            _child.Signal(ProcessControl.SigKill);
            _ = _child.CheckGone();
            _lingering.Add(_child);
            _child = null;
        }

        _daemon = new DaemonProcess(pid, pidFd!, isChild: false);
        return Errno.OK;
    }

    private static bool IsDescendant(int pid, int ancestor)
    {
        for (var i = 0; i < AncestorsLookedAt && pid > 1; i++)
        {
            if (pid == ancestor)
            {
                return true;
            }

            pid = ProcessControlThreads.Parent(pid);
        }

        return false;
    }

    private void End(int deadlineMs, long now, int signal)
    {
        _endWanted = true;
        _startPending = false;
        if (State == KeeperState.Killing)
        {
            return;
        }

        if (signal == 0 || _daemon is { IsSelf: true })
        {
            Connection?.Send(new KeeperFrame { Opcode = KeeperOpcode.Stop });
        }

        if (signal != 0)
        {
            _daemon?.Signal(signal);
            if (_child != _daemon)
            {
                _child?.Signal(signal);
            }
        }

        Enter(KeeperState.Stopping, now + deadlineMs);

        // Nobody to ask: one that has not attached yet serves nothing and can go at once.
        if (signal == 0 && Connection is null && _daemon is null)
        {
            Kill(now);
        }
    }

    private void Kill(long now)
    {
        _daemon?.Signal(ProcessControl.SigKill);
        if (_child != _daemon)
        {
            _child?.Signal(ProcessControl.SigKill);
        }

        if (_daemon is { IsSelf: true })
        {
            Connection?.Dispose();
            Connection = null;
            _daemon.ConnectionClosed();
        }

        Enter(KeeperState.Killing, now + KillAgainMs);
    }

    private void DeadlinePassed(long now)
    {
        switch (State)
        {
            case KeeperState.Backoff:
                Start(now);
                break;
            case KeeperState.Adopting:
                log($"daemon {DaemonPid} lives but did not come: killing it");
                Kill(now);
                break;
            case KeeperState.Starting:
                log($"daemon {_child?.Pid} did not attach within {options.StartTimeoutMs} ms: killing it");
                Kill(now);
                break;
            case KeeperState.Stopping:
                log($"daemon {DaemonPid} did not stop in time: killing it");
                Kill(now);
                break;
            case KeeperState.Killing:
                log($"daemon {DaemonPid} was killed and is still running: killing it again");
                Kill(now);
                break;
            default:
                _deadline = Never;
                break;
        }
    }

    private void DaemonGone(long now)
    {
        var daemon = _daemon!;
        _daemon = null;
        var lived = _attachedAt < 0 ? 0 : now - _attachedAt;
        log($"daemon {daemon.Pid} (incarnation {Incarnation}) is gone after {lived} ms: {daemon.Ending}");

        // What it had sent before its end still counts.
        if (Connection is not null)
        {
            drain(Connection);
            Connection?.Dispose();
            Connection = null;
        }

        if (!_endWanted && _attachedAt >= 0)
        {
            FailuresInARow = lived >= options.RestartBackoff.StableAfterMs ? 0 : FailuresInARow + 1;
        }

        _attachedAt = -1;
        if (_child == daemon)
        {
            _child = null;
        }

        Forget(daemon);
        if (_child is not null)
        {
            // The wrapper around it ends too before there is another one.
            _child.Signal(ProcessControl.SigKill);
            Enter(KeeperState.Killing, now + KillAgainMs);
            return;
        }

        Next(now);
    }

    private void ChildGone(long now)
    {
        var child = _child!;
        _child = null;
        Forget(child);
        if (_daemon is not null)
        {
            return;
        }

        if (_startPending && !_shutdown)
        {
            log($"daemon {child.Pid} ended before it attached: {child.Ending}");
            StartFailed();
        }

        Next(now);
    }

    private void Forget(DaemonProcess process)
    {
        if (process.IsOver)
        {
            process.Dispose();
        }
        else
        {
            _lingering.Add(process);
        }
    }

    private void Next(long now)
    {
        _endWanted = false;
        if (_shutdown)
        {
            Enter(KeeperState.Ended, Never);
        }
        else if (_command.Count == 0)
        {
            Enter(KeeperState.Idle, Never);
        }
        else if (_handover is not null || options.RestartBackoff.DelayMs(FailuresInARow) is 0)
        {
            Start(now);
        }
        else
        {
            BackOff(now);
        }
    }

    private void BackOff(long now)
    {
        var delay = Math.Max(options.RestartBackoff.DelayMs(FailuresInARow), options.RestartBackoff.InitialDelayMs);
        log($"{FailuresInARow} daemons in a row failed: the next one starts in {delay} ms");
        Enter(KeeperState.Backoff, now + delay);
    }

    private void Start(long now)
    {
        _starts++;
        var error = DaemonProcess.Start(_command, out _child);
        if (error == Errno.OK)
        {
            _startPending = true;
            log($"started daemon {_child!.Pid}");
            Enter(KeeperState.Starting, now + options.StartTimeoutMs);
            return;
        }

        log($"cannot start {_command[0]}: {error}");
        StartFailed();
        BackOff(now);
    }

    private void StartFailed()
    {
        _startPending = false;
        FailuresInARow++;
        if (_lastGoodCommand is not null)
        {
            log("back to the last command line");
            _command = _lastGoodCommand;
            _lastGoodCommand = null;
            FailuresInARow = 0;
        }

        AnswerHandover(Errno.EIO);
    }
}
