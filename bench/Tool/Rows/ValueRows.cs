using System.Globalization;
using EphemeralFs.Bench.Measure;

namespace EphemeralFs.Bench.Rows;

/// <summary>The rows that Redis can answer: values of the sizes of the small files, and hand-over between two connections.</summary>
internal static unsafe class ValueRows
{
    public static void RunSmall(RunOptions options, RowRunner runner, string size, long bytes)
    {
        int count = SmallFileRows.CountOf(bytes, options);
        string[] keys = [.. Enumerable.Range(0, count).Select(i => string.Create(CultureInfo.InvariantCulture, $"f{i:D6}"))];
        ulong seed = (ulong)options.Round << 32;
        using var redis = new RedisConnection(options.Redis!, bytes);
        runner.Run($"write-{size}", window =>
        {
            Content.Fill(redis.Value, bytes, seed, 0);
            redis.Set(keys[0], bytes);
            long start = window.Open();
            for (int i = 0; i < count; i++)
            {
                Content.Stamp(redis.Value, bytes, seed + (ulong)i, 0);
                redis.Set(keys[i], bytes);
            }

            return Outcome.Rate(count, window.Close() - start);
        });
        runner.Run($"read-cold-{size}", window =>
        {
            runner.DropKernelCaches();
            return Read(window, redis, keys, bytes, seed);
        });
        runner.Run($"read-{size}", window =>
        {
            for (int i = 0; i < count; i++)
            {
                Check(redis.Get(keys[i]) == bytes && Content.IsRight(redis.Value, bytes, seed + (ulong)i, 0), i);
            }

            return Read(window, redis, keys, bytes, seed);
        });
        foreach (string key in keys)
        {
            redis.Delete(key);
        }
    }

    public static void RunHandOver(RunOptions options, RowRunner runner, string size, long bytes)
    {
        using var exchange = new RedisExchange(options.Redis!, bytes);
        HandOverRows.RunExchange(options, runner, exchange, size, HandOverRows.CountOf(bytes, options));
    }

    private static Outcome Read(CpuWindow window, RedisConnection redis, string[] keys, long bytes, ulong seed)
    {
        long start = window.Open();
        for (int i = 0; i < keys.Length; i++)
        {
            Check(redis.Get(keys[i]) == bytes && Content.StampsAreRight(redis.Value, bytes, seed + (ulong)i, 0), i);
        }

        return Outcome.Rate(keys.Length, window.Close() - start);
    }

    private static void Check(bool right, int i)
    {
        if (!right)
        {
            throw new BenchException($"value {i} has wrong content");
        }
    }
}
