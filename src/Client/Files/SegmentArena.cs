using System.Numerics;
using EphemeralFs.Client.State;
using EphemeralFs.Core;

namespace EphemeralFs.Client.Files;

/// <summary>The write-back cache: a bounded number of segments in shared memory. Who finds none free waits until a flush frees some.</summary>
public sealed class SegmentArena
{
    private readonly NodeMemory _memory;
    private readonly Lock _lock = new();
    private readonly FreePlaces _free;
    private readonly Queue<TaskCompletionSource> _waiting = new();
    private ulong _order;

    /// <summary>Takes over the memory; segments of a predecessor that hold bytes are left alone (<see cref="Inherited"/>).</summary>
    public SegmentArena(NodeMemory memory)
    {
        _memory = memory;
        _free = new FreePlaces(memory.SegmentCount);
        _free.TakeOver(memory.Header.SegmentsEnd, index =>
        {
            ref var segment = ref memory.Segment(index);
            if (segment.State == SegmentState.Free)
            {
                return true;
            }

            // Its flush died with the daemon: nothing of it is known to be committed.
            segment.State = SegmentState.Dirty;
            _order = Math.Max(_order, segment.Order);
            Inherited.Add(index);
            return false;
        });
    }

    /// <summary>Segments that a predecessor left dirty, to be attached to their files.</summary>
    public List<int> Inherited { get; } = [];

    /// <summary>Quota bytes that are reserved for what a predecessor left dirty.</summary>
    public long InheritedReservedBytes => ReservedBytes(Inherited.Where(index => Header(index).State != SegmentState.Free));

    /// <summary>Bytes that unflushed segments occupy.</summary>
    public long UsedBytes => (long)(_memory.SegmentCount - FreeCount) * NodeMemory.SegmentBytes;

    /// <summary>Bytes of all segments.</summary>
    public long CapacityBytes => (long)_memory.SegmentCount * NodeMemory.SegmentBytes;

    /// <summary>Whether flushing should begin now so that writers do not have to wait later.</summary>
    public bool IsUnderPressure => FreeCount < _memory.SegmentCount / 2;

    private int FreeCount
    {
        get
        {
            lock (_lock)
            {
                return _free.Count;
            }
        }
    }

    /// <summary>The header of a segment.</summary>
    public ref SegmentHeader Header(int index) => ref _memory.Segment(index);

    /// <summary>Quota bytes that are reserved for segments.</summary>
    public long ReservedBytes(IEnumerable<int> segments) =>
        segments.Sum(index => (long)BitOperations.PopCount(Header(index).ReservedPages) * Limits.PageSizeBytes);

    /// <summary>The bytes of a segment.</summary>
    public Span<byte> Data(int index) => _memory.Data(index);

    /// <summary>A fresh segment for a window of a file; false when none is free. Its state is Free until it is published.</summary>
    public bool TryAllocate(ulong ino, ulong window, out int index)
    {
        lock (_lock)
        {
            if (!_free.TryTake(out index))
            {
                return false;
            }

            _memory.Header.SegmentsEnd = _free.End;
            ref var header = ref _memory.Segment(index);
            header = default;
            header.Ino = ino;
            header.Window = window;
            header.Order = ++_order;
            return true;
        }
    }

    /// <summary>The bytes of a segment are committed or no longer wanted.</summary>
    public void Free(int index)
    {
        lock (_lock)
        {
            Volatile.Write(ref System.Runtime.CompilerServices.Unsafe.As<SegmentState, uint>(ref _memory.Segment(index).State), (uint)SegmentState.Free);
            _free.Return(index);
        }

        WakeOne();
    }

    /// <summary>Completes when a segment may be free.</summary>
    public Task WaitAsync(CancellationToken cancellation)
    {
        lock (_lock)
        {
            if (_free.Count > 0)
            {
                return Task.CompletedTask;
            }

            var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Enqueue(source);
            return cancellation.CanBeCanceled ? UnlessCanceledAsync(source, cancellation) : source.Task;
        }
    }

    /// <summary>Somebody who still waits.</summary>
    private void WakeOne()
    {
        TaskCompletionSource? next;
        do
        {
            lock (_lock)
            {
                _waiting.TryDequeue(out next);
            }
        }
        while (next is not null && !next.TrySetResult());
    }

    private static async Task UnlessCanceledAsync(TaskCompletionSource source, CancellationToken cancellation)
    {
        await using (cancellation.Register(() => source.TrySetCanceled(cancellation)))
        {
            await source.Task;
        }
    }
}
