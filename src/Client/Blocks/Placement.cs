using EphemeralFs.Core;

namespace EphemeralFs.Client.Blocks;

/// <summary>Where new blocks of a volume go. May change at any time.</summary>
public sealed class Placement
{
    private volatile TierClass _tier;

    /// <summary>The tier that takes them while it has room; None: the fastest with room.</summary>
    public TierClass Tier
    {
        get => _tier;
        set => _tier = value;
    }
}
