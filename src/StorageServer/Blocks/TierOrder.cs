using EphemeralFs.Core;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.StorageServer.Blocks;

/// <summary>Which tiers to try for a block, in groups of one class: the preferred class, then the nearest slower ones, then the nearest faster ones.</summary>
/// <remarks>A null tier loses data, so it is tried only for blocks that ask for it.</remarks>
internal sealed class TierOrder
{
    private readonly Dictionary<TierClass, int[][]> _orders = [];

    public TierOrder(IReadOnlyList<ITier> tiers)
    {
        foreach (var preferred in Enum.GetValues<TierClass>())
        {
            var wanted = preferred == TierClass.None ? TierClass.Dram : preferred;
            _orders[preferred] = [.. Enumerable.Range(0, tiers.Count)
                .Where(i => tiers[i].Class != TierClass.Null || wanted == TierClass.Null)
                .GroupBy(i => tiers[i].Class)
                .OrderBy(group => Distance(wanted, group.Key))
                .Select(group => group.ToArray())];
        }
    }

    /// <summary>Groups of tier indices for a class; false when there is no such class.</summary>
    public bool TryGet(TierClass preferred, out int[][] groups) => _orders.TryGetValue(preferred, out groups!);

    private static int Distance(TierClass wanted, TierClass tier) =>
        tier >= wanted ? tier - wanted : 256 + (wanted - tier);
}
