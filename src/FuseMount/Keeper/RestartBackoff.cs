namespace EphemeralFs.FuseMount.Keeper;

/// <summary>How soon a successor is started after the daemon died. Pure numbers, no clock.</summary>
public sealed record RestartBackoff
{
    /// <summary>Failures in a row that are answered at once.</summary>
    public int ImmediateRestarts { get; init; } = 3;

    /// <summary>The first delay after that in milliseconds; it doubles with each further failure.</summary>
    public int InitialDelayMs { get; init; } = 100;

    /// <summary>Where the doubling ends, in milliseconds.</summary>
    public int MaxDelayMs { get; init; } = 5_000;

    /// <summary>After so many failures in a row the daemon will hardly recover by itself: only <see cref="LongDelayMs"/> from then on.</summary>
    public int FailuresBeforeLongDelay { get; init; } = 12;

    /// <summary>The delay then, in milliseconds. The keeper keeps trying for ever: entries are only lost with it.</summary>
    public int LongDelayMs { get; init; } = 30_000;

    /// <summary>
    /// A daemon that was attached for so long, in milliseconds, was all right: its death is not counted. Longer than the resent requests of its
    /// predecessor take, so that a request that kills every daemon is seen as a failure in a row.
    /// </summary>
    public int StableAfterMs { get; init; } = 1_000;

    /// <summary>The delay before the next start, in milliseconds.</summary>
    /// <param name="failuresInARow">How many daemons died too soon since the last one that was stable.</param>
    public int DelayMs(int failuresInARow)
    {
        if (failuresInARow <= ImmediateRestarts)
        {
            return 0;
        }

        if (failuresInARow >= FailuresBeforeLongDelay)
        {
            return LongDelayMs;
        }

        var doublings = Math.Min(failuresInARow - ImmediateRestarts - 1, 30);
        return (int)Math.Min((long)InitialDelayMs << doublings, MaxDelayMs);
    }

    /// <summary>Says what is wrong with the numbers; null when nothing is.</summary>
    public string? Validate() =>
        ImmediateRestarts < 0 || InitialDelayMs < 0 || MaxDelayMs < InitialDelayMs || LongDelayMs < 0 || StableAfterMs < 0
        || FailuresBeforeLongDelay <= ImmediateRestarts
            ? "restart delays must be 0 or more, the longest delay not below the first, and the long delay after the immediate restarts"
            : null;
}
