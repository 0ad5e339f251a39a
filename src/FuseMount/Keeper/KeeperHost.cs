using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>The keeper: holds descriptors for the node daemon, watches it, and replaces it.</summary>
/// <remarks>
/// One thread and one poll(2) loop; nothing here ever touches a mount, a disk or the network, so nothing that a daemon breaks can hold it up.
/// That asks one thing of the daemon: it deposits only descriptors whose close never waits (/dev/fuse, memfds, pipes), no files of a mount.
/// </remarks>
public sealed class KeeperHost : IDisposable
{
    private const uint SocketMode = 0x180; // 0600
    private const int AcceptPauseMs = 100;
    private const int RetryMs = 10;
    private const int LastWordsMs = 1_000;

    private readonly KeeperOptions _options;
    private readonly ProcessControlLock _lock;
    private readonly UnixSocket _listener;
    private readonly UnixSocketWake _wake;
    private readonly KeeperTable _table = new();
    private readonly KeeperSupervisor _supervisor;
    private readonly DaemonPidFile _pidFile;
    private readonly List<KeeperConnection> _connections = [];
    private readonly List<PollFd> _polled = [];
    private readonly byte[] _buffer = new byte[KeeperLimits.MaxMessageBytes];
    private readonly int[] _fds = new int[KeeperLimits.MaxFdsPerEntry];

    // No secret, only different: the cryptographic generator would cost five megabytes of resident memory.
    private readonly ulong _id = (ulong)Random.Shared.NextInt64();
    private readonly DateTimeOffset _startedAt = DateTimeOffset.UtcNow;
    private Thread? _thread;
    private volatile bool _exitRequested;
    private volatile bool _shutdownRequested;
    private long _acceptPausedUntil;
    private long _allocatedAtCollection;

    private KeeperHost(KeeperOptions options, ProcessControlLock taken, UnixSocket listener)
    {
        _options = options;
        _lock = taken;
        _listener = listener;
        _wake = new UnixSocketWake();
        _pidFile = new DaemonPidFile(options.SocketPath);
        _supervisor = new KeeperSupervisor(options, _pidFile, Log, Drain);
    }

    private static long NowMs => Environment.TickCount64;

    /// <summary>Runs a keeper on the calling thread until it is shut down or cancelled.</summary>
    /// <param name="options">Configuration.</param>
    /// <param name="exit">Ends the keeper only: the daemon lives on and waits for the next keeper (see <see cref="RequestExit"/>).</param>
    /// <exception cref="KeeperException">Bad options, another keeper on this socket, or the socket cannot be made.</exception>
    public static void Run(KeeperOptions options, CancellationToken exit = default)
    {
        using var host = Open(options);
        using var registration = exit.Register(host.RequestExit);
        host.Loop();
    }

    /// <summary>Starts a keeper on a thread of its own.</summary>
    /// <exception cref="KeeperException">As for <see cref="Run"/>.</exception>
    public static KeeperHost Start(KeeperOptions options)
    {
        var host = Open(options);
        host._thread = new Thread(host.Loop, maxStackSize: 512 * 1024) { Name = "keeper", IsBackground = true };
        host._thread.Start();
        return host;
    }

    /// <summary>Ends the keeper and leaves the daemon alone. Safe from every thread.</summary>
    public void RequestExit()
    {
        _exitRequested = true;
        _wake.Set();
    }

    /// <summary>Ends the daemon (SIGTERM, after the stop time-out SIGKILL), then the keeper. Safe from every thread.</summary>
    public void RequestShutdown()
    {
        _shutdownRequested = true;
        _wake.Set();
    }

    /// <summary>Waits until the keeper has ended.</summary>
    /// <returns>false when the time was over before.</returns>
    public bool WaitForEnd(TimeSpan timeout) => _thread is null || _thread.Join(timeout);

    /// <summary>Ends the keeper as <see cref="RequestExit"/> does and waits for it.</summary>
    public void Dispose()
    {
        RequestExit();
        _thread?.Join();
        foreach (var connection in _connections)
        {
            connection.Dispose();
        }

        _listener.Dispose();
        _wake.Dispose();
        _table.Dispose();
        _supervisor.Dispose();
        _lock.Dispose();
    }

    private static KeeperHost Open(KeeperOptions options)
    {
        if (options.Validate() is { } wrong)
        {
            throw new KeeperException(Errno.EINVAL, wrong);
        }

        var path = options.SocketPath;
        var error = ProcessControlLock.TryTake(LockOf(path), out var taken, out var owner);
        if (error != Errno.OK)
        {
            throw new KeeperException(error, error == Errno.EAGAIN
                ? $"another keeper (process {owner}) serves {path}: stop it or choose another socket"
                : $"cannot create {path}.lock: {error}; does its directory exist and may you write to it?");
        }

        // Ours alone now: what is at the path was left by a keeper that was killed.
        try
        {
            File.Delete(path);
            error = UnixSocket.Listen(path, SocketMode, KeeperLimits.MaxConnections, out var listener);
            return error == Errno.OK
                ? new KeeperHost(options, taken!, listener!)
                : throw new KeeperException(error, $"cannot listen on {path}: {error}");
        }
        catch
        {
            taken!.Dispose();
            throw;
        }
    }

    /// <summary>The lock of the keeper that serves a socket: there from before the socket is until after it was told to stop.</summary>
    public static string LockOf(string socketPath) => socketPath + ".lock";

    private void Log(string line) => _options.Log?.Invoke(line);

    private void Loop()
    {
        _supervisor.Begin(NowMs);
        while (!_exitRequested && _supervisor.State != KeeperState.Ended)
        {
            if (_shutdownRequested)
            {
                _supervisor.Shutdown(null, 0, _options.StopTimeoutMs, NowMs);
            }

            Turn();
        }

        if (_supervisor.State == KeeperState.Ended)
        {
            // The socket goes before the answer: who was told that it is over finds nothing left.
            _pidFile.Delete();
            DaemonPidFile.Delete(_options.SocketPath);
            _supervisor.AnswerShutdown();
            FlushLastWords();
        }
        else
        {
            DaemonPidFile.Delete(_options.SocketPath);
        }

        Log("the keeper has ended");
    }

    private void Turn()
    {
        var now = NowMs;
        _supervisor.Tick(now);
        Sweep();
        if (_supervisor.State == KeeperState.Ended)
        {
            return;
        }

        _polled.Clear();
        _polled.Add(new PollFd { Fd = _wake.Fd, Events = PollFd.In });
        _polled.Add(new PollFd { Fd = now < _acceptPausedUntil ? -1 : _listener.Fd, Events = PollFd.In });
        var retry = false;
        foreach (var connection in _connections)
        {
            retry |= connection.NeedsRetry;
            var events = connection.NeedsRetry ? (short)0 : connection.HasOutput ? PollFd.Out : PollFd.In;
            _polled.Add(new PollFd { Fd = connection.Fd, Events = events });
        }

        foreach (var pidFd in _supervisor.PidFds)
        {
            _polled.Add(new PollFd { Fd = pidFd, Events = PollFd.In });
        }

        var wait = _supervisor.WaitMs(now);
        wait = retry ? Smaller(wait, RetryMs) : wait;
        wait = now < _acceptPausedUntil ? Smaller(wait, AcceptPauseMs) : wait;
        var polled = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_polled);
        var error = UnixSocketPoll.Wait(polled, wait, out var ready);
        if (error != Errno.OK)
        {
            // ENOMEM: the kernel has nothing to wait with. Anything else would be a bug; neither may spin.
            Log($"poll: {error}");
            Thread.Sleep(RetryMs);
            return;
        }

        if (ready == 0)
        {
            StaySmall();
        }

        if (polled[0].Returned != 0)
        {
            _wake.Clear();
        }

        var count = _connections.Count;
        for (var i = 0; i < count; i++)
        {
            if (polled[2 + i].Returned != 0 || _connections[i].NeedsRetry)
            {
                _connections[i].Flush();
                Serve(_connections[i], KeeperLimits.MessagesPerTurn);
            }
        }

        Sweep();
        if (polled[1].Returned != 0)
        {
            AcceptAll();
        }
    }

    private void StaySmall()
    {
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        if (allocated - _allocatedAtCollection >= KeeperLimits.GarbageBytes)
        {
            _allocatedAtCollection = allocated;
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        }
    }

    private static int Smaller(int waitMs, int limitMs) => waitMs < 0 ? limitMs : Math.Min(waitMs, limitMs);

    private void AcceptAll()
    {
        for (var i = 0; i < KeeperLimits.MaxConnections; i++)
        {
            var error = _listener.Accept(out var socket);
            if (error != Errno.OK)
            {
                if (error is not Errno.EAGAIN and not Errno.ECONNABORTED and not Errno.EINTR)
                {
                    Log($"accept: {error}");
                    _acceptPausedUntil = NowMs + AcceptPauseMs;
                }

                return;
            }

            var known = socket!.GetPeer(out var peer) == Errno.OK;
            if (!known || (peer.Uid != 0 && peer.Uid != ProcessControl.EffectiveUserId) || _connections.Count >= KeeperLimits.MaxConnections)
            {
                Log(known ? $"refused process {peer.Pid} of user {peer.Uid}" : "refused a connection without credentials");
                socket.Dispose();
                continue;
            }

            _ = socket.GetPeerPidFd(out var pidFd);
            _connections.Add(new KeeperConnection(socket, peer, pidFd));
        }
    }

    private void Sweep()
    {
        for (var i = _connections.Count - 1; i >= 0; i--)
        {
            if (_connections[i].IsClosed)
            {
                _supervisor.Disconnected(_connections[i]);
                _connections.RemoveAt(i);
            }
        }
    }

    /// <summary>Takes what a dead daemon had still sent: one request, since a client waits for each answer.</summary>
    private void Drain(KeeperConnection connection) => Serve(connection, int.MaxValue);

    private void Serve(KeeperConnection connection, int limit)
    {
        for (var i = 0; i < limit && !connection.IsClosed && !connection.HasOutput; i++)
        {
            var error = connection.Receive(_buffer, _fds, out var length, out var fdCount);
            if (error == Errno.EAGAIN)
            {
                return;
            }

            KeeperFrame frame = default;
            KeeperFds? fds = null;
            if (error == Errno.OK)
            {
                fds = KeeperFds.Take(_fds.AsSpan(0, fdCount));
                error = KeeperFrame.Parse(_buffer.AsSpan(0, length), fdCount, out frame);
            }

            if (error == Errno.OK)
            {
                error = Handle(connection, frame, fds!);
            }

            fds?.Release();
            if (error != Errno.OK)
            {
                if (error != Errno.ENOTCONN)
                {
                    Log($"closing the connection of process {connection.Peer.Pid}: {error}");
                }

                connection.Dispose();
            }
        }
    }

    /// <summary>Carries one request out.</summary>
    /// <returns>Not OK only for what no client of ours sends: the connection is closed.</returns>
    private Errno Handle(KeeperConnection connection, in KeeperFrame frame, KeeperFds fds)
    {
        if (fds.Count > 0 && frame.Opcode != KeeperOpcode.Put)
        {
            return Errno.EBADMSG;
        }

        var deadlineMs = frame.Argument == 0 ? _options.StopTimeoutMs : (int)Math.Min(frame.Argument, KeeperLimits.MaxDeadlineMs);
        var mayWrite = connection == _supervisor.Connection;
        switch (frame.Opcode)
        {
            case KeeperOpcode.Attach:
                return Attach(connection, frame);
            case KeeperOpcode.Put:
                Reply(connection, frame, mayWrite ? _table.Put(frame.Key, frame.Payload, fds.AddUser()) : Errno.EPERM);
                return Errno.OK;
            case KeeperOpcode.Update:
                Reply(connection, frame, mayWrite ? _table.Update(frame.Key, frame.Payload) : Errno.EPERM);
                return Errno.OK;
            case KeeperOpcode.Remove:
                Reply(connection, frame, mayWrite ? _table.Remove(frame.Key) : Errno.EPERM);
                return Errno.OK;
            case KeeperOpcode.List:
                List(connection, frame);
                return Errno.OK;
            case KeeperOpcode.Handover:
                var error = KeeperFrame.UnpackCommand(frame.Payload, out var command);
                if (error == Errno.OK)
                {
                    _supervisor.Handover(connection, frame.RequestId, command, deadlineMs, NowMs);
                }

                return error;
            case KeeperOpcode.Shutdown:
                _supervisor.Shutdown(connection, frame.RequestId, deadlineMs, NowMs);
                return Errno.OK;
            default:
                return Errno.EBADMSG;
        }
    }

    private static void Reply(KeeperConnection connection, in KeeperFrame request, Errno status) =>
        connection.Send(new KeeperFrame { Opcode = KeeperOpcode.Reply, RequestId = request.RequestId, Status = status });

    private Errno Attach(KeeperConnection connection, in KeeperFrame frame)
    {
        if (connection == _supervisor.Connection)
        {
            return Errno.EBADMSG;
        }

        var status = _supervisor.Attach(connection, frame.Argument, NowMs);

        // A daemon that comes back knows its entries better than we do.
        var sendsEntries = status == Errno.OK && frame.Argument == 0;
        connection.Send(new KeeperFrame
        {
            Opcode = KeeperOpcode.AttachReply,
            RequestId = frame.RequestId,
            Status = status,
            Argument = _supervisor.Incarnation,
            Payload = new KeeperAttachInfo(_id, sendsEntries ? _table.Count : 0).Pack(),
        });
        if (sendsEntries)
        {
            foreach (var entry in _table.Entries)
            {
                connection.Send(
                    new KeeperFrame
                    {
                        Opcode = KeeperOpcode.Entry,
                        RequestId = frame.RequestId,
                        Key = entry.Key,
                        Payload = entry.Payload,
                        FdCount = entry.Fds.Count,
                    },
                    entry.Fds);
            }
        }

        return Errno.OK;
    }

    private void List(KeeperConnection connection, in KeeperFrame frame)
    {
        var status = new KeeperStatus
        {
            KeeperPid = Environment.ProcessId,
            DaemonPid = _supervisor.DaemonPid,
            DaemonConnected = _supervisor.Connection is { IsClosed: false },
            Incarnation = _supervisor.Incarnation,
            Restarts = _supervisor.Restarts,
            FailuresInARow = _supervisor.FailuresInARow,
            State = _supervisor.State,
            Supervises = _supervisor.Supervises,
            KeeperId = _id,
            StartedAt = _startedAt,
            ResidentBytes = Environment.WorkingSet,
        };
        connection.Send(new KeeperFrame
        {
            Opcode = KeeperOpcode.ListReply,
            RequestId = frame.RequestId,
            Argument = (ulong)_table.Count,
            Payload = status.Pack(),
        });
        foreach (var entry in _table.Entries)
        {
            connection.Send(new KeeperFrame
            {
                Opcode = KeeperOpcode.ListItem,
                RequestId = frame.RequestId,
                Key = entry.Key,
                Argument = ((ulong)(uint)entry.Fds.Count << 32) | (uint)entry.Payload.Length,
            });
        }
    }

    private void FlushLastWords()
    {
        var until = NowMs + LastWordsMs;
        foreach (var connection in _connections)
        {
            while (!connection.IsClosed && connection.HasOutput && NowMs < until)
            {
                _ = UnixSocketPoll.WaitOne(connection.Fd, PollFd.Out, RetryMs);
                connection.Flush();
            }
        }
    }
}
