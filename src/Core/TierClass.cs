namespace EphemeralFs.Core;

/// <summary>The kind of medium behind a tier, fastest first.</summary>
public enum TierClass : byte
{
    None = 0,

    /// <summary>A directory on tmpfs.</summary>
    Dram = 1,
    Nvme = 2,
    Ssd = 3,
    Hdd = 4,

    /// <summary>An S3 store.</summary>
    Object = 5,

    /// <summary>Swallows writes and reads zeros: measures everything above storage.</summary>
    Null = 15,
}
