using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Leases;

/// <summary>What the server allowed to be cached of an answer, and when it was asked.</summary>
/// <param name="Sequence">Recalls that had come when it was asked: a later one of the same object makes the answer worthless for caching.</param>
/// <param name="AskedMs">Milliseconds of the monotonic clock.</param>
/// <param name="Granted">Flags of the answer.</param>
public readonly record struct LeaseOffer(long Sequence, long AskedMs, FrameFlags Granted)
{
    /// <summary>Nothing may be cached.</summary>
    public static readonly LeaseOffer None;

    /// <summary>With the flags of the answer.</summary>
    public LeaseOffer With(FrameFlags granted) => this with { Granted = granted };
}
