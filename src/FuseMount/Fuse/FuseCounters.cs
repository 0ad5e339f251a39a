using System.Diagnostics;
using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Counts per operation since the connection began. Written by readers and repliers, read by metrics at any time.</summary>
public sealed class FuseCounters
{
    private readonly Cell[] _cells = new Cell[FuseOpcodeTable.Size];
    private long _malformed;
    private long _unknown;

    /// <summary>Messages that broke the protocol (too short, wrong lengths, names without end).</summary>
    public long Malformed => Interlocked.Read(ref _malformed);

    /// <summary>Operations that are not in the table.</summary>
    public long Unknown => Interlocked.Read(ref _unknown);

    /// <summary>Requests without an answer, all operations.</summary>
    public long InFlight
    {
        get
        {
            long sum = 0;
            foreach (FuseOpcodeRow row in FuseOpcodeTable.All)
            {
                sum += Read(row).InFlight;
            }
            return sum;
        }
    }

    /// <summary>One operation's counts.</summary>
    public FuseOperationCounts Read(FuseOpcodeRow row)
    {
        ref Cell cell = ref _cells[row.CounterIndex];
        // Ended before begun, so that in flight is never negative.
        long ended = Interlocked.Read(ref cell.Ended);
        long begun = Interlocked.Read(ref cell.Begun);
        double ns = Interlocked.Read(ref cell.Ticks) * (1e9 / Stopwatch.Frequency);
        return new FuseOperationCounts(row.Name, ended, Interlocked.Read(ref cell.Errors), (long)ns, begun - ended);
    }

    /// <summary>The counts of all operations that occurred.</summary>
    public IReadOnlyList<FuseOperationCounts> Snapshot() =>
        [.. FuseOpcodeTable.All.Select(Read).Where(c => c.Count + c.InFlight > 0)];

    internal void Begin(FuseOpcodeRow row) => Interlocked.Increment(ref _cells[row.CounterIndex].Begun);

    internal void End(FuseOpcodeRow row, Errno error, long ticks)
    {
        ref Cell cell = ref _cells[row.CounterIndex];
        if (error != Errno.OK)
        {
            Interlocked.Increment(ref cell.Errors);
        }
        Interlocked.Add(ref cell.Ticks, ticks);
        Interlocked.Increment(ref cell.Ended);
    }

    internal void CountMalformed() => Interlocked.Increment(ref _malformed);

    internal void CountUnknown() => Interlocked.Increment(ref _unknown);

    private struct Cell
    {
        public long Begun;
        public long Ended;
        public long Errors;
        public long Ticks;
    }
}

/// <summary>Counts of one operation.</summary>
/// <param name="Name">Kernel spelling.</param>
/// <param name="Count">Requests ended.</param>
/// <param name="Errors">Of these, with an error (a lookup's ENOENT too).</param>
/// <param name="TotalNs">Time from reading the request to its reply, summed, ns.</param>
/// <param name="InFlight">Requests without an answer.</param>
public readonly record struct FuseOperationCounts(string Name, long Count, long Errors, long TotalNs, long InFlight);
