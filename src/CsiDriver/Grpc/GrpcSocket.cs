using System.Net;
using System.Net.Sockets;
using System.Text;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>The file of a listening socket: made with its mode, no other file beside it, replaced only when nobody listens.</summary>
internal static class GrpcSocket
{
    /// <summary>Longest path of a unix socket in bytes (<c>unix(7)</c>: 108 with the terminating zero).</summary>
    private const int MaxPathBytes = 107;

    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private const UnixFileMode DirectoryMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute;

    /// <summary>Removes a socket that a dead process left; anything else in the way is refused.</summary>
    /// <exception cref="StartupException">One line: what is in the way and what to do.</exception>
    public static void Clear(string path)
    {
        if (!Path.IsPathRooted(path))
        {
            throw new StartupException($"the socket {path} has to be an absolute path");
        }

        if (Encoding.UTF8.GetByteCount(path) > MaxPathBytes)
        {
            throw new StartupException($"the socket {path} has a path of more than {MaxPathBytes} bytes, which the kernel does not take: choose a shorter one");
        }

        MakeDirectory(path);

        if (!Path.Exists(path) && !UnixSocketFile.IsSocket(path))
        {
            return;
        }

        if (!UnixSocketFile.IsSocket(path))
        {
            throw new StartupException($"{path} is there and is no socket: remove it, or choose another path");
        }

        if (IsAlive(path))
        {
            throw InUse(path, null);
        }

        File.Delete(path);
    }

    /// <summary>A bound socket that its file lives and dies with: the file goes when the socket is closed.</summary>
    /// <remarks>The mode of an unbound socket is what <c>bind(2)</c> gives the file, less the umask: there is no moment with wider bits.</remarks>
    public static Socket Bind(EndPoint endpoint)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            using var handle = new SafeFileHandle(socket.Handle, ownsHandle: false);
            File.SetUnixFileMode(handle, Mode);
            socket.Bind(endpoint);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Kubelet makes <c>plugins</c>, each driver its directory in there; more than the last is not made, which would hide a mistyped path.</summary>
    private static void MakeDirectory(string path)
    {
        var directory = Path.GetDirectoryName(path)!;
        if (Directory.Exists(directory))
        {
            return;
        }

        if (!Directory.Exists(Path.GetDirectoryName(directory)))
        {
            throw new StartupException($"the directory of the socket {path} does not exist: create it, or mount it into the container");
        }

        try
        {
            Directory.CreateDirectory(directory, DirectoryMode);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartupException($"the directory of the socket {path} cannot be made: {e.Message}", e);
        }
    }

    /// <summary>Somebody was faster, or is alive.</summary>
    public static StartupException InUse(string path, Exception? error)
    {
        var message = $"{path} is in use: stop the process that listens there, or choose another path";
        return error is null ? new StartupException(message) : new StartupException(message, error);
    }

    private static bool IsAlive(string path)
    {
        // Not blocking: a process that hangs with a full backlog is alive.
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            return false;
        }
        catch (SocketException)
        {
            return true; // EAGAIN, EPROTOTYPE, EACCES: there is somebody
        }
    }
}
