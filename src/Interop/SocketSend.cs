using System.Net.Sockets;
using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Gathered sends on a blocking socket that may refuse to block for one call, <c>sendmsg(2)</c>; .NET's Socket has no such flag.</summary>
public static partial class SocketSend
{
    private const int MSG_DONTWAIT = 0x40;
    private const int MSG_NOSIGNAL = 0x4000;
    private const int SOL_SOCKET = 1;
    private const int SO_SNDBUFFORCE = 32;

    /// <summary>Sends up to two buffers as one message.</summary>
    /// <returns>Bytes taken by the kernel, or a negative errno (−EAGAIN when <paramref name="block"/> is false and nothing fits).</returns>
    public static unsafe long Send(Socket socket, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, bool block)
    {
        fixed (byte* a = first)
        fixed (byte* b = second)
        {
            var vectors = stackalloc IoVec[2];
            vectors[0] = new IoVec { iov_base = a, iov_len = (nuint)first.Length };
            vectors[1] = new IoVec { iov_base = b, iov_len = (nuint)second.Length };
            var message = new MsgHdr { msg_iov = vectors, msg_iovlen = second.IsEmpty ? 1u : 2u };
            while (true)
            {
                var sent = sendmsg(socket.SafeHandle, &message, MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT));
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

    /// <summary>Enlarges the send buffer beyond <c>net.core.wmem_max</c> where the process may (CAP_NET_ADMIN); otherwise up to it.</summary>
    public static unsafe void SetSendBuffer(Socket socket, int bytes)
    {
        if (setsockopt(socket.SafeHandle, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(int)) != 0)
        {
            socket.SendBufferSize = bytes;
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint sendmsg(SafeHandle fd, MsgHdr* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int setsockopt(SafeHandle fd, int level, int name, void* value, uint length);

    private unsafe struct IoVec
    {
        public void* iov_base;
        public nuint iov_len;
    }

    private unsafe struct MsgHdr
    {
        public void* msg_name;
        public uint msg_namelen;
        public IoVec* msg_iov;
        public nuint msg_iovlen;
        public void* msg_control;
        public nuint msg_controllen;
        public int msg_flags;
    }
}
