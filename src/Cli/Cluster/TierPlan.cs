using EphemeralFs.Core;
using EphemeralFs.Hosting;

namespace EphemeralFs.Cli.Cluster;

/// <summary>A tier as it is written on the command line: <c>CLASS=PATH:SIZE</c>.</summary>
/// <param name="Class">dram, nvme, ssd, hdd or null.</param>
/// <param name="Path">Directory, absolute; "" for null.</param>
/// <param name="CapacityBytes">What it may hold.</param>
internal sealed record TierSpec(TierClass Class, string Path, long CapacityBytes)
{
    /// <summary>What is wrong with the text, or null; for option checks.</summary>
    public static string? Error(string text) => TryParse(text, out _, out var error) ? null : error;

    public static bool TryParse(string text, out TierSpec tier, out string error)
    {
        tier = new TierSpec(TierClass.None, "", 0);
        error = "is no tier: give CLASS=PATH:SIZE, such as dram=/dev/shm/tier:4G";
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        var colon = text.LastIndexOf(':');
        if (equals <= 0 || colon <= equals)
        {
            return false;
        }

        if (!Enum.TryParse<TierClass>(text[..equals], ignoreCase: true, out var kind) || !char.IsAsciiLetter(text[0])
            || kind is TierClass.None or TierClass.Object)
        {
            error = $"has the unknown class '{text[..equals]}': use dram, nvme, ssd, hdd or null";
            return false;
        }

        if (!ByteSize.TryParse(text[(colon + 1)..], out var size) || size == 0)
        {
            error = $"has '{text[(colon + 1)..]}' for a size: give a number with K, M, G or T, such as 4G";
            return false;
        }

        var path = text[(equals + 1)..colon];
        if (path.Length == 0 && kind != TierClass.Null)
        {
            return false;
        }

        tier = new TierSpec(kind, path.Length == 0 ? "" : System.IO.Path.GetFullPath(path), size);
        return true;
    }

    public override string ToString() => $"{Class.ToString().ToLowerInvariant()}={Path}:{CapacityBytes}";
}

/// <summary>Which storage server gets which tiers.</summary>
/// <param name="Servers">The tiers of each server, in order.</param>
/// <param name="Owned">Directories that are made for this cluster outside its state directory, and go with it.</param>
/// <param name="Made">All directories that have to be made.</param>
internal sealed record TierPlan(IReadOnlyList<IReadOnlyList<TierSpec>> Servers, IReadOnlyList<string> Owned, IReadOnlyList<string> Made)
{
    /// <summary>Below this a tier is of no use: a few blocks.</summary>
    private const long MinBytes = 64L << 20;

    /// <summary>Name of a storage server, from 0.</summary>
    public static string ServerName(int index) => $"storage-{index + 1}";

    /// <summary>Deals the tiers out: each server gets every N-th; when there are more servers than tiers, several share one and its capacity.</summary>
    /// <param name="paths">Of the cluster.</param>
    /// <param name="given">Tiers from the command line; none: a dram tier on /dev/shm and an ssd tier in the state directory.</param>
    /// <param name="servers">Number of storage servers.</param>
    /// <param name="capacityBytes">Of the default tiers together; 0: what memory and disk allow.</param>
    public static TierPlan Make(ClusterPaths paths, IReadOnlyList<TierSpec> given, int servers, long capacityBytes)
    {
        var tiers = given.Count > 0 ? given : Defaults(paths, capacityBytes);
        var plan = new List<TierSpec>?[servers];
        var owned = new List<string>();
        var made = new List<string>();
        for (var i = 0; i < Math.Max(servers, tiers.Count); i++)
        {
            var (server, tier) = (i % servers, tiers[i % tiers.Count]);
            var sharers = servers <= tiers.Count ? 1 : (servers - (i % tiers.Count) + tiers.Count - 1) / tiers.Count;
            var path = tier.Path;
            if (given.Count == 0)
            {
                path = System.IO.Path.Combine(path.Length == 0 ? paths.State : path, ServerName(server));
                path = tier.Class == TierClass.Dram ? path : System.IO.Path.Combine(path, "ssd");
                made.Add(path);
            }
            else if (tier.Class != TierClass.Null)
            {
                if (!Directory.Exists(tier.Path))
                {
                    throw new StartupException($"--tier {tier}: the directory {tier.Path} does not exist: create it (mkdir -p {tier.Path})");
                }

                // Below what was given, so that all of it can go without touching what is not ours.
                path = System.IO.Path.Combine(tier.Path, $"ephemeralfs-{paths.Id}-{ServerName(server)}-{tier.Class.ToString().ToLowerInvariant()}{(servers < tiers.Count ? i : 0)}");
                owned.Add(path);
                made.Add(path);
            }

            (plan[server] ??= []).Add(tier with { Path = path, CapacityBytes = tier.CapacityBytes / sharers });
        }

        return new TierPlan([.. plan.Select(server => server ?? [])], owned, made);
    }

    private static IReadOnlyList<TierSpec> Defaults(ClusterPaths paths, long capacityBytes)
    {
        var memory = new DriveInfo("/dev/shm").AvailableFreeSpace;
        var disk = new DriveInfo(paths.State).AvailableFreeSpace;
        var available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        // A quarter of the memory, so that programs keep theirs; half of the disk.
        var dram = Math.Max(MinBytes, Math.Min(memory / 2, available / 4));
        var ssd = Math.Max(MinBytes, disk / 2);
        if (capacityBytes > 0)
        {
            dram = Math.Min(dram, capacityBytes / 2);
            ssd = capacityBytes - dram;
        }

        return [new(TierClass.Dram, paths.Dram, dram), new(TierClass.Ssd, "", ssd)];
    }
}
