using System.Globalization;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount;

/// <summary>What random tests begin with: <c>EPHEMERALFS_SEED</c>, which repeats a run, or a new one each time.</summary>
internal static class Seed
{
    /// <summary>Chooses it and writes it down.</summary>
    public static int Choose(ITestOutputHelper output)
    {
        int seed = Environment.GetEnvironmentVariable("EPHEMERALFS_SEED") is { Length: > 0 } text
            ? int.Parse(text, CultureInfo.InvariantCulture)
            : Environment.TickCount & int.MaxValue;
        output.WriteLine($"EPHEMERALFS_SEED={seed}");
        return seed;
    }
}
