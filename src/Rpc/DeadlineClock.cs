namespace EphemeralFs.Rpc;

/// <summary>
/// The one clock by which the calls of all connections of the process fail when their time is over. It stands still while no call is in flight: many idle
/// connections cost as little as one.
/// </summary>
internal static class DeadlineClock
{
    private static readonly Lock s_lock = new(); // guards what is below
    private static readonly HashSet<RpcPeer> s_watched = [];
    private static readonly Timer s_timer = new(static _ => Tick(), null, Timeout.Infinite, Timeout.Infinite);

    /// <summary>Looks at a connection every <see cref="RpcPeer.DeadlineResolutionMs"/>, until it says that it has no call in flight.</summary>
    public static void Watch(RpcPeer peer)
    {
        lock (s_lock)
        {
            if (s_watched.Add(peer) && s_watched.Count == 1)
            {
                s_timer.Change(RpcPeer.DeadlineResolutionMs, RpcPeer.DeadlineResolutionMs);
            }
        }
    }

    private static void Tick()
    {
        RpcPeer[] watched;
        lock (s_lock)
        {
            watched = [.. s_watched];
        }

        foreach (var peer in watched)
        {
            peer.FailOverdueCalls();
        }

        lock (s_lock)
        {
            // Each decides under its own lock, so that a call that comes now is not forgotten.
            s_watched.RemoveWhere(static peer => peer.StopsBeingWatched());
            if (s_watched.Count == 0)
            {
                s_timer.Change(Timeout.Infinite, Timeout.Infinite);
            }
        }
    }
}
