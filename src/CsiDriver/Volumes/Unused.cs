using EphemeralFs.Core;
using EphemeralFs.CsiDriver.Cluster;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>Since when volumes have been of no use to anybody, as far as this plugin has seen. For one caller.</summary>
/// <param name="after">After this time they may be deleted.</param>
/// <param name="time">The clock.</param>
internal sealed class Unused(TimeSpan after, TimeProvider time)
{
    /// <summary>Who asks every minute and comes so late had no cluster to ask, and nobody could publish meanwhile: all times begin anew.</summary>
    private const long GapMs = 90_000;

    private readonly Dictionary<string, long> _since = new(StringComparer.Ordinal); // milliseconds
    private long _asked = time.NowMs();

    /// <summary>The volumes that are unused now: those that have been so for long enough. A volume that is not named is used.</summary>
    public IReadOnlyList<string> For(IEnumerable<string> names)
    {
        var now = time.NowMs();
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

    /// <summary>Deletes a volume that nobody has mounted; whether it did.</summary>
    public async Task<bool> RemoveAsync(ControllerClient cluster, string name, CancellationToken cancellation)
    {
        try
        {
            return await cluster.RemoveAsync(name, force: false, cancellation).ConfigureAwait(false);
        }
        catch (GrpcException e) when (e.Code == GrpcStatusCode.Unavailable)
        {
            // Its server does not answer, so that it cannot be published either: its time begins anew.
            _since.Remove(name);
            return false;
        }
    }
}
