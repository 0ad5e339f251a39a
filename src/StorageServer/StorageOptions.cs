using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.StorageServer.Tiers;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.StorageServer;

/// <summary>How a storage server is set up.</summary>
public sealed record StorageOptions
{
    /// <summary>Where it serves.</summary>
    public required Endpoint Endpoint { get; init; }

    /// <summary>Its tiers, at least one. Directories must exist.</summary>
    public required IReadOnlyList<TierOptions> Tiers { get; init; }

    /// <summary>Holds the lock file that keeps a second server of the same name away; made when missing.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>Name of the server, 1 … 63 characters a-z 0-9 . _ -; its tiers belong to this name.</summary>
    public required string Name { get; init; }

    /// <summary>Compare bytes with their checksums before they are sent, not only at the reader: finds bad media, costs a pass over the data.</summary>
    public bool VerifyOnRead { get; init; }

    /// <summary>For log lines.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>Throws <see cref="ArgumentException"/> with one line that says what is wrong.</summary>
    internal void Validate()
    {
        if (Name.Length is 0 or > 63 || !Name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '.' or '_' or '-'))
        {
            throw new ArgumentException($"storage server name '{Name}': use 1 to 63 characters of a-z 0-9 . _ -");
        }

        if (Tiers.Count == 0)
        {
            throw new ArgumentException("a storage server needs a tier, such as dram=/dev/shm/tier:1G");
        }

        foreach (var tier in Tiers)
        {
            if (tier.Class is not (TierClass.Dram or TierClass.Nvme or TierClass.Ssd or TierClass.Hdd or TierClass.Null))
            {
                throw new ArgumentException($"tier class {tier.Class.ToString().ToLowerInvariant()}: a storage server has dram, nvme, ssd, hdd and null");
            }

            if (tier.CapacityBytes < Limits.BlockSizeBytes * 2)
            {
                throw new ArgumentException($"tier {tier.Path}: {ByteSize.Format(tier.CapacityBytes)} is too small; give it at least 2 MiB");
            }

            if (tier.Class != TierClass.Null && !Path.IsPathRooted(tier.Path))
            {
                throw new ArgumentException($"tier {tier.Path}: give the absolute path of a directory");
            }
        }
    }
}
