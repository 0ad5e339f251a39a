namespace EphemeralFs.Bench.Measure;

/// <summary>One measured row of one system in one round, or the reason why there is none. A line of <c>samples.jsonl</c>.</summary>
/// <param name="System">The system's name, as in <c>bench/systems</c>.</param>
/// <param name="Round">Counted from 1.</param>
/// <param name="Row">An id of <see cref="RowTable"/>.</param>
internal sealed record Measurement(string System, int Round, string Row)
{
    /// <summary>In the row's unit; null if the row failed.</summary>
    public double? Value { get; init; }

    /// <summary>Operations behind the value (calls, files, requests or hand-overs).</summary>
    public long Operations { get; init; }

    /// <summary>Measured time only, without preparing and verifying.</summary>
    public double WallSeconds { get; init; }

    /// <summary>CPU of the programs that use the file system.</summary>
    public double ProgramCpuSeconds { get; init; }

    /// <summary>CPU of the system's processes on the nodes (FUSE daemons).</summary>
    public double ClientCpuSeconds { get; init; }

    /// <summary>CPU of the system's servers.</summary>
    public double ServerCpuSeconds { get; init; }

    /// <summary>Every hand-over's time in microseconds: from the call of close on A to the last byte read on B.</summary>
    public double[]? LatenciesMicroseconds { get; init; }

    /// <summary>The same hand-overs from the opening on A on, so with the writing.</summary>
    public double[]? WholeMicroseconds { get; init; }

    /// <summary>Hand-overs in which the reader got old, mixed or no content before it got the right one.</summary>
    public int? Stale { get; init; }

    /// <summary>Why there is no value.</summary>
    public string? Failed { get; init; }
}
