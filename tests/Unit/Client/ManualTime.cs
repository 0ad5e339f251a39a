namespace EphemeralFs.Tests.Unit.Client;

/// <summary>A clock with timers that is set by hand.</summary>
internal sealed class ManualTime : TimeProvider
{
    private readonly List<Timer> _timers = [];
    private long _nowMs = 1_000_000;

    public override long TimestampFrequency => 1000;

    public override long GetTimestamp() => _nowMs;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(callback, state, _nowMs + (long)dueTime.TotalMilliseconds);
        _timers.Add(timer);
        return timer;
    }

    public void Advance(long milliseconds)
    {
        _nowMs += milliseconds;
        _timers.ForEach(timer => timer.Fire(_nowMs));
    }

    private sealed class Timer(TimerCallback callback, object? state, long dueMs) : ITimer
    {
        private bool _isOver;

        public void Fire(long nowMs)
        {
            if (!_isOver && nowMs >= dueMs)
            {
                _isOver = true;
                callback(state);
            }
        }

        public bool Change(TimeSpan dueTime, TimeSpan period) => throw new NotSupportedException();

        public void Dispose() => _isOver = true;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}
