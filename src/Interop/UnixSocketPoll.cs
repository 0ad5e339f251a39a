using System.Runtime.InteropServices;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>One descriptor to watch, the layout of <c>struct pollfd</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct PollFd
{
    /// <summary>There is something to read, a connection to accept, or (pidfd) the process has exited.</summary>
    public const short In = 1;

    /// <summary>Writing would not wait.</summary>
    public const short Out = 4;

    /// <summary>Reported without being asked for: error or the other end is closed.</summary>
    public const short ErrorOrHangUp = 0x8 | 0x10 | 0x20;

    /// <summary>The descriptor; a negative one is skipped.</summary>
    public int Fd;

    /// <summary>What to wait for.</summary>
    public short Events;

    /// <summary>What happened.</summary>
    public short Returned;
}

/// <summary><c>poll(2)</c>.</summary>
public static unsafe class UnixSocketPoll
{
    /// <summary>Waits until something happens or the time is over. A signal counts as "nothing happened yet".</summary>
    /// <param name="fds">Descriptors; results are in <see cref="PollFd.Returned"/>.</param>
    /// <param name="timeoutMs">Milliseconds; 0 does not wait, -1 waits without limit.</param>
    /// <param name="ready">How many descriptors have something.</param>
    public static Errno Wait(Span<PollFd> fds, int timeoutMs, out int ready)
    {
        fixed (PollFd* first = fds)
        {
            ready = UnixSocketNative.Poll(first, (nuint)fds.Length, timeoutMs);
        }

        if (ready >= 0)
        {
            return Errno.OK;
        }

        ready = 0;
        foreach (ref var fd in fds)
        {
            fd.Returned = 0;
        }

        var error = UnixSocketNative.LastError();
        return error == Errno.EINTR ? Errno.OK : error;
    }

    /// <summary>Waits for one descriptor; returns what happened, 0 for nothing within the time.</summary>
    public static short WaitOne(int fd, short events, int timeoutMs)
    {
        Span<PollFd> one = [new PollFd { Fd = fd, Events = events }];
        return Wait(one, timeoutMs, out _) == Errno.OK ? one[0].Returned : PollFd.ErrorOrHangUp;
    }
}

/// <summary>An eventfd with which any thread wakes the thread that polls it.</summary>
public sealed unsafe class UnixSocketWake : IDisposable
{
    private readonly SafeFileHandle _handle;

    /// <summary>Creates the eventfd.</summary>
    /// <exception cref="IOException">Out of descriptors or memory.</exception>
    public UnixSocketWake()
    {
        var fd = UnixSocketNative.EventFd(0, UnixSocketNative.EFD_CLOEXEC | UnixSocketNative.EFD_NONBLOCK);
        if (fd < 0)
        {
            throw new IOException($"eventfd: {UnixSocketNative.LastError()}");
        }

        _handle = new SafeFileHandle(fd, ownsHandle: true);
    }

    /// <summary>The descriptor to poll for <see cref="PollFd.In"/>.</summary>
    public int Fd => (int)_handle.DangerousGetHandle();

    /// <summary>Makes the descriptor readable. Safe from every thread, also at the same time as <see cref="Dispose"/>.</summary>
    public void Set()
    {
        var held = false;
        try
        {
            _handle.DangerousAddRef(ref held);
            ulong one = 1;

            // EAGAIN means that the counter is full: it is readable already.
            _ = UnixSocketNative.Write(Fd, &one, sizeof(ulong));
        }
        catch (ObjectDisposedException)
        {
            // The poller has ended: nobody is left to be woken.
        }
        finally
        {
            if (held)
            {
                _handle.DangerousRelease();
            }
        }
    }

    /// <summary>Makes the descriptor unreadable again.</summary>
    public void Clear()
    {
        ulong value;
        _ = UnixSocketNative.Read(Fd, &value, sizeof(ulong));
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
