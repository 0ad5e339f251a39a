using System.Net.Sockets;
using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Sending and receiving on a blocking socket as .NET's Socket cannot: without blocking for one call, and without being woken for nothing.</summary>
public static partial class SocketIo
{
    private const int SO_SNDBUFFORCE = 32;
    private const int IPPROTO_TCP = 6;
    private const int TCP_SYNCNT = 7;
    private const int TCP_USER_TIMEOUT = 18;
    private const int TCP_RTO_MAX_MS = 44;

    /// <summary>Sends up to two buffers as one message.</summary>
    /// <returns>Bytes taken by the kernel, or a negative errno (−EAGAIN when <paramref name="block"/> is false and nothing fits).</returns>
    public static unsafe long Send(Socket socket, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, bool block)
    {
        fixed (byte* a = first)
        fixed (byte* b = second)
        {
            var vectors = stackalloc UnixSocketNative.IoVec[2];
            vectors[0] = new UnixSocketNative.IoVec { Base = a, Length = (nuint)first.Length };
            vectors[1] = new UnixSocketNative.IoVec { Base = b, Length = (nuint)second.Length };
            var message = new UnixSocketNative.MsgHdr { Iov = vectors, IovCount = second.IsEmpty ? 1u : 2u };
            while (true)
            {
                var sent = sendmsg(socket.SafeHandle, &message, UnixSocketNative.MSG_NOSIGNAL | (block ? 0 : UnixSocketNative.MSG_DONTWAIT));
                if (sent >= 0)
                {
                    return sent;
                }

                var errno = Marshal.GetLastPInvokeError();
                if (errno != (int)Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    /// <summary>Waits for bytes and takes what is there.</summary>
    /// <remarks>
    /// Waits in <c>poll(2)</c>, not in <c>recv(2)</c>: a thread that is blocked in the latter on a unix socket is also woken each time the other side has
    /// consumed what was sent (<c>unix_write_space</c> wakes everybody who waits at the socket, and only poll looks for what), which was a fifth of the CPU
    /// time of a server.
    /// </remarks>
    /// <returns>Bytes received, 0 at the end of the stream, or a negative errno.</returns>
    public static unsafe int Receive(Socket socket, Span<byte> target)
    {
        fixed (byte* first = target)
        {
            while (true)
            {
                var one = new PollFd { Events = PollFd.In };
                if (Wait(socket, &one) < 0 && Marshal.GetLastPInvokeError() is var failure and not (int)Errno.EINTR)
                {
                    return -failure;
                }

                var received = recv(socket.SafeHandle, first, (nuint)target.Length, UnixSocketNative.MSG_DONTWAIT);
                if (received >= 0)
                {
                    return (int)received;
                }

                var errno = Marshal.GetLastPInvokeError();
                if (errno is not ((int)Errno.EINTR or (int)Errno.EAGAIN))
                {
                    return -errno;
                }
            }
        }
    }

    /// <summary>Enlarges the send buffer beyond <c>net.core.wmem_max</c> where the process may (CAP_NET_ADMIN); otherwise up to it.</summary>
    public static unsafe void SetSendBuffer(Socket socket, int bytes)
    {
        if (setsockopt(socket.SafeHandle, UnixSocketNative.SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(int)) != 0)
        {
            socket.SendBufferSize = bytes;
        }
    }

    /// <summary>
    /// Bounds the pauses between TCP's retransmissions, which otherwise double up to two minutes (TCP_RTO_MAX_MS, Linux 6.15; nothing changes on older kernels), and says
    /// after which time without an acknowledgement the connection ends (TCP_USER_TIMEOUT, <c>tcp(7)</c>): by itself the kernel counts retransmissions.
    /// </summary>
    /// <param name="socket">Of TCP, connected or not.</param>
    /// <param name="pauseMaxMs">At least 1000.</param>
    /// <param name="giveUpMs">In milliseconds.</param>
    public static unsafe void BoundRetransmission(Socket socket, int pauseMaxMs, int giveUpMs)
    {
        if (setsockopt(socket.SafeHandle, IPPROTO_TCP, TCP_RTO_MAX_MS, &pauseMaxMs, sizeof(int)) == 0)
        {
            _ = setsockopt(socket.SafeHandle, IPPROTO_TCP, TCP_USER_TIMEOUT, &giveUpMs, sizeof(int));
        }
    }

    /// <summary>How often connecting is tried again, after 1, 2, 4 s and so on, before it fails (TCP_SYNCNT, <c>tcp(7)</c>); by itself the kernel takes minutes.</summary>
    /// <param name="socket">Of TCP, not connected yet.</param>
    /// <param name="retries">At least 1, which is 3 s in all.</param>
    public static unsafe void BoundConnect(Socket socket, int retries) => _ = setsockopt(socket.SafeHandle, IPPROTO_TCP, TCP_SYNCNT, &retries, sizeof(int));

    /// <summary>The process that listens at the other end of a connected unix socket (SO_PEERCRED, <c>unix(7)</c>); 0 when that is outside of our pid namespace.</summary>
    public static unsafe int PeerProcess(Socket socket)
    {
        UnixSocketNative.UCred credentials;
        var length = (uint)sizeof(UnixSocketNative.UCred);
        return getsockopt(socket.SafeHandle, UnixSocketNative.SOL_SOCKET, UnixSocketNative.SO_PEERCRED, &credentials, &length) == 0 ? credentials.Pid : 0;
    }

    /// <summary>The descriptor stays this socket's while it waits, also when another thread disposes of it.</summary>
    private static unsafe int Wait(Socket socket, PollFd* one)
    {
        var held = false;
        try
        {
            socket.SafeHandle.DangerousAddRef(ref held);
            one->Fd = (int)socket.SafeHandle.DangerousGetHandle();
            return UnixSocketNative.Poll(one, 1, -1);
        }
        finally
        {
            if (held)
            {
                socket.SafeHandle.DangerousRelease();
            }
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint recv(SafeHandle fd, byte* buffer, nuint length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint sendmsg(SafeHandle fd, UnixSocketNative.MsgHdr* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int setsockopt(SafeHandle fd, int level, int name, void* value, uint length);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int getsockopt(SafeHandle fd, int level, int name, void* value, uint* length);
}
