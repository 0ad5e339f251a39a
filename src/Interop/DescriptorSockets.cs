using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>socketpair(2) and recvmsg(2) for one descriptor, as <c>fusermount3</c> hands it over.</summary>
public static unsafe partial class DescriptorSockets
{
    private const int AF_UNIX = 1;
    private const int SOCK_STREAM = 1;
    private const int SOCK_CLOEXEC = 0x80000;
    private const int SOL_SOCKET = 1;
    private const int SCM_RIGHTS = 1;
    private const int MSG_CMSG_CLOEXEC = 0x40000000;
    private const int F_SETFD = 2;

    /// <summary>A connected pair. The caller owns both; <paramref name="inherited"/> survives exec(2), <paramref name="kept"/> does not.</summary>
    public static Errno Pair(out int kept, out int inherited)
    {
        int* pair = stackalloc int[2];
        kept = inherited = -1;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        {
            return (Errno)Marshal.GetLastPInvokeError();
        }
        kept = pair[0];
        inherited = pair[1];
        return fcntl(inherited, F_SETFD, 0) == 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();
    }

    /// <summary>Receives one descriptor, close-on-exec.</summary>
    /// <returns>OK; ENODATA if the peer closed, or sent no descriptor.</returns>
    public static Errno ReceiveDescriptor(int socket, out int descriptor)
    {
        descriptor = -1;
        byte data;
        var vector = new IoVec { Base = &data, Length = 1 };
        // cmsghdr (16 bytes) and one int, aligned to 8.
        byte* control = stackalloc byte[24];
        var message = new MsgHdr { Iov = &vector, IovLength = 1, Control = control, ControlLength = 24 };
        nint n;
        Errno errno;
        do
        {
            n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
            errno = n < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.OK;
        }
        while (errno == Errno.EINTR);
        if (errno != Errno.OK)
        {
            return errno;
        }
        var header = (CmsgHdr*)control;
        if (n == 0 || message.ControlLength < 20 || header->Level != SOL_SOCKET || header->Type != SCM_RIGHTS || header->Length < 20)
        {
            return Errno.ENODATA;
        }
        descriptor = *(int*)(control + sizeof(CmsgHdr));
        return Errno.OK;
    }

    [StructLayout(LayoutKind.Explicit, Size = 56)]
    private struct MsgHdr
    {
        [FieldOffset(0)] public void* Name;
        [FieldOffset(8)] public uint NameLength;
        [FieldOffset(16)] public IoVec* Iov;
        [FieldOffset(24)] public nuint IovLength;
        [FieldOffset(32)] public void* Control;
        [FieldOffset(40)] public nuint ControlLength;
        [FieldOffset(48)] public int Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct CmsgHdr
    {
        public nuint Length;
        public int Level;
        public int Type;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int socketpair(int domain, int type, int protocol, int* pair);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint recvmsg(int socket, MsgHdr* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fcntl(int fd, int command, nint argument);
}
