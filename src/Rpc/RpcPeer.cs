using System.Net.Sockets;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.Rpc;

/// <summary>One connection. It is symmetrical: either side may call the other, many calls are in flight, replies come in any order.</summary>
/// <remarks>
/// A thread of its own receives; requests are handled and calls completed on it. Sending never blocks: what the socket does not
/// take at once is handed to a second thread, so two peers that send each other large frames cannot wait for each other.
/// </remarks>
public sealed class RpcPeer : IDisposable
{
    private const int ReceiveBufferBytes = 64 << 10;
    private const int SocketBufferBytes = 4 << 20;

    /// <summary>A peer that lets this much pile up does not read its answers: the connection is cut.</summary>
    private const long QueuedBytesMax = 512L << 20;

    [ThreadStatic]
    private static byte[]? _encodeBuffer;

    private readonly Socket _socket;
    private readonly IRpcHandler? _handler;
    private readonly Lock _callsLock = new();
    private readonly Dictionary<ulong, PendingCall> _calls = [];
    private readonly object _sendLock = new();
    private readonly Queue<(PooledBuffer Buffer, int Offset)> _queue = new();
    private long _queuedBytes;
    private bool _senderStarted;
    private ulong _nextRequestId;
    private bool _watched; // guarded by _callsLock: whether DeadlineClock looks at the calls
    private int _closed;

    /// <summary>Takes over a connected socket. <see cref="Start"/> begins to receive.</summary>
    public RpcPeer(Socket socket, IRpcHandler? handler)
    {
        _socket = socket;
        _handler = handler;
        if (socket.ProtocolType == ProtocolType.Tcp)
        {
            socket.NoDelay = true;
        }
        else
        {
            SocketSend.SetSendBuffer(socket, SocketBufferBytes);
        }
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
    public void Start(string threadName) =>
        new Thread(ReceiveLoop, 1 << 20) { IsBackground = true, Name = threadName }.Start();

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
        call.DeadlineMs = Environment.TickCount64 + timeoutMs;
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
            DeadlineClock.Watch(this);
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
            SendOrQueue(prefix, body);
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

    private void SendOrQueue(ReadOnlySpan<byte> prefix, ReadOnlySpan<byte> body)
    {
        lock (_sendLock)
        {
            if (!IsConnected)
            {
                return;
            }

            var sent = _queue.Count > 0 ? 0 : TrySend(prefix, body, block: false);
            if (sent < 0 && sent != -(int)Errno.EAGAIN)
            {
                // The receive thread sees the end of the connection and closes it in order.
                Shutdown();
                return;
            }

            var skip = (int)Math.Max(0, sent);
            Enqueue(prefix[Math.Min(skip, prefix.Length)..]);
            Enqueue(body[Math.Max(0, Math.Min(body.Length, skip - prefix.Length))..]);
        }
    }

    /// <summary>Copies what the socket did not take; under <see cref="_sendLock"/>.</summary>
    private void Enqueue(ReadOnlySpan<byte> rest)
    {
        if (rest.IsEmpty)
        {
            return;
        }

        _queuedBytes += rest.Length;
        if (_queuedBytes > QueuedBytesMax)
        {
            Shutdown();
            return;
        }

        var copy = PooledBuffer.Rent(rest.Length);
        rest.CopyTo(copy.Span);
        _queue.Enqueue((copy, 0));
        if (!_senderStarted)
        {
            _senderStarted = true;
            new Thread(SendLoop, 128 << 10) { IsBackground = true, Name = "rpc-send" }.Start();
        }

        Monitor.Pulse(_sendLock);
    }

    private void SendLoop()
    {
        while (true)
        {
            PooledBuffer buffer;
            lock (_sendLock)
            {
                while (_queue.Count == 0 && IsConnected)
                {
                    Monitor.Wait(_sendLock);
                }

                if (!IsConnected)
                {
                    while (_queue.TryDequeue(out var dropped))
                    {
                        dropped.Buffer.Dispose();
                    }

                    return;
                }

                // Stays in the queue while it is sent, so that nobody overtakes it.
                buffer = _queue.Peek().Buffer;
            }

            var offset = 0;
            while (offset < buffer.Length)
            {
                var sent = TrySend(buffer.Span[offset..], default, block: true);
                if (sent <= 0)
                {
                    break;
                }

                offset += (int)sent;
            }

            lock (_sendLock)
            {
                _queue.Dequeue();
                _queuedBytes -= buffer.Length;
            }

            var complete = offset == buffer.Length;
            buffer.Dispose();
            if (!complete)
            {
                Close();
            }
        }
    }

    private void ReceiveLoop()
    {
        var buffer = GC.AllocateUninitializedArray<byte>(ReceiveBufferBytes, pinned: true);
        int start = 0, end = 0;
        try
        {
            while (Fill(ref buffer, ref start, ref end, FrameHeader.SizeBytes))
            {
                var header = MemoryMarshal.Read<FrameHeader>(buffer.AsSpan(start));
                if (header.Magic != FrameHeader.MagicValue
                    || header.HeaderChecksum != Crc32C.Compute(buffer.AsSpan(start, FrameHeader.SizeBytes - 4))
                    || header.Version != FrameHeader.CurrentVersion
                    || header.HeadLength > Limits.FrameHeadMaxBytes
                    || header.BodyLength > Limits.FrameBodyMaxBytes)
                {
                    RpcTrace.Malformed(header);
                    break;
                }

                start += FrameHeader.SizeBytes;
                if (!Fill(ref buffer, ref start, ref end, (int)header.HeadLength))
                {
                    break;
                }

                var head = buffer.AsMemory(start, (int)header.HeadLength);
                start += (int)header.HeadLength;
                if (Crc32C.Compute(head.Span) != header.HeadChecksum)
                {
                    RpcTrace.Malformed(header);
                    break;
                }

                PooledBuffer? body = null;
                if (header.BodyLength > 0)
                {
                    body = PooledBuffer.Rent((int)header.BodyLength);
                    var have = Math.Min(body.Length, end - start);
                    buffer.AsSpan(start, have).CopyTo(body.Span);
                    start += have;
                    if (!ReceiveExactly(body.Span[have..]))
                    {
                        body.Dispose();
                        break;
                    }
                }

                RpcTrace.Frame(this, header, sending: false);
                Deliver(header, head, body);
            }
        }
        catch (SocketException)
        {
            // A reset is an end like any other: calls in flight fail with Unavailable below.
        }
        catch (ObjectDisposedException)
        {
        }
        finally
        {
            Close();
        }
    }

    private void Deliver(in FrameHeader header, ReadOnlyMemory<byte> head, PooledBuffer? body)
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

    /// <summary>Makes at least <paramref name="count"/> bytes available at <paramref name="start"/>; false at the end of the stream.</summary>
    private bool Fill(ref byte[] buffer, ref int start, ref int end, int count)
    {
        if (end - start >= count)
        {
            return true;
        }

        if (start == end)
        {
            start = end = 0;
        }

        if (buffer.Length - start < count)
        {
            var target = buffer.Length < count ? GC.AllocateUninitializedArray<byte>(count + ReceiveBufferBytes, pinned: true) : buffer;
            buffer.AsSpan(start, end - start).CopyTo(target);
            (buffer, end, start) = (target, end - start, 0);
        }

        while (end - start < count)
        {
            var received = _socket.Receive(buffer.AsSpan(end));
            if (received == 0)
            {
                return false;
            }

            end += received;
        }

        return true;
    }

    private bool ReceiveExactly(Span<byte> target)
    {
        while (!target.IsEmpty)
        {
            var received = _socket.Receive(target);
            if (received == 0)
            {
                return false;
            }

            target = target[received..];
        }

        return true;
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
        var now = Environment.TickCount64;
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

    /// <summary>Sends; a negative errno when it did not. The connection may be closed by another thread at any moment.</summary>
    private long TrySend(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, bool block)
    {
        try
        {
            return SocketSend.Send(_socket, first, second, block);
        }
        catch (ObjectDisposedException)
        {
            return -(int)Errno.EPIPE;
        }
    }

    private void Shutdown()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Both);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Not connected any more, or closed by another thread.
        }
    }

    private void Close()
    {
        if (Interlocked.Exchange(ref _closed, 1) != 0)
        {
            return;
        }

        Shutdown();
        _socket.Dispose();
        lock (_sendLock)
        {
            Monitor.PulseAll(_sendLock);
            if (!_senderStarted)
            {
                _queue.Clear();
            }
        }

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
