using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.CsiDriver.Volumes;

/// <summary>One call for a thing at a time: a second one is ABORTED, and its caller tries again (CSI specification, "Error Scheme").</summary>
internal sealed class PendingCalls
{
    /// <summary>The places of each volume for which calls are pending; "" for all of it.</summary>
    private readonly Dictionary<string, HashSet<string>> _pending = new(StringComparer.Ordinal); // guards itself

    /// <summary>Begins; dispose at the end.</summary>
    /// <param name="volume">What the call is for.</param>
    /// <param name="place">The place there that it is for: calls for other places of the volume may be pending. "" for all of it.</param>
    public IDisposable Begin(string volume, string place = "") => TryBegin(volume, place) ?? throw new GrpcException(GrpcStatusCode.Aborted, $"another call for {volume} is pending");

    /// <summary>As <see cref="Begin"/>; null when a call is pending.</summary>
    public IDisposable? TryBegin(string volume, string place = "")
    {
        lock (_pending)
        {
            if (!_pending.TryGetValue(volume, out var places))
            {
                _pending.Add(volume, places = new(StringComparer.Ordinal));
            }
            else if (place.Length == 0 || places.Contains(""))
            {
                return null;
            }

            return places.Add(place) ? new Call(this, volume, place) : null;
        }
    }

    private void End(string volume, string place)
    {
        lock (_pending)
        {
            var places = _pending[volume];
            places.Remove(place);
            if (places.Count == 0)
            {
                _pending.Remove(volume);
            }
        }
    }

    private sealed class Call(PendingCalls calls, string volume, string place) : IDisposable
    {
        public void Dispose() => calls.End(volume, place);
    }
}
