using System.Globalization;
using System.Text;
using EphemeralFs.Tests.Model.Ops;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>
/// A whole check: seed → sequence → run → on failure shrink and report. <c>EPHEMERALFS_SEED</c> and <c>EPHEMERALFS_STEPS</c> override
/// seed and length; <c>EPHEMERALFS_REPLAY</c> names a file with a printed sequence that is run instead.
/// </summary>
public sealed class ModelCheck(World world, GeneratorOptions options)
{
    public int CompareEvery { get; init; } = 100;

    public TimeSpan ShrinkBudget { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>A report with the shrunk sequence, or an empty text when both sides agreed.</summary>
    public string Run(ulong seed, int steps)
    {
        seed = Number("EPHEMERALFS_SEED", seed);
        steps = (int)Number("EPHEMERALFS_STEPS", (ulong)steps);
        string? replay = Environment.GetEnvironmentVariable("EPHEMERALFS_REPLAY");
        return Run(replay is null ? new OpGenerator(seed, options).Sequence(steps) : OpText.Read(File.ReadAllText(replay)),
            $"EPHEMERALFS_SEED={seed} EPHEMERALFS_STEPS={steps}");
    }

    /// <summary>As above for a given sequence, which <paramref name="name"/> describes in the report.</summary>
    public string Run(IReadOnlyList<Op> ops, string name)
    {
        var first = ModelRun.Find(world, ops, CompareEvery);
        if (first is null)
        {
            return "";
        }
        var shrinker = new Shrinker(world, ShrinkBudget);
        var (shrunk, failure) = shrinker.Shrink([.. ops.Take(first.Step + 1)]);
        var report = new StringBuilder();
        report.AppendLine(CultureInfo.InvariantCulture, $"The subject differs from the reference at step {first.Step + 1} of {ops.Count} ({name}).");
        report.AppendLine("First seen as:").AppendLine(first.Message);
        if (failure is null)
        {
            report.AppendLine("Running the same operations again showed no difference: the failure depends on time, or on the trees being compared in between.");
            report.AppendLine("The last operations were:").Append(OpText.Write(ops.Take(first.Step + 1).TakeLast(30)));
            return report.ToString();
        }
        report.AppendLine(CultureInfo.InvariantCulture, $"Shrunk to {shrunk.Count} operations in {shrinker.Runs} runs; save these lines and set EPHEMERALFS_REPLAY to the file:");
        report.Append(OpText.Write(shrunk)).AppendLine("which gives:").AppendLine(failure.Message);
        return report.ToString();
    }

    private static ulong Number(string variable, ulong otherwise)
    {
        string? text = Environment.GetEnvironmentVariable(variable);
        return text is null ? otherwise
            : ulong.TryParse(text, CultureInfo.InvariantCulture, out ulong value) ? value
            : throw new FormatException($"{variable} is not a number: {text}");
    }
}
