using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>How long it takes until what node A closed was read whole on node B, and whether B reads something older first.</summary>
internal static class HandOverRows
{
    /// <summary>A reader that has not got the right content after this long makes the row fail.</summary>
    private const long PatienceNanoseconds = 5_000_000_000;

    /// <summary>Unsuccessful looks at the name before it appears, so that "it is not there" is cached where it can be.</summary>
    private const int LooksBeforeShow = 3;

    public static void RunFiles(RunOptions options, RowRunner runner, string size, long bytes)
    {
        string onA = Path.Combine(options.A, options.WorkName);
        string onB = Path.Combine(options.B, options.WorkName);
        Directory.CreateDirectory(onA);
        int count = CountOf(bytes, options);
        using var exchange = new FileExchange(onA, onB, count + 2, bytes);
        RunExchange(options, runner, exchange, size, count);
        runner.Run($"handover-polled-{size}", window => Measure(count, window, i => Polled(exchange, i, SeedOf(options, 3, i)), exchange.Remove));
    }

    /// <summary>The two rows that a store of values has as well.</summary>
    public static void RunExchange(RunOptions options, RowRunner runner, Exchange exchange, string size, int count)
    {
        runner.Run($"handover-new-{size}", window => Measure(count, window, i => Straight(exchange, i, SeedOf(options, 1, i)), exchange.Remove));
        runner.Run($"handover-rewritten-{size}", window =>
        {
            Straight(exchange, 0, SeedOf(options, 4, 0));
            Outcome outcome = Measure(count, window, i => Straight(exchange, 0, SeedOf(options, 2, i)), _ => { });
            exchange.Remove(0);
            return outcome;
        });
    }

    public static int CountOf(long bytes, RunOptions options) => bytes switch
    {
        <= 1 << 10 => options.Scaled(300, 20),
        <= 1 << 20 => options.Scaled(50, 5),
        _ => options.Scaled(4, 1),
    };

    private static ulong SeedOf(RunOptions options, int row, int i) => ((ulong)options.Round << 48) | ((ulong)row << 32) | (uint)i;

    /// <summary>The first hand-over warms the path and is not counted.</summary>
    private static Outcome Measure(int count, CpuWindow window, Func<int, HandOver> one, Action<int> remove)
    {
        var limit = new TimeLimit();
        var done = new List<HandOver>(count);
        one(0);
        remove(0);
        for (int i = 0; i < count && !limit.Reached(0); i++)
        {
            window.Open();
            done.Add(one(i + 1));
            window.Close();
            remove(i + 1);
        }

        double[] times = [.. done.Select(handOver => handOver.Nanoseconds / 1e3)];
        return new Outcome(Statistics.Median(times), done.Count, done.Sum(handOver => handOver.WholeNanoseconds))
        {
            LatenciesMicroseconds = times,
            WholeMicroseconds = [.. done.Select(handOver => handOver.WholeNanoseconds / 1e3)],
            Stale = done.Count(handOver => handOver.Stale),
        };
    }

    /// <summary>A writes and closes, then B reads, again and again until it gets what A wrote.</summary>
    private static HandOver Straight(Exchange exchange, int name, ulong seed)
    {
        long begin = Sys.Now();
        long closed = exchange.Publish(name, seed);
        bool stale = false;
        while (true)
        {
            long length = exchange.Fetch(name);
            long now = Sys.Now();
            if (exchange.IsRight(length, seed, everyByte: false))
            {
                return exchange.IsRight(length, seed, everyByte: true)
                    ? new HandOver(now - closed, now - begin, stale)
                    : throw new BenchException("B read mixed content");
            }

            if (now - closed > PatienceNanoseconds)
            {
                throw new BenchException(length < 0 ? "B did not see the name within 5 s" : "B read old content for more than 5 s");
            }

            stale = true;
            Sys.Pause();
        }
    }

    /// <summary>B looks for the name every 100 µs; A gives it, in one step, to a complete file.</summary>
    private static HandOver Polled(FileExchange exchange, int name, ulong seed)
    {
        long begin = Sys.Now();
        exchange.Conceal(name, seed);
        int looks = 0;
        long length = -1;
        long seen = 0;
        bool stale = false;
        BenchException? failed = null;
        var reader = new Thread(() =>
        {
            try
            {
                long end = Sys.Now() + (2 * PatienceNanoseconds);
                while (true)
                {
                    length = exchange.Fetch(name);
                    seen = Sys.Now();
                    if (exchange.IsRight(length, seed, everyByte: false) || seen > end)
                    {
                        return;
                    }

                    stale |= length >= 0;
                    Interlocked.Increment(ref looks);
                    Sys.Pause();
                }
            }
            catch (BenchException e)
            {
                failed = e;
            }
        });
        reader.Start();
        while (Volatile.Read(ref looks) < LooksBeforeShow && reader.IsAlive)
        {
            Sys.Pause();
        }

        long shown = exchange.Show(name);
        reader.Join();
        return failed is not null ? throw failed
            : !exchange.IsRight(length, seed, everyByte: true) ? throw new BenchException("B, polling, did not see the name within 5 s")
            : new HandOver(seen - shown, seen - begin, stale);
    }

    private readonly record struct HandOver(long Nanoseconds, long WholeNanoseconds, bool Stale);
}
