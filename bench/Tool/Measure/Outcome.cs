namespace EphemeralFs.Bench.Measure;

/// <summary>What a row's body reports; <see cref="RowRunner"/> adds names and CPU.</summary>
/// <param name="Value">In the row's unit.</param>
/// <param name="Operations">Operations behind the value.</param>
/// <param name="WallNanoseconds">Measured time.</param>
internal sealed record Outcome(double Value, long Operations, long WallNanoseconds)
{
    /// <summary>CPU of the programs if they are not this process; null means: this process's own, measured by the runner.</summary>
    public double? ProgramCpuSeconds { get; init; }

    public double[]? LatenciesMicroseconds { get; init; }

    public double[]? WholeMicroseconds { get; init; }

    public int? Stale { get; init; }

    public static Outcome Rate(long operations, long wallNanoseconds) => new(operations * 1e9 / wallNanoseconds, operations, wallNanoseconds);

    /// <summary>MB/s, a megabyte being 10^6 bytes.</summary>
    public static Outcome Throughput(long bytes, long requests, long wallNanoseconds) => new(bytes * 1e3 / wallNanoseconds, requests, wallNanoseconds);

    public static Outcome Duration(long wallNanoseconds) => new(wallNanoseconds / 1e9, 1, wallNanoseconds);
}
