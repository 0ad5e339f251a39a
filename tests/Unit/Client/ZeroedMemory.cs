using System.Runtime.InteropServices;
using EphemeralFs.Client.State;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>The memory of a new mount, without a write-back cache.</summary>
internal sealed unsafe class ZeroedMemory : IDisposable
{
    private readonly long _bytes = NodeMemory.SizeFor(0);
    private readonly byte* _memory;

    public ZeroedMemory()
    {
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)_bytes, Limits.PageSizeBytes);
        NativeMemory.Clear(_memory, (nuint)_bytes);
    }

    /// <summary>The memory as whoever maps it sees it: again what is there.</summary>
    public NodeMemory Map() => new(_memory, _bytes);

    /// <summary>Whoever reads it from now on reads nonsense, as after it was unmapped.</summary>
    public void Ruin() => NativeMemory.Fill(_memory, (nuint)_bytes, 0xFF);

    public void Dispose() => NativeMemory.AlignedFree(_memory);
}
