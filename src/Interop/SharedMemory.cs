using System.Runtime.InteropServices;
using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Interop;

/// <summary>A memfd and its mapping: memory that outlives the process as long as anybody holds the descriptor.</summary>
/// <remarks>Owns both. Pointers and spans are valid until <see cref="Dispose"/>, which the owner calls after its last access.</remarks>
public sealed unsafe partial class SharedMemory : IDisposable
{
    private const int PROT_READ_WRITE = 3;
    private const int MAP_SHARED = 1;

    private byte* _address;

    private SharedMemory(SafeFileHandle handle, byte* address, long length)
    {
        Handle = handle;
        _address = address;
        Length = length;
    }

    /// <summary>Gives the memory back if the owner forgot to: the mapping has no other owner.</summary>
    ~SharedMemory() => Unmap();

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
            ObjectDisposedException.ThrowIf(_address == null, this);
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
    public void Dispose()
    {
        Unmap();
        Handle.Dispose();
        GC.SuppressFinalize(this);
    }

    private void Unmap()
    {
        if (_address != null)
        {
            _ = MUnmap(_address, (nuint)Length);
            _address = null;
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial byte* MMap(byte* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(byte* address, nuint length);
}
