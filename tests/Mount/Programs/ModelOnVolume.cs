using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>The model-based differential test against the volume. <c>EPHEMERALFS_SEED</c> and <c>EPHEMERALFS_STEPS</c> choose the run.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class ModelOnVolume(VolumeFixture volume) : IDisposable
{
    private const int Steps = 3000;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void One_node_agrees_with_tmpfs(ulong seed) => Check(new GeneratorOptions(), null, volume.First).MustAgree(seed, Steps);

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    public void Two_nodes_by_turns_agree_with_tmpfs(ulong seed) =>
        Check(new GeneratorOptions { Nodes = 2 }, null, volume.First, volume.Second).MustAgree(seed, Steps);

    [Fact]
    public void It_agrees_across_remounts() => Check(new GeneratorOptions { Remounts = volume.OwnsMounts }, volume.OwnsMounts ? volume.RemountSecond : null, volume.Second)
        .MustAgree(5, Steps);

    /// <summary>As long as <c>EPHEMERALFS_SOAK_SECONDS</c> says, a new seed each round.</summary>
    [Fact]
    [Trait("Category", "Soak")]
    public void A_long_run_agrees_with_tmpfs()
    {
        double seconds = double.Parse(Environment.GetEnvironmentVariable("EPHEMERALFS_SOAK_SECONDS") ?? "3600", CultureInfo.InvariantCulture);
        ulong seed = (ulong)DateTimeOffset.UtcNow.ToUnixTimeSeconds() * 1000;
        var clock = Stopwatch.StartNew();
        do
        {
            var check = seed % 2 == 0 ? Check(new GeneratorOptions(), null, volume.First) : Check(new GeneratorOptions { Nodes = 2 }, null, volume.First, volume.Second);
            check.MustAgree(seed++, Steps);
        }
        while (clock.Elapsed.TotalSeconds < seconds);
    }

    public void Dispose() => volume.UnmountSecond();

    private Checked Check(GeneratorOptions options, Action? remount, params string[] subjects) => new(new ModelCheck(volume.World(remount, subjects), options));

    private sealed record Checked(ModelCheck Model)
    {
        internal void MustAgree(ulong seed, int steps)
        {
            string report = Model.Run(seed, steps);
            Assert.True(report.Length == 0, report);
        }
    }
}
