using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>Messages that carry descriptors over a <see cref="UnixSocket"/> (SCM_RIGHTS, <c>unix(7)</c>).</summary>
public static unsafe class FdPassing
{
    /// <summary>Most descriptors in one message that we send or accept; the kernel's own limit is SCM_MAX_FD = 253.</summary>
    public const int MaxFds = 64;

    /// <summary>ETOOMANYREFS: more descriptors are under way than RLIMIT_NOFILE allows; goes away when the receiver reads.</summary>
    public const Errno TooManyInFlight = (Errno)109;

    private const int ControlBytes = 16 + (MaxFds * sizeof(int));

    /// <summary>Sends one whole message, or nothing.</summary>
    /// <param name="socket">Descriptor of a SOCK_SEQPACKET socket.</param>
    /// <param name="message">At least one byte: an empty message cannot be told from the end.</param>
    /// <param name="fds">Descriptors to duplicate into the receiver, at most <see cref="MaxFds"/>.</param>
    /// <returns>EAGAIN when the receiver is behind, <see cref="TooManyInFlight"/>, EPIPE when it is gone, EINVAL for a bad argument.</returns>
    public static Errno Send(int socket, ReadOnlySpan<byte> message, ReadOnlySpan<int> fds)
    {
        if (message.IsEmpty || fds.Length > MaxFds)
        {
            return Errno.EINVAL;
        }

        // Eight-byte alignment of the control block comes from its element type.
        var control = stackalloc ulong[ControlBytes / sizeof(ulong)];
        fixed (byte* bytes = message)
        {
            var iov = new UnixSocketNative.IoVec { Base = bytes, Length = (nuint)message.Length };
            var header = new UnixSocketNative.MsgHdr { Iov = &iov, IovCount = 1 };
            if (!fds.IsEmpty)
            {
                var cmsg = (UnixSocketNative.CMsgHdr*)control;
                var size = sizeof(UnixSocketNative.CMsgHdr) + (fds.Length * sizeof(int));
                cmsg->Length = (nuint)size;
                cmsg->Level = UnixSocketNative.SOL_SOCKET;
                cmsg->Type = UnixSocketNative.SCM_RIGHTS;
                fds.CopyTo(new Span<int>(cmsg + 1, fds.Length));
                header.Control = control;
                header.ControlLength = (nuint)((size + 7) & ~7);
            }

            while (true)
            {
                var sent = UnixSocketNative.SendMsg(socket, &header, UnixSocketNative.MSG_NOSIGNAL | UnixSocketNative.MSG_DONTWAIT);
                if (sent >= 0)
                {
                    return Errno.OK;
                }

                var error = UnixSocketNative.LastError();
                if (error != Errno.EINTR)
                {
                    return error;
                }
            }
        }
    }

    /// <summary>Takes one message. Received descriptors are close-on-exec and belong to the caller.</summary>
    /// <param name="socket">Descriptor of a SOCK_SEQPACKET socket.</param>
    /// <param name="buffer">Room for the message.</param>
    /// <param name="fds">Room for the descriptors.</param>
    /// <param name="length">Bytes received; 0 is the end of the connection.</param>
    /// <param name="fdCount">Descriptors received.</param>
    /// <returns>
    /// EAGAIN when nothing waits; EBADMSG when the message or its descriptors did not fit (then no descriptor is kept); else
    /// what <c>recvmsg(2)</c> says.
    /// </returns>
    public static Errno Receive(int socket, Span<byte> buffer, Span<int> fds, out int length, out int fdCount)
    {
        length = fdCount = 0;
        var control = stackalloc ulong[ControlBytes / sizeof(ulong)];
        fixed (byte* bytes = buffer)
        {
            var iov = new UnixSocketNative.IoVec { Base = bytes, Length = (nuint)buffer.Length };
            var header = new UnixSocketNative.MsgHdr
            {
                Iov = &iov,
                IovCount = 1,
                Control = control,
                ControlLength = ControlBytes,
            };
            nint received;
            while ((received = UnixSocketNative.RecvMsg(
                socket, &header, UnixSocketNative.MSG_CMSG_CLOEXEC | UnixSocketNative.MSG_DONTWAIT)) < 0)
            {
                var error = UnixSocketNative.LastError();
                if (error != Errno.EINTR)
                {
                    return error;
                }

                header.ControlLength = ControlBytes;
            }

            length = (int)received;
            var intact = (header.Flags & (UnixSocketNative.MSG_TRUNC | UnixSocketNative.MSG_CTRUNC)) == 0;
            var offset = 0;
            while (offset + sizeof(UnixSocketNative.CMsgHdr) <= (int)header.ControlLength)
            {
                var cmsg = (UnixSocketNative.CMsgHdr*)((byte*)control + offset);
                var size = (int)cmsg->Length;
                if (size < sizeof(UnixSocketNative.CMsgHdr) || offset + size > (int)header.ControlLength)
                {
                    break;
                }

                if (cmsg->Level == UnixSocketNative.SOL_SOCKET && cmsg->Type == UnixSocketNative.SCM_RIGHTS)
                {
                    foreach (var fd in new ReadOnlySpan<int>(cmsg + 1, (size - sizeof(UnixSocketNative.CMsgHdr)) / sizeof(int)))
                    {
                        if (fdCount < fds.Length)
                        {
                            fds[fdCount++] = fd;
                        }
                        else
                        {
                            intact = false;
                            Close(fd);
                        }
                    }
                }

                offset += (size + 7) & ~7;
            }

            if (!intact)
            {
                foreach (var fd in fds[..fdCount])
                {
                    Close(fd);
                }

                fdCount = 0;
                return Errno.EBADMSG;
            }
        }

        return Errno.OK;
    }

    /// <summary>Another descriptor, close-on-exec, for the same open file (<c>F_DUPFD_CLOEXEC</c>).</summary>
    /// <returns>EMFILE when the process has no descriptor left.</returns>
    public static Errno Duplicate(SafeFileHandle source, out SafeFileHandle? duplicate)
    {
        duplicate = null;
        var held = false;
        try
        {
            source.DangerousAddRef(ref held);
            var fd = UnixSocketNative.FCntl((int)source.DangerousGetHandle(), UnixSocketNative.F_DUPFD_CLOEXEC, 0);
            if (fd < 0)
            {
                return UnixSocketNative.LastError();
            }

            duplicate = new SafeFileHandle(fd, ownsHandle: true);
            return Errno.OK;
        }
        finally
        {
            if (held)
            {
                source.DangerousRelease();
            }
        }
    }

    /// <summary>Closes a descriptor that arrived and is not wanted.</summary>
    public static void Close(int fd) => _ = UnixSocketNative.Close(fd);
}
