using System.Net.Sockets;
using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>One connection. It is symmetrical: either side may call the other, many calls are in flight, replies come in any order.</summary>
/// <remarks>Requests are handled and calls completed on the thread that receives, one frame after the other. The bytes are <see cref="RpcWire"/>'s.</remarks>
public sealed class RpcPeer : IDisposable
{
    [ThreadStatic]
    private static byte[]? _encodeBuffer;

    private readonly RpcWire _wire;
    private readonly IRpcHandler? _handler;
    private readonly TimeProvider _time;
    private readonly Lock _callsLock = new();
    private readonly Dictionary<ulong, PendingCall> _calls = [];
    private readonly DeadlineClock _deadlines;
    private ulong _nextRequestId;
    private bool _watched; // guarded by _callsLock: whether DeadlineClock looks at the calls
    private int _closed;

    /// <summary>Takes over a connected socket. <see cref="Start"/> begins to receive.</summary>
    public RpcPeer(Socket socket, IRpcHandler? handler)
        : this(new SocketWire(socket), handler, TimeProvider.System)
    {
    }

    internal RpcPeer(RpcWire wire, IRpcHandler? handler, TimeProvider time)
    {
        _wire = wire;
        _handler = handler;
        _time = time;
        _deadlines = DeadlineClock.Of(time);
    }

    /// <summary>How exactly deadlines are kept, milliseconds.</summary>
    public const int DeadlineResolutionMs = 200;

    /// <summary>For the handler's bookkeeping.</summary>
    public object? State { get; set; }

    /// <summary>Whether frames can still be exchanged.</summary>
    public bool IsConnected => Volatile.Read(ref _closed) == 0;

    /// <summary>Raised once, when the connection ends.</summary>
    public event Action<RpcPeer>? Disconnected;

    /// <summary>Begins to receive.</summary>
    public void Start(string threadName) => _wire.Start(this, threadName);

    /// <summary>Calls the other side and completes with its answer, or <see cref="Status.Unavailable"/> when the connection ends or the time is over.</summary>
    /// <param name="request">The message.</param>
    /// <param name="header">Session fields.</param>
    /// <param name="body">Bulk data; not read any more once this method returns.</param>
    /// <param name="timeoutMs">Milliseconds until the call fails.</param>
    /// <param name="cancellation">Gives up waiting (<see cref="Status.Canceled"/>); the other side may still execute the request.</param>
    public ValueTask<RpcResult<TReply>> CallAsync<TRequest, TReply>(
        in TRequest request,
        in CallHeader header = default,
        ReadOnlyMemory<byte> body = default,
        int timeoutMs = Limits.RequestDeadlineMs,
        CancellationToken cancellation = default)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        var call = PendingCall<TReply>.Rent();
        call.DeadlineMs = _time.NowMs() + timeoutMs;
        var task = call.AsValueTask();
        ulong id;
        var isFirst = false;
        lock (_callsLock)
        {
            id = ++_nextRequestId;
            if (IsConnected)
            {
                _calls.Add(id, call);
                isFirst = !_watched;
                _watched = true;
            }
            else
            {
                id = 0;
            }
        }

        if (id == 0)
        {
            call.Fail(Status.Unavailable);
            return task;
        }

        if (isFirst)
        {
            _deadlines.Watch(this);
        }

        if (cancellation.CanBeCanceled)
        {
            var registration = cancellation.Register(() => TakeCall(id)?.Fail(Status.Canceled));
            lock (_callsLock)
            {
                if (_calls.ContainsKey(id))
                {
                    call.Cancellation = registration;
                }
            }
        }

        var frame = new FrameHeader
        {
            Opcode = TRequest.Opcode,
            RequestId = id,
            Session = header.Session,
            Epoch = header.Epoch,
            TimeNs = header.TimeNs,
            Slot = header.Slot,
            Sequence = header.Sequence,
        };
        var writer = new WireWriter(_encodeBuffer ??= new byte[1024]);
        request.Write(ref writer);
        _encodeBuffer = writer.Buffer;
        Send(frame, writer.Written, body.Span, null);
        return task;
    }

    /// <summary>Ends the connection; calls in flight fail with <see cref="Status.Unavailable"/>.</summary>
    public void Dispose() => Close();

    internal void SendMessage<T>(FrameHeader header, in T message, PooledBuffer? body)
        where T : struct, IWireMessage<T>
    {
        var writer = new WireWriter(_encodeBuffer ??= new byte[1024]);
        message.Write(ref writer);
        _encodeBuffer = writer.Buffer;
        Send(header, writer.Written, body is null ? default : body.Span, body);
    }

    internal void Send(FrameHeader header, ReadOnlySpan<byte> head, ReadOnlySpan<byte> body, PooledBuffer? owner)
    {
        header.Magic = FrameHeader.MagicValue;
        header.Version = FrameHeader.CurrentVersion;
        header.HeadLength = (uint)head.Length;
        header.BodyLength = (uint)body.Length;
        header.HeadChecksum = Crc32C.Compute(head);
        var prefixLength = FrameHeader.SizeBytes + head.Length;
        byte[]? large = null;
        Span<byte> prefix = prefixLength <= 1024 ? stackalloc byte[prefixLength] : large = System.Buffers.ArrayPool<byte>.Shared.Rent(prefixLength);
        prefix = prefix[..prefixLength];
        MemoryMarshal.Write(prefix, header);
        MemoryMarshal.Write(prefix[(FrameHeader.SizeBytes - 4)..], Crc32C.Compute(prefix[..(FrameHeader.SizeBytes - 4)]));
        head.CopyTo(prefix[FrameHeader.SizeBytes..]);
        RpcTrace.Frame(this, header, sending: true);
        try
        {
            _wire.Send(prefix, body);
        }
        finally
        {
            owner?.Dispose();
            if (large is not null)
            {
                System.Buffers.ArrayPool<byte>.Shared.Return(large);
            }
        }
    }

    /// <summary>A frame has come.</summary>
    internal void Deliver(in FrameHeader header, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        if ((header.Flags & FrameFlags.Reply) != 0)
        {
            var call = TakeCall(header.RequestId);
            if (call is null)
            {
                body?.Dispose();
                return;
            }

            call.Complete(header, head, body);
            return;
        }

        var request = new RpcCall(this, header);
        if (_handler is null)
        {
            body?.Dispose();
            request.Fail(Status.UnknownOpcode);
            return;
        }

        try
        {
            _handler.OnRequest(request, head, body);
        }
        catch (Exception exception)
        {
            RpcTrace.HandlerFailed(header, exception);
            request.Fail(Status.Internal);
        }
    }

    private PendingCall? TakeCall(ulong id)
    {
        lock (_callsLock)
        {
            return _calls.Remove(id, out var call) ? call : null;
        }
    }

    /// <summary>Fails the calls whose time is over; <see cref="DeadlineClock"/> asks for it.</summary>
    internal void FailOverdueCalls()
    {
        List<PendingCall>? overdue = null;
        var now = _time.NowMs();
        lock (_callsLock)
        {
            foreach (var (id, call) in _calls)
            {
                if (call.DeadlineMs <= now)
                {
                    (overdue ??= []).Add(call);
                    _calls.Remove(id);
                }
            }
        }

        overdue?.ForEach(call => call.Fail(Status.Unavailable));
    }

    /// <summary>Whether no call is in flight; then the next one has the connection watched again.</summary>
    internal bool StopsBeingWatched()
    {
        lock (_callsLock)
        {
            _watched = _calls.Count > 0;
            return !_watched;
        }
    }

    /// <summary>The connection is gone, or is to go.</summary>
    internal void Close()
    {
        if (Interlocked.Exchange(ref _closed, 1) != 0)
        {
            return;
        }

        _wire.Dispose();
        List<PendingCall> calls;
        lock (_callsLock)
        {
            calls = [.. _calls.Values];
            _calls.Clear();
        }

        calls.ForEach(call => call.Fail(Status.Unavailable));
        _handler?.OnDisconnected(this);
        Disconnected?.Invoke(this);
    }
}
