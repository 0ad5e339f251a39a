using System.Collections.Concurrent;

namespace EphemeralFs.Client.Session;

/// <summary>
/// One request of a program, on its way through the client. It keeps the slots of its mutations occupied until the kernel has its
/// answer: a daemon that dies before that finds them again by the request's <c>unique</c> and gets the same result.
/// </summary>
public sealed class Operation
{
    private const int PoolMax = 512;

    private static readonly ConcurrentStack<Operation> Pool = new();

    private readonly List<uint> _slots = new(4);
    private MetadataSession? _session;

    private Operation()
    {
    }

    /// <summary>The kernel's <c>unique</c> without its resend bit; 0 for work of the daemon itself.</summary>
    public ulong Unique { get; private set; }

    /// <summary>Whether the kernel sent the request again to a new daemon: its mutations may have happened.</summary>
    public bool IsResent { get; private set; }

    /// <summary>The life of the session (<see cref="MetadataSession.Life"/>) in which it began; it does nothing in another.</summary>
    public ulong Life { get; private set; }

    /// <summary>Fires when the program was interrupted.</summary>
    public CancellationToken Interrupted { get; set; }

    /// <summary>Slot and sequence number of the mutation sent last.</summary>
    public (uint Slot, uint Sequence) Last { get; private set; }

    internal uint NextStep { get; set; }

    internal static Operation Rent(MetadataSession session, ulong life, ulong unique, bool resent)
    {
        if (!Pool.TryPop(out var operation))
        {
            operation = new Operation();
        }

        operation._session = session;
        operation.Life = life;
        operation.Unique = unique;
        operation.IsResent = resent;
        operation.Interrupted = default;
        operation.NextStep = 0;
        operation.Last = default;
        return operation;
    }

    /// <summary>The program has its answer (or nobody waits for one): the slots are free again.</summary>
    public void Complete()
    {
        foreach (var slot in _slots)
        {
            _session!.Slots.Release(slot);
        }

        _slots.Clear();
        _session = null;
        if (Pool.Count < PoolMax)
        {
            Pool.Push(this);
        }
    }

    internal void Occupy(uint slot, uint sequence)
    {
        Last = (slot, sequence);
        _slots.Add(slot);
    }
}
