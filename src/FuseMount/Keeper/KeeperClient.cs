using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>The daemon's side of the keeper: what is put here outlives the daemon.</summary>
/// <remarks>
/// All members are safe from every thread. One thread of its own talks to the keeper. The client remembers everything that was put
/// (with duplicates of the descriptors), so a keeper that was killed and started again is given everything back: as long as one of the
/// two lives nothing is lost. Returned tasks complete when the keeper has it; while there is no keeper they wait for the next one.
/// </remarks>
public sealed class KeeperClient : IDisposable
{
    private readonly KeeperClientOptions _options;
    private readonly DaemonPidFile _pidFile;
    private readonly UnixSocketWake _wake = new();
    private readonly Thread _thread;
    private readonly TaskCompletionSource<KeeperStopReason> _stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();

    // Guarded by _gate: what the keeper is to have, what it has still to be told, and the order of events.
    private readonly Dictionary<string, KeeperDeposit> _deposits = [];
    private readonly Queue<Operation> _operations = new();
    private Task _events = Task.CompletedTask;
    private bool _disposed;

    // The client's thread only.
    private KeeperChannel? _channel;
    private volatile bool _connected;

    private KeeperClient(KeeperClientOptions options, DaemonPidFile pidFile, KeeperChannel channel, ulong incarnation, List<KeeperEntry> inherited)
    {
        _options = options;
        _pidFile = pidFile;
        _channel = channel;
        Incarnation = incarnation;
        Inherited = inherited;
        foreach (var entry in inherited)
        {
            _ = Replace(new KeeperDeposit(entry.Key, entry.Payload, KeeperDepositFds.Duplicate(entry.Fds)));
        }

        _connected = true;
        _thread = new Thread(Work, maxStackSize: 512 * 1024) { Name = "keeper-client", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Raised with false when the keeper is lost and with true when one has everything again; in order, on the thread pool.</summary>
    public event Action<bool>? ConnectionChanged;

    /// <summary>Which daemon of this keeper this is, from 1. Stays the same over keepers.</summary>
    public ulong Incarnation { get; }

    /// <summary>What the predecessor left, oldest first; the caller owns the descriptors.</summary>
    public IReadOnlyList<KeeperEntry> Inherited { get; }

    /// <summary>Completes when this daemon is to stop. Never fails.</summary>
    public Task<KeeperStopReason> StopRequested => _stop.Task;

    /// <summary>Whether a keeper has, as far as is known, everything.</summary>
    public bool IsConnected => _connected;

    /// <summary>The keys that are deposited.</summary>
    public IReadOnlyCollection<string> Keys
    {
        get
        {
            lock (_gate)
            {
                return [.. _deposits.Keys];
            }
        }
    }

    /// <summary>Announces this process as the daemon and takes over what the last one left. Waits up to the attach time-out.</summary>
    /// <exception cref="KeeperException">EBUSY while another daemon lives; ETIMEDOUT or what connect says when no keeper came.</exception>
    public static KeeperClient Attach(KeeperClientOptions options)
    {
        var pidFile = new DaemonPidFile(options.SocketPath);
        var deadline = Environment.TickCount64 + options.AttachTimeoutMs;
        var delay = options.ReconnectDelayMs;
        while (true)
        {
            var error = TryAttach(options, pidFile, deadline, out var client);
            if (error == Errno.OK)
            {
                return client!;
            }

            if (error is Errno.EBUSY or Errno.ESTALE or Errno.EPERM or Errno.EACCES || Environment.TickCount64 >= deadline)
            {
                throw new KeeperException(error, error switch
                {
                    Errno.EBUSY => $"another daemon is attached to the keeper at {options.SocketPath}",
                    Errno.ENOENT or Errno.ECONNREFUSED => $"no keeper runs at {options.SocketPath}",
                    _ => $"cannot attach to the keeper at {options.SocketPath}: {error}",
                });
            }

            _ = UnixSocketPoll.WaitOne(-1, 0, delay);
            delay = Math.Min(delay * 2, options.MaxReconnectDelayMs);
        }
    }

    /// <summary>Stores or replaces an entry. The descriptors are duplicated before this returns; the caller's own stay the caller's.</summary>
    /// <param name="key">1 to 255 bytes of UTF-8 without zeros.</param>
    /// <param name="payload">Up to 64 KiB.</param>
    /// <param name="fds">Up to 64 descriptors whose close never waits.</param>
    /// <exception cref="ArgumentException">A bound is not kept.</exception>
    /// <exception cref="KeeperException">In the task: ENOSPC when the keeper is full; EMFILE at once.</exception>
    public Task PutAsync(string key, ReadOnlySpan<byte> payload, params IReadOnlyList<SafeFileHandle> fds)
    {
        CheckKey(key);
        CheckPayload(payload);
        if (fds.Count > KeeperLimits.MaxFdsPerEntry)
        {
            throw new ArgumentException($"an entry has at most {KeeperLimits.MaxFdsPerEntry} descriptors", nameof(fds));
        }

        var deposit = new KeeperDeposit(key, payload.ToArray(), KeeperDepositFds.Duplicate(fds));
        lock (_gate)
        {
            if (_disposed)
            {
                deposit.Fds.AddUser();
                deposit.Fds.Release();
                ObjectDisposedException.ThrowIf(_disposed, this);
            }

            return Enqueue(new Operation(KeeperOpcode.Put, key, deposit, Replace(deposit)));
        }
    }

    /// <summary>Replaces the payload of an entry and keeps its descriptors.</summary>
    /// <exception cref="KeeperException">ENOENT at once when there is no such entry.</exception>
    public Task UpdateAsync(string key, ReadOnlySpan<byte> payload)
    {
        CheckKey(key);
        CheckPayload(payload);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_deposits.TryGetValue(key, out var old))
            {
                throw new KeeperException(Errno.ENOENT, $"nothing is deposited as {key}");
            }

            var deposit = old with { Payload = payload.ToArray() };
            return Enqueue(new Operation(KeeperOpcode.Update, key, deposit, Replace(deposit)));
        }
    }

    /// <summary>Removes an entry.</summary>
    /// <exception cref="KeeperException">ENOENT at once when there is no such entry.</exception>
    public Task RemoveAsync(string key)
    {
        CheckKey(key);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _deposits.Remove(key, out var old)
                ? Enqueue(new Operation(KeeperOpcode.Remove, key, null, old))
                : throw new KeeperException(Errno.ENOENT, $"nothing is deposited as {key}");
        }
    }

    /// <summary>Ends the connection; the keeper keeps every entry. Operations that wait are cancelled.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        _wake.Set();
        _thread.Join();
        _wake.Dispose();
        lock (_gate)
        {
            while (_operations.TryDequeue(out var operation))
            {
                operation.Retired?.Fds.Release();
                operation.Finish(new OperationCanceledException("the connection to the keeper was closed"));
            }

            foreach (var deposit in _deposits.Values)
            {
                deposit.Fds.Release();
            }

            _deposits.Clear();
        }
    }

    private static void CheckKey(string key)
    {
        if (key.Length == 0 || key.Contains('\0') || Encoding.UTF8.GetByteCount(key) > KeeperLimits.MaxKeyBytes)
        {
            throw new ArgumentException($"a key has 1 to {KeeperLimits.MaxKeyBytes} bytes and no zeros", nameof(key));
        }
    }

    private static void CheckPayload(ReadOnlySpan<byte> payload)
    {
        if (payload.Length > KeeperLimits.MaxPayloadBytes)
        {
            throw new ArgumentException($"a payload has at most {KeeperLimits.MaxPayloadBytes} bytes", nameof(payload));
        }
    }

    private static Errno TryAttach(KeeperClientOptions options, DaemonPidFile pidFile, long deadline, out KeeperClient? client)
    {
        client = null;
        var error = KeeperChannel.Connect(options.SocketPath, out var channel);
        if (error != Errno.OK)
        {
            return error;
        }

        // The name goes into the file first: a keeper that is killed from now on has a successor that waits for us.
        var last = pidFile.Read();
        if (last.Pid == 0)
        {
            pidFile.WriteSelf(last.Incarnation);
        }

        var entries = new List<KeeperEntry>();
        error = Announce(channel!, 0, deadline, entries, out var incarnation, out var stopAsked);
        if (error != Errno.OK)
        {
            entries.ForEach(static entry => Array.ForEach([.. entry.Fds], static fd => fd.Dispose()));
            channel!.Dispose();
            return error;
        }

        pidFile.WriteSelf(incarnation);
        client = new KeeperClient(options, pidFile, channel!, incarnation, entries);
        if (stopAsked)
        {
            _ = client._stop.TrySetResult(KeeperStopReason.Handover);
        }

        return Errno.OK;
    }

    /// <summary>Attaches on an open channel; the keeper may say first that we are to stop.</summary>
    private static Errno Announce(
        KeeperChannel channel, ulong known, long deadline, List<KeeperEntry> entries, out ulong incarnation, out bool stopAsked)
    {
        incarnation = 0;
        stopAsked = false;
        var id = channel.NextRequestId();
        var expected = int.MaxValue;
        var error = channel.Send(new KeeperFrame { Opcode = KeeperOpcode.Attach, RequestId = id, Argument = known }, [], deadline);
        while (error == Errno.OK && entries.Count < expected)
        {
            error = channel.Receive(deadline, out var message);
            if (error != Errno.OK)
            {
                return error;
            }

            switch (message!.Opcode)
            {
                case KeeperOpcode.Stop:
                    stopAsked = true;
                    break;
                case KeeperOpcode.AttachReply when message.Status != Errno.OK:
                    error = message.Status;
                    break;
                case KeeperOpcode.AttachReply when KeeperAttachInfo.TryUnpack(message.Payload, out var info):
                    incarnation = message.Argument;
                    expected = info.EntryCount;
                    break;
                case KeeperOpcode.Entry when incarnation != 0:
                    entries.Add(new KeeperEntry(message.Key, message.Payload, message.Fds));
                    break;
                default:
                    message.Dispose();
                    error = Errno.EBADMSG;
                    break;
            }
        }

        return error;
    }

    /// <summary>Under the lock (or before anybody else is there): makes a deposit the present one; returns the one before.</summary>
    private KeeperDeposit? Replace(KeeperDeposit deposit)
    {
        deposit.Fds.AddUser();
        _ = _deposits.Remove(deposit.Key, out var old);
        _deposits[deposit.Key] = deposit;
        return old;
    }

    private Task Enqueue(Operation operation)
    {
        _operations.Enqueue(operation);
        _wake.Set();
        return operation.Done;
    }

    private void Work()
    {
        var delay = _options.ReconnectDelayMs;
        while (true)
        {
            lock (_gate)
            {
                if (_disposed)
                {
                    _channel?.Dispose();
                    return;
                }
            }

            if (_channel is null)
            {
                if (_stop.Task is { IsCompletedSuccessfully: true, Result: KeeperStopReason.Superseded })
                {
                    _ = UnixSocketPoll.WaitOne(_wake.Fd, PollFd.In, -1);
                    _wake.Clear();
                }
                else if (Reconnect())
                {
                    delay = _options.ReconnectDelayMs;
                }
                else
                {
                    _ = UnixSocketPoll.WaitOne(-1, 0, delay);
                    delay = Math.Min(delay * 2, _options.MaxReconnectDelayMs);
                }

                continue;
            }

            Span<PollFd> polled = [new PollFd { Fd = _wake.Fd, Events = PollFd.In }, new PollFd { Fd = _channel.Fd, Events = PollFd.In }];
            _ = UnixSocketPoll.Wait(polled, -1, out _);
            _wake.Clear();
            var error = polled[1].Returned != 0 ? TakeUnasked() : Errno.OK;
            error = error == Errno.OK ? CarryOut() : error;
            if (error != Errno.OK)
            {
                Lost(error);
            }
        }
    }

    private Errno TakeUnasked()
    {
        var error = _channel!.Receive(Environment.TickCount64, out var message);
        using (message)
        {
            return error switch
            {
                Errno.ETIMEDOUT => Errno.OK,
                Errno.OK => Unasked(message!),
                _ => error,
            };
        }
    }

    private Errno Unasked(KeeperMessage message)
    {
        if (message.Opcode != KeeperOpcode.Stop)
        {
            return Errno.EBADMSG;
        }

        _ = _stop.TrySetResult(KeeperStopReason.Handover);
        return Errno.OK;
    }

    private Errno CarryOut()
    {
        while (true)
        {
            Operation? operation;
            lock (_gate)
            {
                // Left in the queue until it is done: if the connection breaks meanwhile, the next keeper gets it with all the rest.
                if (!_operations.TryPeek(out operation))
                {
                    return Errno.OK;
                }
            }

            var error = Tell(operation.Opcode, operation.Key, operation.Deposit, out var status);
            if (error != Errno.OK)
            {
                return error;
            }

            lock (_gate)
            {
                _ = _operations.Dequeue();
                if (status != Errno.OK && operation.Deposit is not null && _deposits.GetValueOrDefault(operation.Key) == operation.Deposit)
                {
                    // Refused: what was there before is still what the keeper has.
                    _ = _deposits.Remove(operation.Key);
                    if (operation.Retired is not null)
                    {
                        _deposits[operation.Key] = operation.Retired;
                    }

                    operation.Deposit.Fds.Release();
                }
                else
                {
                    operation.Retired?.Fds.Release();
                }
            }

            operation.Finish(status == Errno.OK ? null : new KeeperException(status, $"the keeper refused {operation.Key}: {status}"));
        }
    }

    private Errno Tell(KeeperOpcode opcode, string key, KeeperDeposit? deposit, out Errno status)
    {
        status = Errno.OK;
        var deadline = Environment.TickCount64 + _options.ReplyTimeoutMs;
        var fds = opcode == KeeperOpcode.Put ? deposit!.Fds.Numbers : [];
        var id = _channel!.NextRequestId();
        var error = _channel.Send(
            new KeeperFrame
            {
                Opcode = opcode,
                RequestId = id,
                Key = Encoding.UTF8.GetBytes(key),
                Payload = deposit?.Payload,
                FdCount = fds.Length,
            },
            fds,
            deadline);
        while (error == Errno.OK)
        {
            error = _channel.Receive(deadline, out var reply);
            using (reply)
            {
                if (error == Errno.OK && reply!.Opcode == KeeperOpcode.Reply && reply.RequestId == id)
                {
                    status = reply.Status;
                    return Errno.OK;
                }

                error = error == Errno.OK ? Unasked(reply!) : error;
            }
        }

        return error;
    }

    private void Lost(Errno error)
    {
        _channel!.Dispose();
        _channel = null;
        _connected = false;
        _options.Log?.Invoke($"the keeper is lost: {error}");
        Raise(false);
    }

    private bool Reconnect()
    {
        if (KeeperChannel.Connect(_options.SocketPath, out _channel) != Errno.OK)
        {
            return false;
        }

        var deadline = Environment.TickCount64 + _options.ReplyTimeoutMs;
        var error = Announce(_channel!, Incarnation, deadline, [], out _, out var stopAsked);
        if (error is Errno.EBUSY or Errno.ESTALE)
        {
            _ = _stop.TrySetResult(KeeperStopReason.Superseded);
        }
        else if (stopAsked)
        {
            _ = _stop.TrySetResult(KeeperStopReason.Handover);
        }

        error = error == Errno.OK ? DepositAll() : error;
        if (error != Errno.OK)
        {
            _options.Log?.Invoke($"cannot attach to the keeper again: {error}");
            _channel!.Dispose();
            _channel = null;
            return false;
        }

        try
        {
            _pidFile.WriteSelf(Incarnation);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The keeper has us; only the next one, should this one be killed, will not know that we live until we come to it.
            _options.Log?.Invoke($"cannot write {_pidFile.Path}: {e.Message}");
        }

        _connected = true;
        _options.Log?.Invoke("the keeper has everything again");
        Raise(true);
        return true;
    }

    /// <summary>Makes the keeper's table ours: everything that we have, nothing else. Covers whatever was waiting.</summary>
    private Errno DepositAll()
    {
        List<Operation> covered;
        List<KeeperDeposit> deposits;
        lock (_gate)
        {
            covered = [.. _operations];
            deposits = [.. _deposits.Values];
            deposits.ForEach(static deposit => deposit.Fds.AddUser());
        }

        var refused = new Dictionary<string, Errno>();
        var error = Errno.OK;
        foreach (var deposit in deposits)
        {
            error = Tell(KeeperOpcode.Put, deposit.Key, deposit, out var status);
            if (error != Errno.OK)
            {
                break;
            }

            if (status != Errno.OK)
            {
                _options.Log?.Invoke($"the keeper refused {deposit.Key}: {status}");
                refused[deposit.Key] = status;
            }
        }

        KeeperStatus? has = null;
        error = error == Errno.OK ? KeeperControl.List(_channel!, Environment.TickCount64 + _options.ReplyTimeoutMs, Unasked, out has) : error;
        var ours = deposits.Select(static deposit => deposit.Key).ToHashSet();
        foreach (var entry in has?.Entries ?? [])
        {
            if (error == Errno.OK && !ours.Contains(entry.Key))
            {
                error = Tell(KeeperOpcode.Remove, entry.Key, null, out _);
            }
        }

        lock (_gate)
        {
            deposits.ForEach(static deposit => deposit.Fds.Release());
            if (error != Errno.OK)
            {
                return error;
            }

            foreach (var operation in covered)
            {
                _ = _operations.Dequeue();
                operation.Retired?.Fds.Release();
                operation.Finish(operation.Deposit is not null && refused.TryGetValue(operation.Key, out var status)
                    ? new KeeperException(status, $"the keeper refused {operation.Key}: {status}")
                    : null);
            }
        }

        return Errno.OK;
    }

    private void Raise(bool connected)
    {
        lock (_gate)
        {
            _events = _events.ContinueWith(
                _ => Tell(connected), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }

    private void Tell(bool connected)
    {
        try
        {
            ConnectionChanged?.Invoke(connected);
        }
        catch (Exception e)
        {
            // A listener's mistake must not cost the next listener the next event.
            _options.Log?.Invoke($"a listener for the keeper's connection failed: {e}");
        }
    }

    /// <summary>One change on its way to the keeper.</summary>
    /// <param name="Opcode">Put, Update or Remove.</param>
    /// <param name="Key">The entry.</param>
    /// <param name="Deposit">What it becomes; null for Remove.</param>
    /// <param name="Retired">What it was: its descriptors are closed when the keeper has the change.</param>
    private sealed record Operation(KeeperOpcode Opcode, string Key, KeeperDeposit? Deposit, KeeperDeposit? Retired)
    {
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal Task Done => _done.Task;

        internal void Finish(Exception? error)
        {
            if (error is null)
            {
                _done.SetResult();
            }
            else if (error is OperationCanceledException)
            {
                _done.SetCanceled();
            }
            else
            {
                _done.SetException(error);
            }
        }
    }
}
