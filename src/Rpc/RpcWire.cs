using System.Net.Sockets;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.Rpc;

/// <summary>What carries the frames of a connection: a socket, or a simulated network. Frames arrive whole and in order, or the connection ends.</summary>
internal abstract class RpcWire : IDisposable
{
    /// <summary>Begins to receive: frames go to <see cref="RpcPeer.Deliver"/> one by one, the end to <see cref="RpcPeer.Close"/>.</summary>
    public abstract void Start(RpcPeer peer, string threadName);

    /// <summary>Sends a frame: header and message, then the body. Never blocks; does nothing on a connection that has ended.</summary>
    public abstract void Send(ReadOnlySpan<byte> prefix, ReadOnlySpan<byte> body);

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}

/// <summary>A connected socket.</summary>
/// <remarks>
/// A thread of its own receives. What the socket does not take at once is handed to a second thread, so two peers that send each
/// other large frames cannot wait for each other.
/// </remarks>
internal sealed class SocketWire : RpcWire
{
    private const int ReceiveBufferBytes = 64 << 10;
    private const int SocketBufferBytes = 4 << 20;

    /// <summary>After a cut of the network a node must be heard before its session expires: within this time, in milliseconds, of which the kernel allows no less.</summary>
    private const int RetransmissionPauseMaxMs = 1000;

    /// <summary>
    /// A server that is replaced has another address under its name: an attempt at the old one ends, so that the next one asks for the name again before the session
    /// expires.
    /// </summary>
    private const int ConnectRetries = 1;

    /// <summary>When TCP gives a silent peer up, in milliseconds: about as long as by its 15 retransmissions without our bound. Calls have deadlines of their own.</summary>
    private const int GiveUpMs = 900_000;

    /// <summary>A peer that lets this much pile up does not read its answers: the connection is cut.</summary>
    private const long QueuedBytesMax = 512L << 20;

    private readonly Socket _socket;
    private readonly object _sendLock = new();
    private readonly Queue<(PooledBuffer Buffer, int Offset)> _queue = new();
    private RpcPeer? _peer;
    private long _queuedBytes;
    private bool _senderStarted;
    private volatile bool _closed;

    public SocketWire(Socket socket)
    {
        _socket = socket;
        if (socket.ProtocolType == ProtocolType.Tcp)
        {
            socket.NoDelay = true;
            SocketIo.BoundRetransmission(socket, RetransmissionPauseMaxMs, GiveUpMs);
        }
        else
        {
            SocketIo.SetSendBuffer(socket, SocketBufferBytes);
        }
    }

    /// <summary>Connects; null when nobody listens, or answers within some seconds.</summary>
    public static SocketWire? Connect(Endpoint endpoint)
    {
        var unix = endpoint.UnixPath is not null;
        var socket = unix
            ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            : endpoint.Address is System.Net.DnsEndPoint
                ? new Socket(SocketType.Stream, ProtocolType.Tcp)
                : new Socket(endpoint.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (!unix)
            {
                SocketIo.BoundConnect(socket, ConnectRetries);
            }

            // A blocking connect: a socket that was ever used asynchronously stays non-blocking inside, and sends rely on blocking mode.
            socket.Connect(endpoint.Address);
            return new SocketWire(socket);
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
    }

    public override void Start(RpcPeer peer, string threadName)
    {
        _peer = peer;
        new Thread(ReceiveLoop, 1 << 20) { IsBackground = true, Name = threadName }.Start();
    }

    protected override void Dispose(bool disposing)
    {
        _closed = true;
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
    }

    public override void Send(ReadOnlySpan<byte> prefix, ReadOnlySpan<byte> body)
    {
        lock (_sendLock)
        {
            if (_closed)
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
                while (_queue.Count == 0 && !_closed)
                {
                    Monitor.Wait(_sendLock);
                }

                if (_closed)
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
                _peer?.Close();
            }
        }
    }

    private void ReceiveLoop()
    {
        var peer = _peer!;
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

                RpcTrace.Frame(peer, header, sending: false);
                peer.Deliver(header, head, body);
            }
        }
        catch (ObjectDisposedException)
        {
            // Closed by another thread.
        }
        finally
        {
            peer.Close();
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
            var received = SocketIo.Receive(_socket, buffer.AsSpan(end));
            if (received <= 0)
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
            var received = SocketIo.Receive(_socket, target);
            if (received <= 0)
            {
                return false;
            }

            target = target[received..];
        }

        return true;
    }

    /// <summary>Sends; a negative errno when it did not. The connection may be closed by another thread at any moment.</summary>
    private long TrySend(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, bool block)
    {
        try
        {
            return SocketIo.Send(_socket, first, second, block);
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
}
