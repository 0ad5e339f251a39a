using System.Text;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>A non-blocking, close-on-exec unix socket that keeps message boundaries (SOCK_SEQPACKET, <c>unix(7)</c>).</summary>
/// <remarks>
/// One message is one frame, so descriptors travel with exactly the frame they belong to, and a malformed frame can never
/// shift the next one. Errors are returned as <see cref="Errno"/>; nothing here throws for what the peer does.
/// </remarks>
public sealed unsafe class UnixSocket : IDisposable
{
    /// <summary>Longest path that fits <c>sun_path</c> with its terminating zero, in bytes.</summary>
    private const int SunPathBytes = 107;

    private readonly SafeFileHandle _handle;

    private UnixSocket(int fd) => _handle = new SafeFileHandle(fd, ownsHandle: true);

    /// <summary>The descriptor; valid until <see cref="Dispose"/>.</summary>
    public int Fd => (int)_handle.DangerousGetHandle();

    /// <summary>Creates the socket file with the given permission bits and listens on it.</summary>
    /// <param name="path">Where the socket file goes; it must not exist. Any length.</param>
    /// <param name="mode">Permission bits (for example 0600 octal); the umask can only take bits away.</param>
    /// <param name="backlog">Connections that may wait for <see cref="Accept"/>.</param>
    /// <param name="socket">The listening socket when the result is OK.</param>
    public static Errno Listen(string path, uint mode, int backlog, out UnixSocket? socket)
    {
        socket = null;
        var error = Create(out var created);
        if (error != Errno.OK)
        {
            return error;
        }

        // The mode of an unbound unix socket is what bind(2) gives the file, so there is no moment with wider bits
        // and no change of the process-wide umask.
        if (UnixSocketNative.FChMod(created!.Fd, mode) < 0)
        {
            error = UnixSocketNative.LastError();
        }
        else
        {
            error = WithAddress(path, created.Fd, static (fd, address, length) => UnixSocketNative.Bind(fd, address, length));
            if (error == Errno.OK && UnixSocketNative.Listen(created.Fd, backlog) < 0)
            {
                error = UnixSocketNative.LastError();
            }
        }

        if (error != Errno.OK)
        {
            created.Dispose();
            return error;
        }

        socket = created;
        return Errno.OK;
    }

    /// <summary>Connects to the socket file at <paramref name="path"/>; never waits.</summary>
    /// <returns>ENOENT or ECONNREFUSED when nobody listens, EAGAIN when the listener's backlog is full.</returns>
    public static Errno Connect(string path, out UnixSocket? socket)
    {
        socket = null;
        var error = Create(out var created);
        if (error != Errno.OK)
        {
            return error;
        }

        error = WithAddress(path, created!.Fd, static (fd, address, length) => UnixSocketNative.Connect(fd, address, length));
        if (error != Errno.OK)
        {
            created.Dispose();
            return error;
        }

        socket = created;
        return Errno.OK;
    }

    /// <summary>Two connected sockets.</summary>
    public static Errno Pair(out UnixSocket? first, out UnixSocket? second)
    {
        first = second = null;
        var fds = stackalloc int[2];
        if (UnixSocketNative.SocketPair(
            UnixSocketNative.AF_UNIX,
            UnixSocketNative.SOCK_SEQPACKET | UnixSocketNative.SOCK_CLOEXEC | UnixSocketNative.SOCK_NONBLOCK,
            0,
            fds) < 0)
        {
            return UnixSocketNative.LastError();
        }

        first = new UnixSocket(fds[0]);
        second = new UnixSocket(fds[1]);
        return Errno.OK;
    }

    /// <summary>Takes one waiting connection.</summary>
    /// <returns>EAGAIN when none waits.</returns>
    public Errno Accept(out UnixSocket? peer)
    {
        peer = null;
        var fd = UnixSocketNative.Accept4(Fd, null, null, UnixSocketNative.SOCK_CLOEXEC | UnixSocketNative.SOCK_NONBLOCK);
        if (fd < 0)
        {
            return UnixSocketNative.LastError();
        }

        peer = new UnixSocket(fd);
        return Errno.OK;
    }

    /// <summary>Who is at the other end, as the kernel recorded it at connect (SO_PEERCRED).</summary>
    public Errno GetPeer(out PeerCredentials peer)
    {
        UnixSocketNative.UCred credentials;
        var length = (uint)sizeof(UnixSocketNative.UCred);
        if (UnixSocketNative.GetSockOpt(Fd, UnixSocketNative.SOL_SOCKET, UnixSocketNative.SO_PEERCRED, &credentials, &length) < 0)
        {
            peer = default;
            return UnixSocketNative.LastError();
        }

        peer = new PeerCredentials(credentials.Pid, credentials.Uid, credentials.Gid);
        return Errno.OK;
    }

    /// <summary>A pidfd of the process that connected (SO_PEERPIDFD, Linux 6.5): free of the reuse of process ids.</summary>
    /// <returns>EOPNOTSUPP or ENOPROTOOPT (92) on an older kernel, ESRCH (3) when the process is gone.</returns>
    public Errno GetPeerPidFd(out SafeFileHandle? pidFd)
    {
        pidFd = null;
        int fd;
        uint length = sizeof(int);
        if (UnixSocketNative.GetSockOpt(Fd, UnixSocketNative.SOL_SOCKET, UnixSocketNative.SO_PEERPIDFD, &fd, &length) < 0)
        {
            return UnixSocketNative.LastError();
        }

        pidFd = new SafeFileHandle(fd, ownsHandle: true);
        return Errno.OK;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private delegate int AddressCall(int fd, UnixSocketNative.SockAddrUn* address, uint length);

    private static Errno Create(out UnixSocket? socket)
    {
        socket = null;
        var fd = UnixSocketNative.Socket(
            UnixSocketNative.AF_UNIX,
            UnixSocketNative.SOCK_SEQPACKET | UnixSocketNative.SOCK_CLOEXEC | UnixSocketNative.SOCK_NONBLOCK,
            0);
        if (fd < 0)
        {
            return UnixSocketNative.LastError();
        }

        socket = new UnixSocket(fd);
        return Errno.OK;
    }

    private static Errno WithAddress(string path, int socket, AddressCall call)
    {
        var full = Path.GetFullPath(path);
        var bytes = Encoding.UTF8.GetBytes(full);
        if (bytes.Length <= SunPathBytes)
        {
            return CallWith(bytes, socket, call);
        }

        // A longer path is reached through a descriptor of its directory.
        var name = Path.GetFileName(full);
        var directory = UnixSocketNative.Open(
            Path.GetDirectoryName(full) ?? "/",
            UnixSocketNative.O_PATH | UnixSocketNative.O_DIRECTORY | UnixSocketNative.O_CLOEXEC,
            0);
        if (directory < 0)
        {
            return UnixSocketNative.LastError();
        }

        using var owned = new SafeFileHandle(directory, ownsHandle: true);
        bytes = Encoding.UTF8.GetBytes($"/proc/self/fd/{directory}/{name}");
        return bytes.Length <= SunPathBytes ? CallWith(bytes, socket, call) : Errno.ENAMETOOLONG;
    }

    private static Errno CallWith(byte[] path, int socket, AddressCall call)
    {
        UnixSocketNative.SockAddrUn address = default;
        address.Family = UnixSocketNative.AF_UNIX;
        path.CopyTo(new Span<byte>(address.Path, SunPathBytes + 1));
        return call(socket, &address, (uint)(sizeof(ushort) + path.Length + 1)) < 0 ? UnixSocketNative.LastError() : Errno.OK;
    }
}

/// <summary>The process at the other end of a unix socket; <see cref="Pid"/> is 0 when it is outside our pid namespace.</summary>
public readonly record struct PeerCredentials(int Pid, uint Uid, uint Gid);
