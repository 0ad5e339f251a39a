using System.Runtime.InteropServices;

namespace EphemeralFs.Client.Session;

/// <summary>The clock that stamps operations: CLOCK_REALTIME_COARSE, as the kernel's own file systems use.</summary>
public static partial class Clock
{
    private const int CLOCK_REALTIME_COARSE = 5;

    /// <summary>Nanoseconds since the epoch.</summary>
    /// <param name="clock">Another clock than the system's, or null.</param>
    public static unsafe long NowNs(TimeProvider? clock = null)
    {
        if (clock is not null && !ReferenceEquals(clock, TimeProvider.System))
        {
            return (clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
        }

        var time = stackalloc long[2];
        _ = clock_gettime(CLOCK_REALTIME_COARSE, time);
        return (time[0] * 1_000_000_000) + time[1];
    }

    [LibraryImport("libc")]
    private static unsafe partial int clock_gettime(int clock, long* time);
}
