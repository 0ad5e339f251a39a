using System.Diagnostics;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Metadata.Service;

/// <summary>How often each operation was asked for, how often it failed and how long it took in the server (waiting for others not included).</summary>
public sealed class OperationCounters
{
    private const int OpcodeBase = 0x0100;
    private readonly long[] _counts = new long[256];
    private readonly long[] _errors = new long[256];
    private readonly long[] _ticks = new long[256];
    private long _sessionsExpired;

    /// <summary>Counts a request, before it is answered: whoever has the answer finds it counted.</summary>
    public void Begin(Opcode opcode)
    {
        var index = (int)opcode - OpcodeBase;
        if ((uint)index < 256)
        {
            Interlocked.Increment(ref _counts[index]);
        }
    }

    /// <summary>Counts the time of a request that began at <paramref name="startTimestamp"/> of the <see cref="Stopwatch"/>.</summary>
    public void End(Opcode opcode, long startTimestamp)
    {
        var index = (int)opcode - OpcodeBase;
        if ((uint)index < 256)
        {
            Interlocked.Add(ref _ticks[index], Stopwatch.GetTimestamp() - startTimestamp);
        }
    }

    /// <summary>Counts an answer that was not OK.</summary>
    public void Failed(Opcode opcode, Status status)
    {
        var index = (int)opcode - OpcodeBase;
        if (status != Status.OK && (uint)index < 256)
        {
            Interlocked.Increment(ref _errors[index]);
        }
    }

    /// <summary>Counts a session that was ended because its node was silent, or did not acknowledge a recall.</summary>
    public void SessionExpired() => Interlocked.Increment(ref _sessionsExpired);

    /// <summary>All counters of operations that are not 0, and of sessions.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        yield return ("ephemeralfs_metadata_sessions_expired_total", "", Interlocked.Read(ref _sessionsExpired));
        for (var i = 0; i < _counts.Length; i++)
        {
            var count = Volatile.Read(ref _counts[i]);
            if (count > 0)
            {
                var labels = $"op=\"{(Opcode)(i + OpcodeBase)}\"";
                yield return ("ephemeralfs_metadata_requests_total", labels, count);
                yield return ("ephemeralfs_metadata_errors_total", labels, Volatile.Read(ref _errors[i]));
                yield return ("ephemeralfs_metadata_request_seconds_total", labels, Volatile.Read(ref _ticks[i]) / (double)Stopwatch.Frequency);
            }
        }
    }
}
