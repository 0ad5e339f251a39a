namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>Since when volumes have been of no use to anybody, as far as this plugin has seen. For one caller.</summary>
/// <param name="after">After this time they may be deleted.</param>
internal sealed class Unused(TimeSpan after)
{
    private readonly Dictionary<string, long> _since = new(StringComparer.Ordinal); // milliseconds

    /// <summary>The volumes that are unused now: those that have been so for long enough. A volume that is not named is used.</summary>
    public IReadOnlyList<string> For(IEnumerable<string> names)
    {
        var unused = names.ToHashSet(StringComparer.Ordinal);
        foreach (var other in _since.Keys.Where(name => !unused.Contains(name)).ToArray())
        {
            _since.Remove(other);
        }

        return [.. unused.Where(name => !_since.TryAdd(name, Environment.TickCount64) && Environment.TickCount64 - _since[name] >= after.TotalMilliseconds)];
    }
}
