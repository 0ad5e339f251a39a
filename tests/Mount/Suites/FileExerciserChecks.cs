using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Suites;

/// <summary>
/// Random work on one file, see <see cref="FileExerciser"/>. <c>EPHEMERALFS_EXERCISE_STEPS</c> sets the steps of each run (default 600),
/// <c>EPHEMERALFS_EXERCISE_SEED</c> the first seed (default 1).
/// </summary>
public abstract class FileExerciserChecks(ITestTarget target) : PosixChecks(target)
{
    private static int Setting(string name, int otherwise) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } text
            ? int.Parse(text, System.Globalization.CultureInfo.InvariantCulture)
            : otherwise;

    [Theory]
    [InlineData(10_000, 3_000)] // inline in a record
    [InlineData(262_144, 65_536)]
    [InlineData(5_000_000, 1_500_000)] // many blocks
    [InlineData(40_000_000, 200_000)] // sparse
    public void AFileBehavesAsAnArrayOfBytes(int maxSize, int maxOperation)
    {
        int seed = Setting("EPHEMERALFS_EXERCISE_SEED", 1);
        using var exerciser = new FileExerciser(P("file"), seed, maxSize, maxOperation);
        exerciser.Run(Setting("EPHEMERALFS_EXERCISE_STEPS", 600));
    }

    [Fact]
    public void FourFilesAtOnce()
    {
        int seed = Setting("EPHEMERALFS_EXERCISE_SEED", 1);
        int steps = Setting("EPHEMERALFS_EXERCISE_STEPS", 600) / 2;
        Parallel.For(0, 4, i =>
        {
            using var exerciser = new FileExerciser(P($"file{i}"), seed + 100 + i, 600_000, 100_000);
            exerciser.Run(steps);
        });
    }
}
