using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>A memfd and its mapping: memory that outlives the process as long as anybody holds the descriptor.</summary>
/// <remarks>
/// Owns both. <see cref="Dispose"/> gives the memory back. Its addresses go when nobody has this object any more: until then somebody who was not waited for finds zeros
/// there, and changes nothing. So whoever keeps pointers keeps this too.
/// </remarks>
public sealed unsafe partial class SharedMemory : IDisposable
{
    private const int PROT_READ_WRITE = 3;
    private const int MAP_SHARED = 1;
    private const int MAP_PRIVATE = 2;
    private const int MAP_FIXED = 0x10;
    private const int MAP_ANONYMOUS = 0x20;
    private const int MAP_NORESERVE = 0x4000;

    private readonly byte* _address;
    private bool _disposed;

    private SharedMemory(SafeFileHandle handle, byte* address, long length)
    {
        Handle = handle;
        _address = address;
        Length = length;
    }

    ~SharedMemory() => _ = MUnmap(_address, (nuint)Length);

    /// <summary>The memfd, to be given to the keeper.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Mapped bytes.</summary>
    public long Length { get; }

    /// <summary>First byte, page-aligned.</summary>
    /// <exception cref="ObjectDisposedException">After <see cref="Dispose"/>.</exception>
    public byte* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _address;
        }
    }

    /// <summary>Creates a memfd and maps it; see <see cref="MemFd.Create(string, long, bool, out SafeFileHandle?)"/> for the arguments and errors.</summary>
    public static Errno Create(string name, long sizeBytes, bool allocate, out SharedMemory? memory)
    {
        memory = null;
        var error = MemFd.Create(name, sizeBytes, allocate, out var handle);
        return error == Errno.OK ? Map(handle!, out memory) : error;
    }

    /// <summary>Maps all of a file that came from somewhere else and takes it over: it is closed on failure too.</summary>
    /// <returns>EINVAL for an empty file, ENOMEM when the address space is full.</returns>
    public static Errno Map(SafeFileHandle handle, out SharedMemory? memory)
    {
        memory = null;
        long length;
        try
        {
            length = RandomAccess.GetLength(handle);
        }
        catch (Exception e) when (e is IOException or NotSupportedException or UnauthorizedAccessException)
        {
            // A pipe or a socket instead of a file: the bytes came from another process and are not trusted.
            handle.Dispose();
            return Errno.EINVAL;
        }

        if (length <= 0)
        {
            handle.Dispose();
            return Errno.EINVAL;
        }

        var address = MMap(null, (nuint)length, PROT_READ_WRITE, MAP_SHARED, (int)handle.DangerousGetHandle(), 0);
        if (address == (byte*)-1)
        {
            var error = UnixSocketNative.LastError();
            handle.Dispose();
            return error;
        }

        memory = new SharedMemory(handle, address, length);
        return Errno.OK;
    }

    /// <summary>A part of the memory.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the mapping.</exception>
    public Span<byte> Slice(long offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length - length);
        return new Span<byte>(Pointer + offset, length);
    }

    /// <inheritdoc/>
    [SuppressMessage("Usage", "CA1816:Dispose methods should call SuppressFinalize", Justification = "The finalizer takes the addresses away, afterwards.")]
    public void Dispose()
    {
        if (!_disposed)
        {
            // Should the kernel refuse, the memory is given back with its addresses.
            _ = MMap(_address, (nuint)Length, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
            _disposed = true;
            Handle.Dispose();
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial byte* MMap(byte* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(byte* address, nuint length);
}
