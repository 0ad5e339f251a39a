namespace EphemeralFs.Bench.Measure;

/// <summary>Medians and quantiles of samples.</summary>
internal static class Statistics
{
    public static double Median(IReadOnlyCollection<double> samples) => Quantile(samples, 0.5);

    /// <summary>By linear interpolation between the two samples next to the quantile.</summary>
    public static double Quantile(IReadOnlyCollection<double> samples, double quantile)
    {
        if (samples.Count == 0)
        {
            throw new BenchException("there are no samples");
        }

        double[] sorted = [.. samples.Order()];
        double position = quantile * (sorted.Length - 1);
        int below = (int)position;
        int above = Math.Min(below + 1, sorted.Length - 1);
        return sorted[below] + ((sorted[above] - sorted[below]) * (position - below));
    }
}
