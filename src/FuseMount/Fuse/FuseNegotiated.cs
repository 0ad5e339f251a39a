namespace EphemeralFs.FuseMount.Fuse;

/// <summary>What INIT agreed on. Kept beside the descriptors, because a daemon that takes them over is not told again.</summary>
/// <param name="Minor">Minor protocol version spoken by both sides.</param>
/// <param name="Flags">Agreed <see cref="FuseInitFlags"/>.</param>
/// <param name="MaxWriteBytes">Largest WRITE payload.</param>
/// <param name="MaxReadaheadBytes">Largest read-ahead of the kernel.</param>
/// <param name="MaxPages">Largest request, pages of 4096 bytes.</param>
/// <param name="MaxBackground">Background requests (read-ahead, write-back, asynchronous) in flight before the kernel queues.</param>
/// <param name="CongestionThreshold">Background requests at which the kernel calls the device congested.</param>
/// <param name="TimeGranularityNs">Granularity of time stamps.</param>
/// <param name="MaxStackDepth">Stacking depth allowed for passthrough backing files; 0 without passthrough.</param>
public sealed record FuseNegotiated(
    uint Minor,
    FuseInitFlags Flags,
    int MaxWriteBytes,
    int MaxReadaheadBytes,
    int MaxPages,
    int MaxBackground,
    int CongestionThreshold,
    int TimeGranularityNs,
    int MaxStackDepth)
{
    /// <summary>Whether a feature was agreed.</summary>
    public bool Has(FuseInitFlags flag) => (Flags & flag) == flag;
}
