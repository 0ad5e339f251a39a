using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>What the model found: the property that does not hold, in one line.</summary>
internal sealed class ViolationException(string message) : Exception(message);

/// <summary>
/// One thread, a virtual clock and a queue of events. Everything asynchronous of the product goes on as an event of its <see cref="Actor"/>, so one seed is one
/// run, to the bit. Something that runs on another thread has escaped, and fails the run.
/// </summary>
internal sealed class Simulation(ulong seed)
{
    private readonly PriorityQueue<Event, (long AtUs, long Order)> _queue = new();
    private readonly Thread _thread = Thread.CurrentThread;
    private long _order;
    private long _stamps;
    private volatile string? _escaped;

    public SeededRandom Random { get; } = new(seed);

    /// <summary>Virtual time, microseconds.</summary>
    public long NowUs { get; private set; } = 1_000_000_000;

    public long NowMs => NowUs / 1000;

    /// <summary>Events so far.</summary>
    public long Steps { get; private set; }

    /// <summary>All that happened, in one number.</summary>
    public ulong Hash { get; private set; } = 14695981039346656037;

    /// <summary>Called after each event.</summary>
    public Action? AfterEvent { get; set; }

    /// <summary>The last lines, newest last, for whoever reads a violation.</summary>
    public Queue<string> Log { get; } = new();

    /// <summary>An event of an actor, so much later. What is dead does nothing any more, what is paused does it later.</summary>
    public void After(long us, Actor actor, Action run)
    {
        if (!IsOnThread())
        {
            return;
        }

        _queue.Enqueue(new Event(actor, run), (NowUs + Math.Max(0, us), ++_order));
    }

    /// <summary>Performs the next event; false when there is none.</summary>
    public bool Step()
    {
        if (!_queue.TryDequeue(out var next, out var key))
        {
            return false;
        }

        NowUs = Math.Max(NowUs, key.AtUs);
        if (next.Actor.IsDead)
        {
            return true;
        }

        if (next.Actor.PausedUntilUs > NowUs)
        {
            _queue.Enqueue(next, (next.Actor.PausedUntilUs, key.Order));
            return true;
        }

        Steps++;
        Mix((ulong)key.AtUs);
        Run(next.Actor, next.Run);
        AfterEvent?.Invoke();
        if (_escaped is { } escaped)
        {
            throw new ViolationException("something runs on a thread of its own: " + escaped);
        }

        return true;
    }

    /// <summary>Runs something as an actor, now.</summary>
    public static void Run(Actor actor, Action run)
    {
        var before = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(actor);
        try
        {
            run();
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }
    }

    /// <summary>A delay: mostly the first, now and then up to the second, rarely up to the third; microseconds.</summary>
    public long Delay(int usual, int some, int rare)
    {
        var roll = Random.Below(1000);
        return 1 + Random.Below(roll < 10 ? rare : roll < 60 ? some : usual);
    }

    /// <summary>A time that nothing else has, nanoseconds since the epoch: it tells versions of attributes apart.</summary>
    public long Stamp() => 1_700_000_000_000_000_000 + (NowUs * 1000) + (++_stamps * 100);

    public void Note(string line)
    {
        if (!IsOnThread())
        {
            return;
        }

        foreach (var c in line)
        {
            Mix(c);
        }

        Log.Enqueue($"{NowUs / 1000.0 - 1_000_000,12:0.000} {line}");
        if (Log.Count > 400)
        {
            Log.Dequeue();
        }
    }

    /// <summary>False, and the end of the run, on any other thread.</summary>
    public bool IsOnThread()
    {
        if (Thread.CurrentThread != _thread)
        {
            _escaped ??= Environment.StackTrace;
            return false;
        }

        return true;
    }

    private void Mix(ulong value) => Hash = (Hash ^ value) * 1099511628211;

    private readonly record struct Event(Actor Actor, Action Run);
}

/// <summary>A process: what it awaits goes on as its events, until it is killed. Its clock is the simulation's.</summary>
internal sealed class Actor : SynchronizationContext
{
    private readonly Simulation _simulation;

    public Actor(Simulation simulation, string name)
    {
        _simulation = simulation;
        Name = name;
        Time = new SimulatedTime(simulation, this);
        OtherThread = new AnotherThread(this);
    }

    /// <summary>As if a thread of the process ran that is not the one that waits: that one goes on later, with whatever happened in between.</summary>
    public SynchronizationContext OtherThread { get; }

    public string Name { get; }

    public TimeProvider Time { get; }

    public bool IsDead { get; set; }

    public long PausedUntilUs { get; set; }

    public override void Post(SendOrPostCallback d, object? state) => _simulation.After(_simulation.Delay(30, 5_000, 100_000), this, () => d(state));

    public override void Send(SendOrPostCallback d, object? state) => d(state);

    public override SynchronizationContext CreateCopy() => this;

    private sealed class AnotherThread(Actor actor) : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state) => actor.Post(d, state);

        public override void Send(SendOrPostCallback d, object? state) => d(state);

        public override SynchronizationContext CreateCopy() => this;
    }
}

/// <summary>The virtual clock as one actor sees it; its timers die with it.</summary>
internal sealed class SimulatedTime(Simulation simulation, Actor actor) : TimeProvider
{
    public override long TimestampFrequency => 1_000_000;

    public override long GetTimestamp() => simulation.NowUs;

    public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddTicks(simulation.Stamp() / TimeSpan.NanosecondsPerTick);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new SimulatedTimer(simulation, actor, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class SimulatedTimer(Simulation simulation, Actor actor, TimerCallback callback, object? state) : ITimer
    {
        private int _generation;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            var generation = ++_generation;
            if (dueTime >= TimeSpan.Zero)
            {
                Schedule(dueTime, period, generation);
            }

            return true;
        }

        public void Dispose() => _generation++;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }

        private void Schedule(TimeSpan due, TimeSpan period, int generation) => simulation.After((long)due.TotalMicroseconds, actor, () =>
        {
            if (generation == _generation)
            {
                if (period > TimeSpan.Zero)
                {
                    Schedule(period, period, generation);
                }

                callback(state);
            }
        });
    }
}
