using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Session;

/// <summary>The session of this node on a volume: opened once, resumed over lost connections, server restarts and daemon restarts.</summary>
public sealed class MetadataSession : IDisposable
{
    private readonly RpcClient _client;
    private readonly NodeMemory _memory;
    private readonly string _volume;
    private readonly string _node;
    private readonly int _deadlineMs;
    private readonly TimeProvider _time;
    private readonly ITimer _renewal;
    private TaskCompletionSource<Status>? _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _lastSentMs;
    private int _renewEveryMs = Limits.SessionTimeoutMs / 4;
    private volatile bool _fenced;
    private readonly Lock _lock = new(); // guards _disposed: the memory goes after it was set
    private bool _disposed;

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
        _memory = memory;
        _volume = volume;
        _node = node;
        _deadlineMs = deadlineMs;
        Slots = new SlotTable(memory);
        _client = new RpcClient(endpoint, rpc with { Handler = callbacks, OnConnected = ResumeAsync });
        _renewal = _time.CreateTimer(_ => RenewIfIdle(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The mutations in flight.</summary>
    public SlotTable Slots { get; }

    /// <summary>Whether the server ended the session: everything on the mount fails with EIO until it is mounted anew.</summary>
    public bool IsFenced => _fenced;

    /// <summary>Session id.</summary>
    public ulong Id => _memory.Header.Session;

    /// <summary>Volume id.</summary>
    public uint Volume => _memory.Header.Volume;

    /// <summary>Id and epoch, which every request carries, those to storage servers too.</summary>
    public CallHeader Header => new(_memory.Header.Session, _memory.Header.Epoch);

    /// <summary>
    /// For how many milliseconds the kernel may use names and attributes without asking: so much less than the session's time-out that they have expired when
    /// the server gives a silent node up.
    /// </summary>
    public int LeaseMs { get; private set; }

    /// <summary>Attributes of the root as they were when the session was opened.</summary>
    public InodeAttributes Root { get; private set; }

    /// <summary>Raised once when the session is fenced.</summary>
    public event Action<Status>? Fenced;

    /// <summary>Opens the session, or resumes the one in memory.</summary>
    public async ValueTask<Status> OpenAsync()
    {
        // Connecting opens the session; a refusal is final, an absent server is waited for.
        var opened = _opened!;
        _ = ConnectAsync(opened);
        var status = await opened.Task;
        if (status == Status.OK)
        {
            var period = TimeSpan.FromMilliseconds(_renewEveryMs);
            _renewal.Change(period, period);
        }

        return status;
    }

    /// <summary>A request of a program begins.</summary>
    public Operation Begin(ulong unique = 0, bool resent = false) => Operation.Rent(this, unique, resent);

    /// <summary>Asks without changing anything.</summary>
    public async ValueTask<RpcResult<TReply>> QueryAsync<TRequest, TReply>(TRequest request, CancellationToken cancellation = default)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        if (_fenced)
        {
            return new RpcResult<TReply>(Status.StaleEpoch, default);
        }

        Volatile.Write(ref _lastSentMs, _time.NowMs());
        return Checked(await _client.CallAsync<TRequest, TReply>(request, Header, default, _deadlineMs, cancellation).ConfigureAwait(false));
    }

    /// <summary>Changes something, exactly once however often it is sent. The slot stays occupied until <see cref="Operation.Complete"/>.</summary>
    /// <param name="operation">The program's request.</param>
    /// <param name="request">The message.</param>
    /// <param name="timeNs">Time of the operation; now by default.</param>
    /// <param name="timeoutMs">Milliseconds to wait; the session's deadline by default.</param>
    public async ValueTask<RpcResult<TReply>> MutateAsync<TRequest, TReply>(Operation operation, TRequest request, long timeNs = 0, int timeoutMs = 0)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        if (_fenced)
        {
            return new RpcResult<TReply>(Status.StaleEpoch, default);
        }

        var (slot, sequence) = await Slots.AcquireAsync(operation);
        Volatile.Write(ref _lastSentMs, _time.NowMs());
        var header = Header with { TimeNs = timeNs == 0 ? Clock.NowNs(_time) : timeNs, Slot = slot, Sequence = sequence };
        return Checked(await _client.CallAsync<TRequest, TReply>(request, header, default, timeoutMs == 0 ? _deadlineMs : timeoutMs).ConfigureAwait(false));
    }

    /// <summary>Ends the session: what it had open is closed, what it had granted goes back.</summary>
    public async ValueTask CloseAsync()
    {
        await _renewal.DisposeAsync();
        await _client.CallAsync<CloseSessionRequest, Empty>(default, Header, timeoutMs: Math.Min(_deadlineMs, 2000));
        _memory.Header.Session = 0;
        Dispose();
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
        }

        _renewal.Dispose();
        _client.Dispose();
    }

    private async Task ConnectAsync(TaskCompletionSource<Status> opened) => opened.TrySetResult(await _client.ConnectAsync(_deadlineMs));

    private async ValueTask<bool> ResumeAsync(RpcPeer peer)
    {
        var request = new OpenSessionRequest(_volume, _node, _memory.Header.Session, _memory.Header.Epoch);
        var result = await peer.CallAsync<OpenSessionRequest, OpenSessionReply>(request, timeoutMs: _deadlineMs);
        if (result.IsOk)
        {
            _memory.Header.Epoch = result.Value.Epoch;
            _memory.Header.Volume = result.Value.Volume;
            Volatile.Write(ref _memory.Header.Session, result.Value.Session);
            Root = result.Value.Root;
            _renewEveryMs = (int)Math.Max(1, result.Value.TimeoutMs / 4);
            LeaseMs = (int)Math.Min(Limits.LeaseMs, result.Value.TimeoutMs / 2);
            peer.Disconnected += _ => Renew();
        }
        else if (result.Status is Status.UnknownSession or Status.StaleEpoch)
        {
            Fence(result.Status);
        }

        if (result.Status != Status.Unavailable)
        {
            Interlocked.Exchange(ref _opened, null)?.TrySetResult(result.Status);
        }

        return result.IsOk;
    }

    /// <summary>Looks at an answer, also of a storage server: one that refuses the session fences it.</summary>
    public RpcResult<T> Checked<T>(RpcResult<T> result)
    {
        if (result.Status is Status.UnknownSession or Status.StaleEpoch)
        {
            Fence(result.Status);
        }

        return result;
    }

    private void Fence(Status status)
    {
        if (!_fenced)
        {
            _fenced = true;
            Fenced?.Invoke(status);
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
        CallHeader header;
        lock (_lock)
        {
            if (_disposed || _fenced)
            {
                return;
            }

            header = Header;
        }

        Volatile.Write(ref _lastSentMs, _time.NowMs());
        _ = RenewAsync(header);
    }

    private async Task RenewAsync(CallHeader header) =>
        Checked(await _client.CallAsync<RenewSessionRequest, Empty>(default, header, timeoutMs: _deadlineMs));
}
