using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary><c>struct iovec</c> of readv(2).</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct IoVec
{
    public void* Base;
    public nuint Length;
}

/// <summary>read(2), writev(2), poll(2), ioctl(2), open(2) and close(2) on raw descriptors, errors as values.</summary>
/// <remarks>Descriptors are plain ints here because the hot path must not pay for a reference count per call; who owns them says so.</remarks>
public static unsafe partial class DeviceIo
{
    public const int O_RDONLY = 0;
    public const int O_RDWR = 2;
    public const int O_NONBLOCK = 0x800;
    public const int O_CLOEXEC = 0x80000;
    public const short POLLIN = 1;
    public const short POLLERR = 8;
    public const short POLLHUP = 16;

    /// <summary>One read(2); not repeated on EINTR, because a wake-up of a blocked reader is exactly that.</summary>
    public static Errno Read(int fd, byte* buffer, int capacity, out int length)
    {
        nint n = read(fd, buffer, (nuint)capacity);
        if (n >= 0)
        {
            length = (int)n;
            return Errno.OK;
        }
        length = 0;
        return (Errno)Marshal.GetLastPInvokeError();
    }

    /// <summary>One writev(2), repeated on EINTR; a short write is EIO (message devices take all or nothing).</summary>
    public static Errno Write(int fd, IoVec* segments, int count)
    {
        nuint total = 0;
        for (int i = 0; i < count; i++)
        {
            total += segments[i].Length;
        }
        while (true)
        {
            nint n = writev(fd, segments, count);
            if (n >= 0)
            {
                return (nuint)n == total ? Errno.OK : Errno.EIO;
            }
            var errno = (Errno)Marshal.GetLastPInvokeError();
            if (errno != Errno.EINTR)
            {
                return errno;
            }
        }
    }

    /// <summary>Waits until <paramref name="fd"/> is readable or in error.</summary>
    /// <returns>OK, ETIMEDOUT, EINTR or what poll(2) says.</returns>
    public static Errno WaitReadable(int fd, int timeoutMs)
    {
        var entry = new PollFd { Fd = fd, Events = POLLIN };
        int n = poll(&entry, 1, timeoutMs);
        return n > 0 ? Errno.OK : n == 0 ? Errno.ETIMEDOUT : (Errno)Marshal.GetLastPInvokeError();
    }

    /// <summary>open(2) with O_CLOEXEC added. The caller owns <paramref name="fd"/>.</summary>
    public static Errno Open(string path, int flags, out int fd)
    {
        fd = open(path, flags | O_CLOEXEC, 0);
        return fd >= 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();
    }

    /// <summary>close(2). Linux releases the descriptor whatever the result.</summary>
    public static Errno Close(int fd) => close(fd) == 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();

    /// <summary>dup(2) with O_CLOEXEC. The caller owns <paramref name="copy"/>.</summary>
    public static Errno Duplicate(int fd, out int copy)
    {
        const int F_DUPFD_CLOEXEC = 1030;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        return copy >= 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();
    }

    /// <summary>ioctl(2) whose argument is a pointer; <paramref name="result"/> is its non-negative result.</summary>
    public static Errno Ioctl(int fd, uint request, void* argument, out int result)
    {
        result = ioctl(fd, request, argument);
        return result >= 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct PollFd
    {
        public int Fd;
        public short Events;
        public short Revents;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(int fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint writev(int fd, IoVec* iov, int count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(PollFd* fds, nuint count, int timeoutMs);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int close(int fd);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(int fd, nuint request, void* argument);
}
