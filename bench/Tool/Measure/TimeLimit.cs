using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Measure;

/// <summary>Ends a loop after <see cref="RowRunner.RowLimitNanoseconds"/>; asks the clock only now and then.</summary>
internal readonly struct TimeLimit
{
    private readonly long _end;

    public TimeLimit() => _end = Sys.Now() + RowRunner.RowLimitNanoseconds;

    /// <param name="done">Operations so far; the clock is asked at every 16th.</param>
    public bool Reached(long done) => (done & 15) == 0 && Sys.Now() > _end;
}
