using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Where requests come from and replies go to: a descriptor of /dev/fuse, or memory in tests.</summary>
public abstract unsafe class FuseChannel : IDisposable
{
    /// <summary>Waits for the next message.</summary>
    /// <returns>OK; EINTR, EAGAIN, ENOENT (try again); ENODEV (unmounted); ECONNABORTED (aborted); anything else ends the reader.</returns>
    public abstract Errno Receive(byte* buffer, int capacity, out int length);

    /// <summary>Sends one message, whole or not at all. Called from any thread.</summary>
    /// <returns>OK; ENOENT if the kernel no longer waits for this reply; ECANCELED once detached.</returns>
    public abstract Errno Send(IoVec* segments, int count);

    /// <summary>Waits until <see cref="Receive"/> has something, ms. OK or ETIMEDOUT.</summary>
    public virtual Errno WaitReadable(int timeoutMs) => Errno.OK;

    /// <summary>Makes a <see cref="Receive"/> that is blocked in thread <paramref name="osThreadId"/> return EINTR. Called until the reader has ended.</summary>
    public abstract void Wake(int osThreadId);

    /// <summary>ioctl(2) on the descriptor; ENOTTY if there is none.</summary>
    public virtual Errno Control(uint request, void* argument, out int result)
    {
        result = 0;
        return Errno.ENOTTY;
    }

    /// <summary>The descriptor, or -1 if there is none.</summary>
    public virtual int Descriptor => -1;

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing) { }
}

/// <summary>A descriptor of /dev/fuse.</summary>
public sealed unsafe class FuseDeviceChannel : FuseChannel
{
    private readonly SafeFileHandle _handle;

    /// <param name="handle">Owned from here on.</param>
    public FuseDeviceChannel(SafeFileHandle handle)
    {
        _handle = handle;
        Descriptor = (int)handle.DangerousGetHandle();
    }

    public override int Descriptor { get; }

    // The reading thread ends before its connection disposes of the channel, so the number cannot be another file's.
    public override Errno Receive(byte* buffer, int capacity, out int length) =>
        DeviceIo.Read(Descriptor, buffer, capacity, out length);

    // A deferred reply may come while the connection closes: without the reference it could go to a new file of the same number.
    public override Errno Send(IoVec* segments, int count)
    {
        bool referenced = false;
        try
        {
            _handle.DangerousAddRef(ref referenced);
            return DeviceIo.Write(Descriptor, segments, count);
        }
        catch (ObjectDisposedException)
        {
            return Errno.ECANCELED;
        }
        finally
        {
            if (referenced)
            {
                _handle.DangerousRelease();
            }
        }
    }

    public override Errno Control(uint request, void* argument, out int result)
    {
        result = 0;
        bool referenced = false;
        try
        {
            _handle.DangerousAddRef(ref referenced);
            return DeviceIo.Ioctl(Descriptor, request, argument, out result);
        }
        catch (ObjectDisposedException)
        {
            return Errno.ECANCELED;
        }
        finally
        {
            if (referenced)
            {
                _handle.DangerousRelease();
            }
        }
    }

    public override Errno WaitReadable(int timeoutMs) => DeviceIo.WaitReadable(Descriptor, timeoutMs);

    public override void Wake(int osThreadId) => ThreadSignals.Wake(osThreadId);

    /// <summary>A second descriptor of the same connection (FUSE_DEV_IOC_CLONE), with its own list of requests being processed.</summary>
    /// <returns>OK, or EACCES where /dev/fuse may not be opened: readers then share one descriptor.</returns>
    public Errno Clone(out FuseDeviceChannel? clone)
    {
        clone = null;
        Errno errno = DeviceIo.Open("/dev/fuse", DeviceIo.O_RDWR, out int fd);
        if (errno != Errno.OK)
        {
            return errno;
        }
        var handle = new SafeFileHandle(fd, ownsHandle: true);
        uint source = (uint)Descriptor;
        errno = DeviceIo.Ioctl(fd, FuseAbi.IocClone, &source, out _);
        if (errno != Errno.OK)
        {
            handle.Dispose();
            return errno;
        }
        clone = new FuseDeviceChannel(handle);
        return Errno.OK;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _handle.Dispose();
        }
        base.Dispose(disposing);
    }
}
