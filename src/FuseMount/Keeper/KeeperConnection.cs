using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>One peer of the keeper: reads its requests, queues what is sent to it. Used by the keeper's one thread only.</summary>
/// <remarks>
/// A peer has its next request read only when everything before is sent: a peer that does not read holds up itself, and the queue never
/// holds more than the answer to one request.
/// </remarks>
internal sealed class KeeperConnection(UnixSocket socket, PeerCredentials peer, SafeFileHandle? peerPidFd) : IDisposable
{
    private readonly Queue<(byte[] Message, KeeperFds? Fds)> _outbox = new();

    internal int Fd => socket.Fd;

    internal PeerCredentials Peer => peer;

    /// <summary>The process that connected, race-free; the receiver of <see cref="TakePeerPidFd"/> owns it from then on.</summary>
    internal bool HasPeerPidFd => peerPidFd is not null;

    internal bool IsClosed { get; private set; }

    internal bool HasOutput => _outbox.Count > 0;

    /// <summary>Waiting only because more descriptors are under way than the limit allows: poll(2) does not tell when that ends.</summary>
    internal bool NeedsRetry { get; private set; }

    internal SafeFileHandle? TakePeerPidFd()
    {
        var taken = peerPidFd;
        peerPidFd = null;
        return taken;
    }

    /// <summary>Takes the next request, or its end.</summary>
    /// <returns>OK with a message (its descriptors belong to the caller); EAGAIN for nothing; anything else: close.</returns>
    internal Errno Receive(Span<byte> buffer, Span<int> fds, out int length, out int fdCount)
    {
        var error = FdPassing.Receive(socket.Fd, buffer, fds, out length, out fdCount);
        return error == Errno.OK && length == 0 ? Errno.ENOTCONN : error;
    }

    internal void Send(in KeeperFrame frame, KeeperFds? fds = null)
    {
        if (!IsClosed)
        {
            _outbox.Enqueue((frame.ToMessage(), fds?.AddUser()));
            Flush();
        }
    }

    internal void Flush()
    {
        NeedsRetry = false;
        while (!IsClosed && _outbox.TryPeek(out var next))
        {
            var error = FdPassing.Send(socket.Fd, next.Message, next.Fds is null ? [] : next.Fds.Numbers);
            switch (error)
            {
                case Errno.OK:
                    _ = _outbox.Dequeue();
                    next.Fds?.Release();
                    break;
                case Errno.EAGAIN:
                    return;
                case FdPassing.TooManyInFlight:
                    NeedsRetry = true;
                    return;
                default:
                    Dispose();
                    return;
            }
        }
    }

    public void Dispose()
    {
        if (IsClosed)
        {
            return;
        }

        IsClosed = true;
        NeedsRetry = false;
        while (_outbox.TryDequeue(out var waiting))
        {
            waiting.Fds?.Release();
        }

        peerPidFd?.Dispose();
        socket.Dispose();
    }
}
