namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>Since when volumes have been of no use to anybody, as far as this plugin has seen. For one caller.</summary>
/// <param name="after">After this time they may be deleted.</param>
internal sealed class Unused(TimeSpan after)
{
    /// <summary>Who asks every minute and comes so late had no cluster to ask, and nobody could publish meanwhile: all times begin anew.</summary>
    private const long GapMs = 90_000;

    private readonly Dictionary<string, long> _since = new(StringComparer.Ordinal); // milliseconds
    private long _asked = Environment.TickCount64;

    /// <summary>The volumes that are unused now: those that have been so for long enough. A volume that is not named is used.</summary>
    public IReadOnlyList<string> For(IEnumerable<string> names)
    {
        var now = Environment.TickCount64;
        if (now - _asked > GapMs)
        {
            _since.Clear();
        }

        _asked = now;
        var unused = names.ToHashSet(StringComparer.Ordinal);
        foreach (var other in _since.Keys.Where(name => !unused.Contains(name)).ToArray())
        {
            _since.Remove(other);
        }

        return [.. unused.Where(name => !_since.TryAdd(name, now) && now - _since[name] >= after.TotalMilliseconds)];
    }

    /// <summary>The server of a volume does not answer, so that it cannot be published either: its time begins anew.</summary>
    public void Restart(string name) => _since.Remove(name);
}
