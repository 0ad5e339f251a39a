using System.Diagnostics;
using EphemeralFs.Tests.Model.Ops;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>
/// Makes a failing sequence small: first by leaving out operations (delta debugging, Zeller and Hildebrandt 2002), then by
/// making those that remain simpler. Bounded by runs and time, because each attempt is a run on the real thing.
/// </summary>
public sealed class Shrinker(World world, TimeSpan budget, int maxRuns = 2000)
{
    private readonly Stopwatch clock = Stopwatch.StartNew();

    /// <summary>Runs tried so far.</summary>
    public int Runs { get; private set; }

    /// <summary>The smallest failing sequence found, and its failure; the original if nothing smaller fails.</summary>
    public (IReadOnlyList<Op> Ops, Divergence? Failure) Shrink(IReadOnlyList<Op> failing)
    {
        var current = failing.ToList();
        var failure = Try(current);
        if (failure is null)
        {
            return (failing, null);
        }
        ShortenEnd(ref current, ref failure);
        for (int size = current.Count / 2; size >= 1 && HasBudget;)
        {
            bool smaller = LeaveOut(ref current, ref failure, size);
            size = size == 1 && !smaller ? 0 : Math.Max(1, size / 2);
        }
        Simplify(current, ref failure);
        while (HasBudget && LeaveOut(ref current, ref failure, 1))
        {
        }
        return (current, failure);
    }

    private bool HasBudget => Runs < maxRuns && clock.Elapsed < budget;

    /// <summary>Where a comparison of whole trees found the failure, it came about somewhere before: the shortest beginning that fails, by halving.</summary>
    private void ShortenEnd(ref List<Op> current, ref Divergence failure)
    {
        int passes = 0;
        while (current.Count - passes > 1 && HasBudget)
        {
            var half = current[..((passes + current.Count) / 2)];
            if (Try(half) is { } found)
            {
                (current, failure) = (Cut(half, found), found);
            }
            else
            {
                passes = half.Count;
            }
        }
    }

    /// <summary>Leaves out every run of so many operations that is not needed, the last first; true if there was one.</summary>
    private bool LeaveOut(ref List<Op> current, ref Divergence failure, int size)
    {
        bool smaller = false;
        for (int start = current.Count - size; start > -size && current.Count > 1 && HasBudget; start -= size)
        {
            int from = Math.Max(0, start), to = start + size;
            if (to > current.Count)
            {
                continue;
            }
            var candidate = current.Where((_, index) => index < from || index >= to).ToList();
            if (candidate.Count > 0 && Try(candidate) is { } found)
            {
                (current, failure, smaller) = (Cut(candidate, found), found, true);
            }
        }
        return smaller;
    }

    private void Simplify(List<Op> current, ref Divergence failure)
    {
        for (bool changed = true; changed && HasBudget;)
        {
            changed = false;
            for (int i = 0; i < current.Count && HasBudget; i++)
            {
                foreach (var simpler in current[i].Simpler())
                {
                    var candidate = current.ToList();
                    candidate[i] = simpler;
                    if (HasBudget && Try(candidate) is { } found)
                    {
                        current[i] = simpler;
                        (failure, changed) = (found, true);
                        break;
                    }
                }
            }
        }
    }

    /// <summary>What comes after the failing step is not needed.</summary>
    private static List<Op> Cut(List<Op> ops, Divergence failure) => ops.Count > failure.Step + 1 ? ops[..(failure.Step + 1)] : ops;

    private Divergence? Try(List<Op> ops)
    {
        Runs++;
        // Short sequences are compared often, so that the failing step is the guilty one.
        return ModelRun.Find(world, ops, compareEvery: ops.Count <= 40 ? 1 : int.MaxValue);
    }
}
