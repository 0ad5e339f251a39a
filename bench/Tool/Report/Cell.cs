using EphemeralFs.Bench.Measure;

namespace EphemeralFs.Bench.Report;

/// <summary>One row of one system, over all rounds.</summary>
internal sealed class Cell(IReadOnlyList<Measurement> rounds)
{
    private readonly List<Measurement> _good = [.. rounds.Where(sample => sample.Failed is null)];

    /// <summary>Whether the row has values of this system.</summary>
    public bool HasValue => _good.Count > 0;

    public bool IsEmpty => rounds.Count == 0;

    public int GoodRounds => _good.Count;

    public int Rounds => rounds.Count;

    /// <summary>The first reason for a round without a value.</summary>
    public string? Failure => rounds.FirstOrDefault(sample => sample.Failed is not null)?.Failed;

    public double Median => Statistics.Median([.. _good.Select(sample => sample.Value!.Value)]);

    /// <summary>(largest - smallest) / median over the rounds: what differences between systems must exceed to mean anything.</summary>
    public double Spread
    {
        get
        {
            double[] values = [.. _good.Select(sample => sample.Value!.Value)];
            return (values.Max() - values.Min()) / Median;
        }
    }

    /// <summary>All hand-overs of all rounds together; empty for other rows.</summary>
    public IReadOnlyList<double> Latencies => [.. _good.SelectMany(sample => sample.LatenciesMicroseconds ?? [])];

    /// <summary>As <see cref="Latencies"/>, with the writing.</summary>
    public IReadOnlyList<double> Wholes => [.. _good.SelectMany(sample => sample.WholeMicroseconds ?? [])];

    public int Stale => _good.Sum(sample => sample.Stale ?? 0);

    /// <summary>Median over the rounds of what an operation took: wall and the CPU of each part, in microseconds.</summary>
    public (double Wall, double Program, double Client, double Server) PerOperation => (
        PerOperationOf(sample => sample.WallSeconds),
        PerOperationOf(sample => sample.ProgramCpuSeconds),
        PerOperationOf(sample => sample.ClientCpuSeconds),
        PerOperationOf(sample => sample.ServerCpuSeconds));

    private double PerOperationOf(Func<Measurement, double> seconds) => Statistics.Median([.. _good.Select(sample => seconds(sample) * 1e6 / sample.Operations)]);
}
