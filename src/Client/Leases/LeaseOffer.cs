using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Leases;

/// <summary>What the server allowed to be cached of an answer, and when it was asked.</summary>
/// <param name="Sequence">Recalls that had come when it was asked: a later one of the same object makes the answer worthless for caching.</param>
/// <param name="AskedMs">Milliseconds of the monotonic clock.</param>
/// <param name="Granted">Flags of the answer.</param>
public readonly record struct LeaseOffer(long Sequence, long AskedMs, FrameFlags Granted)
{
    /// <summary>For how many milliseconds at most the kernel may be told something; less than the lease lasts when the node had it for a while.</summary>
    public int MaxMs { get; init; } = int.MaxValue;

    /// <summary>Nothing may be cached.</summary>
    public static readonly LeaseOffer None;

    /// <summary>Of a question that a predecessor may have asked: it may have obeyed recalls since of which nothing is known here.</summary>
    public static readonly LeaseOffer Old = new(-1, 0, FrameFlags.None);

    /// <summary>With the flags of the answer.</summary>
    public LeaseOffer With(FrameFlags granted) => this with { Granted = granted };

    /// <summary>With what another offer, made after this one, allows besides; the shorter time counts.</summary>
    public LeaseOffer And(in LeaseOffer later) => this with { Granted = Granted | later.Granted, MaxMs = Math.Min(MaxMs, later.MaxMs) };
}
