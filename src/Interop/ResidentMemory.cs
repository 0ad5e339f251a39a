using System.Runtime.InteropServices;

namespace EphemeralFs.Interop;

/// <summary>Anonymous memory whose pages are all there from the start: mmap(2) with MAP_POPULATE. Freed by the finalizer, should nobody dispose of it.</summary>
/// <remarks>
/// For what the kernel copies to and from in the name of somebody else. A page that it has to make first it does not make for a process that is being killed, and
/// gives the copy up.
/// </remarks>
public sealed unsafe partial class ResidentMemory : IDisposable
{
    private const int PROT_READ_WRITE = 3;
    private const int MAP_PRIVATE = 2;
    private const int MAP_ANONYMOUS = 0x20;
    private const int MAP_POPULATE = 0x8000;

    private readonly nuint _bytes;

    /// <param name="bytes">Size, rounded up to whole pages.</param>
    /// <exception cref="InsufficientMemoryException">The system has no more.</exception>
    public ResidentMemory(nuint bytes)
    {
        var start = MMap(null, bytes, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (start == (byte*)-1)
        {
            throw new InsufficientMemoryException($"{bytes} bytes of memory cannot be mapped: {UnixSocketNative.LastError()}");
        }

        Start = start;
        _bytes = bytes;
    }

    ~ResidentMemory() => Unmap();

    /// <summary>First byte, on a page; null when it was disposed of.</summary>
    public byte* Start { get; private set; }

    public void Dispose()
    {
        Unmap();
        GC.SuppressFinalize(this);
    }

    private void Unmap()
    {
        if (Start != null)
        {
            _ = MUnmap(Start, _bytes);
            Start = null;
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial byte* MMap(byte* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(byte* address, nuint length);
}
