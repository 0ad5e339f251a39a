using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Ops;
using EphemeralFs.Tests.Model.Trees;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>Where and how the two sides came apart.</summary>
/// <param name="Step">Index of the last operation that was run.</param>
public sealed record Divergence(int Step, string Message);

/// <summary>Runs a sequence on both sides, step by step.</summary>
public static class ModelRun
{
    private static readonly TreeOptions Whole = new() { FileTimes = TimeRule.Explicit, DirectoryTimes = TimeRule.Explicit, MaxReported = 10 };

    private static readonly TimeSpan Lag = TimeSpan.FromSeconds(5);

    /// <summary>The first difference between the sides, or null. Trees are compared whole after every so many steps, and at the end.</summary>
    /// <param name="compareEvery">Steps between comparisons of the whole trees.</param>
    public static Divergence? Find(World world, IReadOnlyList<Op> ops, int compareEvery) => world.InFreshTrees(pair => Find(pair, ops, compareEvery));

    private static Divergence? Find(Pair pair, IReadOnlyList<Op> ops, int compareEvery)
    {
        var coherence = new Coherence(pair, pair.SubjectTops.Count > 1);
        for (int step = 0; step < ops.Count; step++)
        {
            var op = ops[step];
            if (coherence.Before(op))
            {
                var expected = Apply(op, pair.Reference);
                var found = Apply(op, pair.Subject);
                for (var deadline = DateTime.UtcNow + Lag; expected != found && op.MayLag(expected, found) && DateTime.UtcNow < deadline;)
                {
                    // Nothing tells when a file in the background is released.
                    Thread.Sleep(1);
                    found = Apply(op, pair.Subject);
                }
                coherence.After();
                if (expected != found)
                {
                    return new Divergence(step, $"reference: {expected}\nsubject:   {found}");
                }
            }
            if ((step + 1) % compareEvery == 0 && Compare(pair, coherence) is { Length: > 0 } differences)
            {
                return new Divergence(step, differences);
            }
        }
        pair.Reference.CloseAll();
        pair.Subject.CloseAll();
        string atEnd = Compare(pair, coherence);
        return atEnd.Length > 0 ? new Divergence(ops.Count - 1, $"after closing all handles\n{atEnd}") : null;
    }

    private static Outcome Apply(Op op, Tree tree)
    {
        if (op.As == 0)
        {
            return op.Apply(tree);
        }
        Calls.ActAs(op.As);
        try
        {
            return op.Apply(tree);
        }
        finally
        {
            Calls.ActAs(0);
        }
    }

    private static string Compare(Pair pair, Coherence coherence)
    {
        coherence.BeforeComparison();
        var reference = TreeSnapshot.Read(pair.ReferenceTop, Whole);
        foreach (string top in pair.SubjectTops)
        {
            var subject = TreeSnapshot.Read(top, Whole, pair.Subject.Calls);
            string differences = TreeCompare.Differences(reference, subject, Whole, pair.Subject.Calls);
            if (differences.Length > 0)
            {
                return differences;
            }
        }
        return "";
    }
}
