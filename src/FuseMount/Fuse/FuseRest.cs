using System.Diagnostics;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>
/// Takes the memory from readers that have had nothing to read for a while: they wait for the next request without it (poll(2)), so that an idle mount costs next to
/// nothing. One clock for all mounts of the process; it stands still while all readers rest.
/// </summary>
internal static class FuseRest
{
    private const int TickMs = 1000;

    private static readonly Lock s_lock = new();
    private static readonly HashSet<FuseWorker> s_awake = [];
    private static readonly Timer s_timer = new(static _ => Tick());
    private static bool s_ticks;

    /// <summary>A reader has a buffer.</summary>
    public static void Awake(FuseWorker worker)
    {
        lock (s_lock)
        {
            s_awake.Add(worker);
            if (!s_ticks)
            {
                s_ticks = true;
                s_timer.Change(TickMs, TickMs);
            }
        }
    }

    /// <summary>It has given it back.</summary>
    public static void Resting(FuseWorker worker)
    {
        lock (s_lock)
        {
            s_awake.Remove(worker);
        }
    }

    private static void Tick()
    {
        bool isLeft = FuseBufferPool.TrimAll();
        lock (s_lock)
        {
            long idleSince = Stopwatch.GetTimestamp() - (TickMs * Stopwatch.Frequency / 1000);
            foreach (FuseWorker worker in s_awake)
            {
                worker.RestIfIdle(idleSince);
            }
            if (s_awake.Count == 0 && !isLeft)
            {
                s_ticks = false;
                s_timer.Change(Timeout.Infinite, Timeout.Infinite);
            }
        }
    }
}
