using System.Numerics;
using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>A pinned buffer from a pool of power-of-two sizes, counted by references; the last <see cref="Dispose"/> returns it.</summary>
public sealed class PooledBuffer : IDisposable
{
    private const int SmallestShift = 12;
    private const int LargestShift = 21;

    /// <summary>Idle memory kept in all sizes together: enough for a full window of block transfers, not more.</summary>
    private const long IdleBytesMax = 64 << 20;

    /// <summary>
    /// After so many bytes of dropped buffers the garbage is collected: the collector's own budget for pinned memory grows with the machine,
    /// and let a daemon with caches of 384 MiB reach 1.1 GB.
    /// </summary>
    private const long GarbageBytesMax = 64 << 20;

    private static readonly Stack<PooledBuffer>[] Idle = [.. Enumerable.Range(0, LargestShift - SmallestShift + 1).Select(_ => new Stack<PooledBuffer>())];
    private static long _outstanding;
    private static long _idleBytes;
    private static long _garbageBytes;

    private readonly byte[] _array;
    private int _references;

    private PooledBuffer(int capacity) => _array = GC.AllocateUninitializedArray<byte>(capacity, pinned: true);

    /// <summary>Buffers that are rented now; tests find leaks with it.</summary>
    public static long Outstanding => Volatile.Read(ref _outstanding);

    /// <summary>Bytes in use, at most the capacity.</summary>
    public int Length { get; set; }

    /// <summary>The bytes in use.</summary>
    public Memory<byte> Memory => _array.AsMemory(0, Length);

    /// <summary>The bytes in use.</summary>
    public Span<byte> Span => _array.AsSpan(0, Length);

    /// <summary>What the buffer could hold.</summary>
    public int Capacity => _array.Length;

    /// <summary>A buffer with <see cref="Length"/> = <paramref name="length"/> (at most <see cref="Limits.FrameBodyMaxBytes"/> rounded up) and unspecified contents.</summary>
    public static PooledBuffer Rent(int length)
    {
        var shift = Math.Max(SmallestShift, 32 - BitOperations.LeadingZeroCount((uint)Math.Max(length, 1) - 1));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(shift, LargestShift);
        PooledBuffer? buffer;
        var idle = Idle[shift - SmallestShift];
        lock (idle)
        {
            idle.TryPop(out buffer);
        }

        if (buffer is not null)
        {
            Interlocked.Add(ref _idleBytes, -buffer.Capacity);
        }

        // One block with its checksum trailer is the common large size; do not double it to 2 MiB.
        buffer ??= new PooledBuffer(shift == LargestShift ? Math.Max(length, Limits.FrameBodyMaxBytes) : 1 << shift);
        if (buffer.Capacity < length)
        {
            buffer = new PooledBuffer(length);
        }

        buffer.Length = length;
        buffer._references = 1;
        Interlocked.Increment(ref _outstanding);
        return buffer;
    }

    /// <summary>One more owner, who must dispose too.</summary>
    public PooledBuffer Retain()
    {
        Interlocked.Increment(ref _references);
        return this;
    }

    /// <summary>Gives up one ownership.</summary>
    public void Dispose()
    {
        var left = Interlocked.Decrement(ref _references);
        ObjectDisposedException.ThrowIf(left < 0, this);
        if (left != 0)
        {
            return;
        }

        Interlocked.Decrement(ref _outstanding);
        var shift = Math.Min(LargestShift, 32 - BitOperations.LeadingZeroCount((uint)Capacity - 1));
        if (Interlocked.Add(ref _idleBytes, Capacity) > IdleBytesMax)
        {
            Interlocked.Add(ref _idleBytes, -Capacity);
            Drop();
            return;
        }

        var idle = Idle[shift - SmallestShift];
        lock (idle)
        {
            idle.Push(this);
        }
    }

    private void Drop()
    {
        var garbage = Interlocked.Add(ref _garbageBytes, Capacity);
        if (garbage >= GarbageBytesMax && Interlocked.CompareExchange(ref _garbageBytes, 0, garbage) == garbage)
        {
            // In the background: nobody waits for it.
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: false);
        }
    }
}
