using EphemeralFs.Client.State;
using EphemeralFs.Core;

namespace EphemeralFs.Client.Session;

/// <summary>The slots of a session: how many mutations are in flight, and how each is recognised when it comes again.</summary>
public sealed class SlotTable
{
    /// <summary>The sequence number of an operation that was sent under a session that has ended: what became of it nobody knows, and it is not sent again.</summary>
    public const uint Lost = 0;

    /// <summary>
    /// A predecessor may have answered a request and not lived to free its slot: such a request never comes again. What the kernel sends again it sends at once, so
    /// after this time a slot that nobody has claimed may be used when there is no other.
    /// </summary>
    internal const int InheritedMs = 10 * Limits.RequestDeadlineMs;

    private readonly NodeMemory _memory;
    private readonly TimeProvider _time;
    private readonly HashSet<uint> _inherited = [];
    private readonly long _inheritedUntilMs;
    private readonly Lock _lock = new();
    private readonly Stack<uint> _free = new(Limits.SlotsPerSession);
    private readonly Queue<TaskCompletionSource<uint>> _waiting = new();
    private ITimer? _timer;
    private bool _stopped;

    /// <summary>Takes over the slots; those of a predecessor's unanswered requests stay occupied until the kernel sends the requests again.</summary>
    public SlotTable(NodeMemory memory, TimeProvider time)
    {
        _memory = memory;
        _time = time;
        _inheritedUntilMs = time.NowMs() + InheritedMs;
        for (var slot = Limits.SlotsPerSession - 1; slot >= 0; slot--)
        {
            ref var record = ref memory.Slots[slot];
            if (record.Unique is 0 or SlotRecord.Background)
            {
                record.Unique = 0;
                _free.Push((uint)slot);
            }
            else
            {
                _inherited.Add((uint)slot);
            }
        }
    }

    /// <summary>Slots that are occupied.</summary>
    public int InUse
    {
        get
        {
            lock (_lock)
            {
                return Limits.SlotsPerSession - _free.Count;
            }
        }
    }

    /// <summary>A slot and its sequence number for the next mutation of an operation: the same ones as before if it was sent before.</summary>
    public ValueTask<(uint Slot, uint Sequence)> AcquireAsync(Operation operation)
    {
        var step = operation.NextStep++;
        TaskCompletionSource<uint> source;
        lock (_lock)
        {
            if (_stopped)
            {
                return new ValueTask<(uint, uint)>((0, Lost));
            }

            if (operation.IsResent)
            {
                var slots = _memory.Slots;
                for (var i = 0; i < slots.Length; i++)
                {
                    if (slots[i].Unique == operation.Unique && (slots[i].Step & ~SlotRecord.SessionEnded) == step)
                    {
                        _inherited.Remove((uint)i);
                        operation.Occupy((uint)i, slots[i].Sequence);
                        return new ValueTask<(uint, uint)>(((uint)i, slots[i].Step == step ? slots[i].Sequence : Lost));
                    }
                }
            }

            if (_free.TryPop(out var slot))
            {
                return new ValueTask<(uint, uint)>((slot, Occupy(slot, operation, step)));
            }

            source = new TaskCompletionSource<uint>(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Enqueue(source);
            if (_inherited.Count > 0)
            {
                var leftMs = Math.Max(0, _inheritedUntilMs - _time.NowMs());
                _timer ??= _time.CreateTimer(_ => UseInherited(), null, TimeSpan.FromMilliseconds(leftMs), Timeout.InfiniteTimeSpan);
            }
        }

        return WaitAsync(source.Task, operation, step);
    }

    /// <summary>The session has ended: what is in flight must not come again under the next one.</summary>
    internal void EndSession()
    {
        lock (_lock)
        {
            foreach (ref var record in _memory.Slots)
            {
                record.Step |= SlotRecord.SessionEnded;
            }
        }
    }

    /// <summary>
    /// The daemon leaves the memory: nothing is sent any more, and what is in flight stays occupied, for its requests are answered by a successor.
    /// </summary>
    internal void Stop()
    {
        TaskCompletionSource<uint>[] waiting;
        lock (_lock)
        {
            _stopped = true;
            waiting = [.. _waiting];
            _waiting.Clear();
            _timer?.Dispose();
        }

        Array.ForEach(waiting, source => source.SetResult(0));
    }

    internal void Release(uint slot)
    {
        TaskCompletionSource<uint>? next;
        lock (_lock)
        {
            if (_stopped)
            {
                return;
            }

            Volatile.Write(ref _memory.Slots[(int)slot].Unique, 0);
            if (!_waiting.TryDequeue(out next))
            {
                _free.Push(slot);
                return;
            }
        }

        next.SetResult(slot);
    }

    /// <summary>Frees the slots that nobody has claimed.</summary>
    private void UseInherited()
    {
        uint[] unclaimed;
        lock (_lock)
        {
            unclaimed = [.. _inherited];
            _inherited.Clear();
        }

        Array.ForEach(unclaimed, Release);
    }

    private async ValueTask<(uint Slot, uint Sequence)> WaitAsync(Task<uint> task, Operation operation, uint step)
    {
        var slot = await task;
        lock (_lock)
        {
            return _stopped ? (slot, Lost) : (slot, Occupy(slot, operation, step));
        }
    }

    private uint Occupy(uint slot, Operation operation, uint step)
    {
        ref var record = ref _memory.Slots[(int)slot];
        record.Step = step;
        record.Sequence++;
        Volatile.Write(ref record.Unique, operation.Unique == 0 ? SlotRecord.Background : operation.Unique);
        operation.Occupy(slot, record.Sequence);
        return record.Sequence;
    }
}
