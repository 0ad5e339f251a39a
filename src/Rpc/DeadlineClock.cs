using System.Runtime.CompilerServices;

namespace EphemeralFs.Rpc;

/// <summary>
/// The one clock by which the calls of all connections of the process fail when their time is over. It stands still while no call is in flight: many idle
/// connections cost as little as one.
/// </summary>
internal sealed class DeadlineClock
{
    private static readonly ConditionalWeakTable<TimeProvider, DeadlineClock> s_clocks = [];

    private readonly Lock _lock = new(); // guards what is below
    private readonly HashSet<RpcPeer> _watched = [];
    private readonly ITimer _timer;

    private DeadlineClock(TimeProvider time) =>
        _timer = time.CreateTimer(static clock => ((DeadlineClock)clock!).Tick(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

    /// <summary>The clock that goes by a time: one in a process, one in each simulation.</summary>
    public static DeadlineClock Of(TimeProvider time) => s_clocks.GetValue(time, static time => new DeadlineClock(time));

    /// <summary>Looks at a connection every <see cref="RpcPeer.DeadlineResolutionMs"/>, until it says that it has no call in flight.</summary>
    public void Watch(RpcPeer peer)
    {
        var resolution = TimeSpan.FromMilliseconds(RpcPeer.DeadlineResolutionMs);
        lock (_lock)
        {
            if (_watched.Add(peer) && _watched.Count == 1)
            {
                _timer.Change(resolution, resolution);
            }
        }
    }

    private void Tick()
    {
        RpcPeer[] watched;
        lock (_lock)
        {
            watched = [.. _watched];
        }

        foreach (var peer in watched)
        {
            peer.FailOverdueCalls();
        }

        lock (_lock)
        {
            // Each decides under its own lock, so that a call that comes now is not forgotten.
            _watched.RemoveWhere(static peer => peer.StopsBeingWatched());
            if (_watched.Count == 0)
            {
                _timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            }
        }
    }
}
