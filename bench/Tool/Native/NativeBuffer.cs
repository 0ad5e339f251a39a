using System.Runtime.InteropServices;

namespace EphemeralFs.Bench.Native;

/// <summary>Page-aligned memory outside the garbage-collected heap, touched once so that no loop pays for its page faults.</summary>
internal sealed unsafe class NativeBuffer : IDisposable
{
    private const int PageBytes = 4096;

    public NativeBuffer(long bytes)
    {
        Bytes = bytes;
        Pointer = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, PageBytes), PageBytes);
        NativeMemory.Fill(Pointer, (nuint)bytes, 0xA5);
    }

    public byte* Pointer { get; }

    public long Bytes { get; }

    public void Dispose() => NativeMemory.AlignedFree(Pointer);
}
