using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>A received frame that owns its bytes and descriptors.</summary>
internal sealed record KeeperMessage(
    KeeperOpcode Opcode, uint RequestId, Errno Status, ulong Argument, string Key, byte[] Payload, SafeFileHandle[] Fds) : IDisposable
{
    public void Dispose() => Array.ForEach(Fds, static fd => fd.Dispose());
}

/// <summary>The asking side of a connection to the keeper. Used by one thread at a time.</summary>
internal sealed class KeeperChannel : IDisposable
{
    private const int TooManyInFlightRetryMs = 5;

    private readonly UnixSocket _socket;
    private readonly byte[] _buffer = new byte[KeeperLimits.MaxMessageBytes];
    private readonly int[] _fds = new int[KeeperLimits.MaxFdsPerEntry];
    private uint _lastRequestId;

    private KeeperChannel(UnixSocket socket) => _socket = socket;

    internal int Fd => _socket.Fd;

    internal static Errno Connect(string socketPath, out KeeperChannel? channel)
    {
        channel = null;
        var error = UnixSocket.Connect(socketPath, out var socket);
        if (error != Errno.OK)
        {
            return error;
        }

        // Descriptors are only given to ourselves or to root.
        error = socket!.GetPeer(out var peer);
        if (error == Errno.OK && peer.Uid != 0 && peer.Uid != ProcessControl.EffectiveUserId)
        {
            error = Errno.EPERM;
        }

        if (error != Errno.OK)
        {
            socket.Dispose();
            return error;
        }

        channel = new KeeperChannel(socket);
        return Errno.OK;
    }

    internal uint NextRequestId() => ++_lastRequestId == 0 ? ++_lastRequestId : _lastRequestId;

    /// <summary>Sends one frame.</summary>
    /// <returns>ETIMEDOUT at the deadline (<see cref="Environment.TickCount64"/>); an error of the socket.</returns>
    internal Errno Send(in KeeperFrame frame, ReadOnlySpan<int> fds, long deadline)
    {
        var message = frame.ToMessage();
        while (true)
        {
            var error = FdPassing.Send(_socket.Fd, message, fds);
            var left = deadline - Environment.TickCount64;
            switch (error)
            {
                case Errno.EAGAIN or FdPassing.TooManyInFlight when left <= 0:
                    return Errno.ETIMEDOUT;
                case Errno.EAGAIN:
                    _ = UnixSocketPoll.WaitOne(_socket.Fd, PollFd.Out, (int)Math.Min(left, int.MaxValue));
                    break;
                case FdPassing.TooManyInFlight:
                    // The keeper reads what is under way; poll(2) has no event for it.
                    _ = UnixSocketPoll.WaitOne(-1, 0, TooManyInFlightRetryMs);
                    break;
                default:
                    return error;
            }
        }
    }

    /// <summary>Receives one frame.</summary>
    /// <returns>ETIMEDOUT at the deadline, ENOTCONN at the end of the connection, EBADMSG for nonsense.</returns>
    internal Errno Receive(long deadline, out KeeperMessage? message)
    {
        message = null;
        while (true)
        {
            var error = FdPassing.Receive(_socket.Fd, _buffer, _fds, out var length, out var fdCount);
            if (error == Errno.OK)
            {
                return length == 0 ? Errno.ENOTCONN : Take(length, fdCount, out message);
            }

            if (error != Errno.EAGAIN)
            {
                return error;
            }

            var left = deadline - Environment.TickCount64;
            if (left <= 0)
            {
                return Errno.ETIMEDOUT;
            }

            _ = UnixSocketPoll.WaitOne(_socket.Fd, PollFd.In, (int)Math.Min(left, int.MaxValue));
        }
    }

    public void Dispose() => _socket.Dispose();

    private Errno Take(int length, int fdCount, out KeeperMessage? message)
    {
        message = null;
        var error = KeeperFrame.Parse(_buffer.AsSpan(0, length), fdCount, out var frame);
        var fds = Array.ConvertAll(_fds[..fdCount], static fd => new SafeFileHandle(fd, ownsHandle: true));
        if (error != Errno.OK)
        {
            Array.ForEach(fds, static fd => fd.Dispose());
            return error;
        }

        message = new KeeperMessage(
            frame.Opcode, frame.RequestId, frame.Status, frame.Argument, Encoding.UTF8.GetString(frame.Key), frame.Payload.ToArray(), fds);
        return Errno.OK;
    }
}
