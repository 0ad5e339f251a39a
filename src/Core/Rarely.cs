namespace EphemeralFs.Core;

/// <summary>For what may happen very often and is said once in a while.</summary>
/// <param name="quietMs">Milliseconds from one time that it is said to the next.</param>
public sealed class Rarely(int quietMs = 1000)
{
    private long _saidMs = -quietMs;
    private long _unsaid;

    /// <summary>It has happened.</summary>
    /// <param name="unsaid">How often it happened before and was not said.</param>
    /// <returns>Whether it is to be said now.</returns>
    public bool MaySay(out long unsaid)
    {
        var now = Environment.TickCount64;
        var said = Volatile.Read(ref _saidMs);
        if (now - said >= quietMs && Interlocked.CompareExchange(ref _saidMs, now, said) == said)
        {
            unsaid = Interlocked.Exchange(ref _unsaid, 0);
            return true;
        }

        unsaid = 0;
        Interlocked.Increment(ref _unsaid);
        return false;
    }
}
