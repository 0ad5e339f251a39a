namespace EphemeralFs.Core;

/// <summary>Milliseconds of the monotonic clock of a <see cref="TimeProvider"/>: what leases, sessions and deadlines count in.</summary>
public static class Clocks
{
    /// <summary>For the system's clock the same number as <see cref="Environment.TickCount64"/>, in every process of the machine, and as cheap.</summary>
    public static long NowMs(this TimeProvider time) =>
        ReferenceEquals(time, TimeProvider.System) ? Environment.TickCount64 : time.GetTimestamp() / (time.TimestampFrequency / 1000);
}
