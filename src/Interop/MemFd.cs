using System.Runtime.InteropServices;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>Files that live in memory and have no name in any directory (<c>memfd_create(2)</c>).</summary>
public static partial class MemFd
{
    private const uint MFD_CLOEXEC = 1;
    private const uint MFD_ALLOW_SEALING = 2;
    private const int F_ADD_SEALS = 1033;
    private const nint F_SEAL_SHRINK = 2;

    /// <summary>Creates one of the given size, filled with zeros, that can never shrink.</summary>
    /// <param name="name">Shown in /proc/PID/maps; at most 249 bytes.</param>
    /// <param name="sizeBytes">Size in bytes.</param>
    /// <param name="allocate">Allocate every page now, so that a store can never meet SIGBUS because memory ran out.</param>
    /// <param name="handle">The descriptor when the result is OK.</param>
    /// <returns>EINVAL for a bad name or size, ENOSPC or ENOMEM when <paramref name="allocate"/> finds no memory, EMFILE.</returns>
    public static Errno Create(string name, long sizeBytes, bool allocate, out SafeFileHandle? handle)
    {
        handle = null;
        if (sizeBytes <= 0)
        {
            return Errno.EINVAL;
        }

        var fd = Create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
        {
            return UnixSocketNative.LastError();
        }

        var owned = new SafeFileHandle(fd, ownsHandle: true);
        int result;
        do
        {
            result = FTruncate(fd, sizeBytes);
            if (result == 0 && allocate)
            {
                result = FAllocate(fd, 0, 0, sizeBytes);
            }
        }
        while (result < 0 && UnixSocketNative.LastError() == Errno.EINTR);

        // A mapping is only as safe as the file's size: nobody who holds a descriptor may cut it.
        if (result == 0)
        {
            result = UnixSocketNative.FCntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
        }

        if (result < 0)
        {
            var error = UnixSocketNative.LastError();
            owned.Dispose();
            return error;
        }

        handle = owned;
        return Errno.OK;
    }

    /// <summary>Sets the size of a file; a sealed memfd only grows (EPERM otherwise).</summary>
    public static Errno Resize(SafeFileHandle file, long sizeBytes) =>
        FTruncate((int)file.DangerousGetHandle(), sizeBytes) < 0 ? UnixSocketNative.LastError() : Errno.OK;

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Create(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int FTruncate(int fd, long length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int FAllocate(int fd, int mode, long offset, long length);
}
