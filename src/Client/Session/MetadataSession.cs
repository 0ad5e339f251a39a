using System.Runtime.InteropServices;
using System.Security.Cryptography;
using EphemeralFs.Client.Files;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Session;

/// <summary>
/// The session of this node on a volume: opened once, resumed over lost connections, server restarts and daemon restarts. When the server has ended it, the
/// mount gets another one and carries on with that; nothing begun under the ended one reaches the server any more.
/// </summary>
/// <remarks>
/// <para>A <em>life</em> is the number of sessions that the mount had before. Operations, open files and grants belong to the life in which they began.</para>
/// <para>The end of a session is noticed by an answer. Until <see cref="Ended"/> has run (unflushed bytes are written off, the kernel has forgotten) everything
/// fails; then a session is opened, for which new operations wait as for a server that is away.</para>
/// </remarks>
public sealed class MetadataSession : IDisposable
{
    private const int ReopenPauseMs = 250;

    private readonly RpcClient _client;
    private readonly NodeMemory _memory;
    private readonly string _volume;
    private readonly string _node;
    private readonly int _deadlineMs;
    private readonly TimeProvider _time;
    private readonly ITimer _renewal;
    private readonly ITimer _watchdog;
    private readonly TaskCompletionSource<Status> _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _lastSentMs;
    private long _confirmedMs;
    private int _timeoutMs = Limits.SessionTimeoutMs;
    private int _renewEveryMs = Limits.SessionTimeoutMs / 4;
    private bool _isSilent;
    private RpcPeer? _peer;
    private readonly Lock _ending = new(); // held while Ended touches the memory, and to dispose; requests never wait for it
    private readonly Lock _lock = new(); // guards what follows; the memory goes after _disposed was set
    private ulong _life; // these two are in the memory too, and are asked for when that is gone
    private uint _volumeId;
    private volatile Identity? _current; // null while there is no session
    private TaskCompletionSource<Identity?>? _opening; // set while one is being opened, or is going to be
    private volatile bool _disposed;
    private volatile bool _isObeying; // recalls: before that nothing is asked under the session, because they come with the first connection

    /// <summary>Prepares a session; <see cref="OpenAsync"/> opens it.</summary>
    /// <param name="endpoint">The volume's metadata server.</param>
    /// <param name="volume">Volume name.</param>
    /// <param name="node">Node name.</param>
    /// <param name="memory">Where the session is kept over daemon restarts.</param>
    /// <param name="callbacks">Serves the server's recalls.</param>
    /// <param name="deadlineMs">Milliseconds that a request waits for a server that is gone.</param>
    /// <param name="rpc">How to connect, and the clock; null for the usual.</param>
    public MetadataSession(
        Endpoint endpoint, string volume, string node, NodeMemory memory, IRpcHandler callbacks, int deadlineMs = Limits.RequestDeadlineMs, RpcClientOptions? rpc = null)
    {
        rpc ??= new RpcClientOptions();
        _time = rpc.Time;
        _lastSentMs = _time.NowMs();
        _confirmedMs = _lastSentMs;
        _memory = memory;
        _life = memory.Header.Life;
        _volumeId = memory.Header.Volume;
        _volume = volume;
        _node = node;
        _deadlineMs = deadlineMs;
        Slots = new SlotTable(memory, _time);
        if (memory.Header.Session != 0)
        {
            memory.Header.Opening = 0; // a predecessor may have died in between
            _current = new Identity(memory.Header.Life, new CallHeader(memory.Header.Session, memory.Header.Epoch));
        }
        else
        {
            _opening = NewOpening();
        }

        _client = new RpcClient(endpoint, rpc with { Handler = callbacks, OnConnected = ResumeAsync });
        _renewal = _time.CreateTimer(_ => RenewIfIdle(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _watchdog = _time.CreateTimer(_ => Watch(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The mutations in flight.</summary>
    public SlotTable Slots { get; }

    /// <summary>Whether there is no session now, because the server has ended it.</summary>
    public bool IsFenced => _current is null;

    /// <summary>How many sessions the mount had before this one.</summary>
    public ulong Life => Volatile.Read(ref _life);

    /// <summary>The metadata server.</summary>
    public Endpoint Endpoint => _client.Endpoint;

    /// <summary>Session id; 0 while there is none.</summary>
    public ulong Id => _current?.Header.Session ?? 0;

    /// <summary>Volume id; 0 before the first session was opened.</summary>
    public uint Volume => Volatile.Read(ref _volumeId);

    /// <summary>Id and epoch, which requests to storage servers carry too; null while there is no session, and when this one was disposed.</summary>
    public CallHeader? Header => _disposed ? null : _current?.Header;

    /// <summary>
    /// For how many milliseconds the kernel may use names and attributes without asking: so much less than the session's time-out that they have expired when
    /// the server gives a silent node up.
    /// </summary>
    public int LeaseMs { get; private set; }

    /// <summary>What the server has not heard of: it hears of it before anything that is asked here.</summary>
    internal DeferredCreates? Deferred { get; set; }

    /// <summary>Attributes of the root as they were when the session was opened.</summary>
    public InodeAttributes Root { get; private set; }

    /// <summary>
    /// Runs when the server has ended the session: writes off what belonged to it and makes the kernel forget. Another session is opened when it completes.
    /// It touches the memory only before it waits for anything: the memory may be gone after that.
    /// </summary>
    public Func<Status, Task> Ended { get; set; } = static _ => Task.CompletedTask;

    /// <summary>Runs when the session of a daemon before this one was resumed and nothing has been asked under it yet: how many quota bytes it has.</summary>
    public Action<ulong>? TakenOver { get; set; }

    /// <summary>Raised when another session was opened after that; not OK: it was refused for good.</summary>
    public event Action<Status>? Reopened;

    /// <summary>Raised once for each silence: the server has not answered for the session's time-out, counted from the question, and may give the node up soon.</summary>
    public event Action? Silent;

    /// <summary>
    /// Whether the server has answered something that was asked less than the session's time-out ago. Else the node must not serve out of what it knows:
    /// the session may have ended, and others may have changed it.
    /// </summary>
    public bool IsConfirmed => _time.NowMs() - Volatile.Read(ref _confirmedMs) < _timeoutMs;

    /// <summary>Whether a session of this life is open: false also when it was disposed, so that what fails then is not taken for lost.</summary>
    public bool IsCurrent(ulong life) => !_disposed && _current is { } current && current.Life == life;

    /// <summary>How long a request waits for the server, milliseconds.</summary>
    internal int DeadlineMs => _deadlineMs;

    /// <summary>Opens the session, or resumes the one in memory.</summary>
    public async ValueTask<Status> OpenAsync()
    {
        // Connecting opens the session; a refusal is final, an absent server is waited for.
        _isObeying = true;
        _ = ConnectAsync();
        var status = await _opened.Task;
        if (status != Status.NoSuchVolume)
        {
            var period = TimeSpan.FromMilliseconds(_renewEveryMs);
            _renewal.Change(period, period);
            Watch();
        }

        return status;
    }

    /// <summary>A request of a program begins.</summary>
    public Operation Begin(ulong unique = 0, bool resent = false) => Operation.Rent(this, Life, unique, resent);

    /// <summary>Work of the daemon itself begins, on something that belongs to a life of the session.</summary>
    public Operation BeginFor(ulong life) => Operation.Rent(this, life, 0, false);

    /// <summary>Asks without changing anything.</summary>
    public async ValueTask<RpcResult<TReply>> QueryAsync<TRequest, TReply>(TRequest request, CancellationToken cancellation = default)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        if (await SendDeferredAsync(TRequest.Opcode) is not Status.OK and var status)
        {
            return new RpcResult<TReply>(status, default);
        }

        var identity = _current ?? await OpeningAsync(Life);
        if (identity is null)
        {
            return new RpcResult<TReply>(Status.StaleEpoch, default);
        }

        var sentMs = _time.NowMs();
        Volatile.Write(ref _lastSentMs, sentMs);
        return Answered(TRequest.Opcode, await _client.CallAsync<TRequest, TReply>(request, identity.Header, default, _deadlineMs, cancellation).ConfigureAwait(false), identity, sentMs);
    }

    /// <summary>Changes something, exactly once however often it is sent. The slot stays occupied until <see cref="Operation.Complete"/>.</summary>
    /// <param name="operation">The program's request. Of one that began under a session that has ended nothing is sent: <see cref="Status.StaleEpoch"/>.</param>
    /// <param name="request">The message.</param>
    /// <param name="timeNs">Time of the operation; now by default.</param>
    /// <param name="timeoutMs">Milliseconds to wait; the session's deadline by default.</param>
    public async ValueTask<RpcResult<TReply>> MutateAsync<TRequest, TReply>(Operation operation, TRequest request, long timeNs = 0, int timeoutMs = 0)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply> =>
        await SendDeferredAsync(TRequest.Opcode) is not Status.OK and var status
            ? new RpcResult<TReply>(status, default)
            : await MutatePastDeferredAsync<TRequest, TReply>(operation, request, timeNs, timeoutMs);

    /// <summary>As <see cref="MutateAsync"/>, for what does not depend on <see cref="Deferred"/>, or has waited for it. The slot is taken before it returns, if one is free.</summary>
    internal async ValueTask<RpcResult<TReply>> MutatePastDeferredAsync<TRequest, TReply>(Operation operation, TRequest request, long timeNs = 0, int timeoutMs = 0)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        if (_current is null && await OpeningAsync(operation.Life) is null)
        {
            return new RpcResult<TReply>(Status.StaleEpoch, default);
        }

        var (slot, sequence) = await Slots.AcquireAsync(operation);
        var identity = _current;
        if (identity is null || identity.Life != operation.Life || sequence == SlotTable.Lost)
        {
            return new RpcResult<TReply>(Status.StaleEpoch, default);
        }

        var sentMs = _time.NowMs();
        Volatile.Write(ref _lastSentMs, sentMs);
        var header = identity.Header with { TimeNs = timeNs == 0 ? Clock.NowNs(_time) : timeNs, Slot = slot, Sequence = sequence };
        var result = await _client.CallAsync<TRequest, TReply>(request, header, default, timeoutMs == 0 ? _deadlineMs : timeoutMs).ConfigureAwait(false);
        return Answered(TRequest.Opcode, result, identity, sentMs);
    }

    /// <summary>Completes with OK when the server has answered that the session lives (<see cref="IsConfirmed"/>).</summary>
    public async ValueTask<Status> ConfirmAsync() =>
        IsConfirmed ? Status.OK : (await QueryAsync<RenewSessionRequest, Empty>(default)).Status;

    /// <summary>Looks at the answer of a storage server: one that refuses the session fences it.</summary>
    /// <param name="result">The answer.</param>
    /// <param name="header">What the request carried.</param>
    public RpcResult<T> Checked<T>(RpcResult<T> result, in CallHeader header)
    {
        if (result.Status is Status.UnknownSession or Status.StaleEpoch && _current is { } current && current.Header.Session == header.Session)
        {
            Fence(current, result.Status);
        }

        return result;
    }

    /// <summary>Ends the session: what it had open is closed, what it had granted goes back.</summary>
    public async ValueTask CloseAsync()
    {
        await _renewal.DisposeAsync();
        if (Header is { } header)
        {
            await _client.CallAsync<CloseSessionRequest, Empty>(default, header, timeoutMs: Math.Min(_deadlineMs, 2000));
        }

        _memory.Header.Session = 0;
        Dispose();
    }

    public void Dispose()
    {
        TaskCompletionSource<Identity?>? opening;
        lock (_ending)
        {
            lock (_lock)
            {
                _disposed = true;
                opening = _opening;
            }
        }

        Slots.Stop();
        opening?.TrySetResult(null);
        _renewal.Dispose();
        _watchdog.Dispose();
        _client.Dispose();
    }

    /// <summary>Completes when the server has heard of what it is to hear of before it is asked this. Whoever is interrupted waits for nothing: it may hold what others wait for.</summary>
    internal ValueTask<Status> SendDeferredAsync(Opcode opcode) =>
        Deferred is { Count: > 0 } deferred && opcode is not (Opcode.AcquireGrant or Opcode.ReturnGrant or Opcode.RenewSession or Opcode.CancelLock)
            ? deferred.SendAllAsync()
            : default;

    private async Task ConnectAsync() => _opened.TrySetResult(await _client.ConnectAsync(Math.Min(_deadlineMs, Limits.RequestDeadlineMs)));

    private static TaskCompletionSource<Identity?> NewOpening() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The session that is being opened, for who began in its life; null when there is none, or not within the deadline.</summary>
    private async ValueTask<Identity?> OpeningAsync(ulong life)
    {
        Task<Identity?> opening;
        lock (_lock)
        {
            if (_current is not null || _opening is null || life != Life)
            {
                return _current;
            }

            opening = _opening.Task;
        }

        return await opening.OrAfterAsync(_deadlineMs, null, _time);
    }

    private async ValueTask<bool> ResumeAsync(RpcPeer peer)
    {
        OpenSessionRequest request;
        Identity? resumed;
        lock (_lock)
        {
            resumed = _current;
            if (_disposed || !_isObeying || (resumed is null && _opening is null))
            {
                // What obeys recalls is not put together yet, or what belonged to the ended session is not written off.
                return false;
            }

            if (resumed is null && _memory.Header.Opening == 0)
            {
                RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(new Span<ulong>(ref _memory.Header.Opening)));
            }

            request = new OpenSessionRequest(
                _volume, _node, _memory.Header.Session, _memory.Header.Epoch, ++_memory.Header.Connections, resumed is null ? _memory.Header.Opening : 0);
            _peer = peer;
        }

        var sentMs = _time.NowMs();
        var result = await peer.CallAsync<OpenSessionRequest, OpenSessionReply>(request, timeoutMs: _deadlineMs);
        var status = result.Status;
        if (result.IsOk && Volume != 0 && result.Value.Volume != Volume)
        {
            // Another volume that was given the same name: the kernel knows inodes of the old one.
            await peer.CallAsync<CloseSessionRequest, Empty>(default, new CallHeader(result.Value.Session, result.Value.Epoch), timeoutMs: _deadlineMs);
            status = Status.NoSuchVolume;
        }

        if (status == Status.OK)
        {
            Adopt(result.Value, resumed, sentMs);
            peer.Disconnected += _ => Renew();
        }
        else if (resumed is not null && status is Status.UnknownSession or Status.StaleEpoch)
        {
            Fence(resumed, status);
        }
        else if (resumed is null && status == Status.NoSuchVolume)
        {
            Refuse(status);
        }

        if (status != Status.Unavailable)
        {
            _opened.TrySetResult(status);
        }

        return status == Status.OK;
    }

    private void Adopt(in OpenSessionReply reply, Identity? resumed, long sentMs)
    {
        TaskCompletionSource<Identity?>? opening = null;
        Identity identity;
        lock (_lock)
        {
            if (_disposed || resumed != _current)
            {
                return;
            }

            Root = reply.Root;
            _timeoutMs = (int)Math.Max(1, reply.TimeoutMs);
            _renewEveryMs = Math.Max(1, _timeoutMs / 4);
            LeaseMs = Math.Min(Limits.LeaseMs, _timeoutMs / 2);
            Confirm(sentMs);
            if (resumed is not null)
            {
                if (!_opened.Task.IsCompleted)
                {
                    TakenOver?.Invoke(reply.GrantBytes);
                }

                return;
            }

            _memory.Header.Epoch = reply.Epoch;
            _memory.Header.Volume = _volumeId = reply.Volume;
            Volatile.Write(ref _memory.Header.Session, reply.Session);
            _memory.Header.Opening = 0;
            _current = identity = new Identity(Life, new CallHeader(reply.Session, reply.Epoch));
            (opening, _opening) = (_opening, null);
        }

        opening?.TrySetResult(identity);
    }

    /// <summary>No session any more: the volume is gone.</summary>
    private void Refuse(Status status)
    {
        TaskCompletionSource<Identity?>? opening;
        lock (_lock)
        {
            (opening, _opening) = (_opening, null);
        }

        opening?.TrySetResult(null);
        Reopened?.Invoke(status);
    }

    private RpcResult<T> Answered<T>(Opcode opcode, RpcResult<T> result, Identity identity, long sentMs)
    {
        if (result.Status is Status.UnknownSession or Status.StaleEpoch)
        {
            Fence(identity, result.Status);
        }
        else if (result.Status is >= Status.OK and < Status.BadRequest)
        {
            // The outcome of an operation: the session was let in.
            Confirm(sentMs);
        }
        else if (result.Status != Status.Canceled && !_disposed)
        {
            RpcTrace.Failed(opcode, result.Status, $"volume {_volume}");
        }

        return result;
    }

    private void Confirm(long sentMs)
    {
        var known = Volatile.Read(ref _confirmedMs);
        while (sentMs > known && Interlocked.CompareExchange(ref _confirmedMs, sentMs, known) is var seen && seen != known)
        {
            known = seen;
        }
    }

    private void Fence(Identity ended, Status status)
    {
        lock (_lock)
        {
            if (_disposed || _current != ended)
            {
                return;
            }

            _current = null;
        }

        _ = RecoverAsync(status);
    }

    private async Task RecoverAsync(Status status)
    {
        // Not on the thread of the connection: it has to receive meanwhile.
        await Task.Yield();
        try
        {
            Task ended;
            lock (_ending)
            {
                if (_disposed)
                {
                    return;
                }

                ended = Ended(status);
            }

            await ended;
        }
        catch (Exception exception)
        {
            // Nothing may be done under another session while something of the old one is left: the mount stays without one.
            RpcTrace.Sink($"the end of a session could not be carried out: {exception}");
            return;
        }

        RpcPeer? peer;
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _memory.Header.Session = 0;
            Volatile.Write(ref _life, _life + 1);
            Volatile.Write(ref _memory.Header.Life, _life);
            _opening = NewOpening();
            peer = _peer;
        }

        // A session is opened on a fresh connection. What was asked under the old one is asked again there, and refused.
        peer?.Dispose();
        while (!IsOpenOrOver())
        {
            if (await _client.ConnectAsync(_deadlineMs) == Status.OK && !IsOpenOrOver())
            {
                await Task.Delay(TimeSpan.FromMilliseconds(ReopenPauseMs), _time);
            }
        }

        if (_current is not null)
        {
            Watch();
            Reopened?.Invoke(Status.OK);
        }
    }

    private bool IsOpenOrOver()
    {
        lock (_lock)
        {
            return _disposed || _current is not null || _opening is null;
        }
    }

    private void RenewIfIdle()
    {
        if (_time.NowMs() - Volatile.Read(ref _lastSentMs) >= _renewEveryMs / 2)
        {
            Renew();
        }
    }

    /// <summary>
    /// Also when a connection was lost: the server, or the one after it, may wait for this node to obey a recall, and other nodes wait for that.
    /// A node with nothing to ask would leave them waiting until its next renewal.
    /// </summary>
    private void Renew()
    {
        Identity? identity;
        lock (_lock)
        {
            identity = _disposed ? null : _current;
        }

        if (identity is not null)
        {
            _ = RenewAsync(identity);
        }
    }

    private async Task RenewAsync(Identity identity)
    {
        var sentMs = _time.NowMs();
        Volatile.Write(ref _lastSentMs, sentMs);
        Answered(Opcode.RenewSession, await _client.CallAsync<RenewSessionRequest, Empty>(default, identity.Header, timeoutMs: _deadlineMs), identity, sentMs);
    }

    /// <summary>Looks again when the session's time-out is over, counted from the last question that was answered.</summary>
    private void Watch()
    {
        bool isNews;
        lock (_lock)
        {
            if (_disposed || _current is null)
            {
                return;
            }

            var leftMs = Volatile.Read(ref _confirmedMs) + _timeoutMs - _time.NowMs();
            isNews = leftMs <= 0 && !_isSilent;
            _isSilent = leftMs <= 0;
            _watchdog.Change(TimeSpan.FromMilliseconds(leftMs > 0 ? leftMs : _renewEveryMs), Timeout.InfiniteTimeSpan);
        }

        if (isNews)
        {
            Silent?.Invoke();
            Renew();
        }
    }

    /// <summary>A session of the mount.</summary>
    private sealed record Identity(ulong Life, CallHeader Header);
}
