using System.Globalization;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>Values of one Redis server through two connections. There is no close: a value is handed over when SET was answered.</summary>
internal sealed class RedisExchange(string socket, long bytes) : Exchange
{
    private readonly RedisConnection _a = new(socket, bytes);
    private readonly RedisConnection _b = new(socket, bytes);
    private bool _filled;

    public override unsafe long Publish(int name, ulong seed)
    {
        if (!_filled)
        {
            Content.Fill(_a.Value, bytes, seed, 0);
            _filled = true;
        }

        Content.Stamp(_a.Value, bytes, seed, 0);
        _a.Set(Key(name), bytes);
        return Sys.Now();
    }

    public override long Fetch(int name) => _b.Get(Key(name));

    public override unsafe bool IsRight(long length, ulong seed, bool everyByte) =>
        length == bytes && (everyByte ? Content.IsRight(_b.Value, bytes, seed, 0) : Content.StampsAreRight(_b.Value, bytes, seed, 0));

    public override void Remove(int name) => _a.Delete(Key(name));

    public override void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
    }

    private static string Key(int name) => string.Create(CultureInfo.InvariantCulture, $"h{name}");
}
