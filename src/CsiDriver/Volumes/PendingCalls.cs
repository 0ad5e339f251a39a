using System.Collections.Concurrent;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>One call for a volume at a time: a second one is ABORTED, and its caller tries again (CSI specification, "Error Scheme").</summary>
internal sealed class PendingCalls
{
    private readonly ConcurrentDictionary<string, byte> _pending = new(StringComparer.Ordinal);

    /// <summary>Begins; dispose at the end.</summary>
    public IDisposable Begin(string key) => TryBegin(key) ?? throw new GrpcException(GrpcStatusCode.Aborted, $"another call for {key} is pending");

    /// <summary>Begins, unless a call is pending: then null.</summary>
    public IDisposable? TryBegin(string key) => _pending.TryAdd(key, 0) ? new Call(this, key) : null;

    private sealed class Call(PendingCalls calls, string key) : IDisposable
    {
        public void Dispose() => calls._pending.TryRemove(key, out _);
    }
}
