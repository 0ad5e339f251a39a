namespace EphemeralFs.Tests.Model.Trees;

/// <summary>Which modification times two trees must share.</summary>
public enum TimeRule
{
    /// <summary>None: the programs set no times.</summary>
    Ignore,

    /// <summary>Those a test set (<see cref="Native.Time.IsExplicit"/>) exactly; the others must be the clock's on both sides.</summary>
    Explicit,

    /// <summary>All, to the nanosecond: the program restores times.</summary>
    Exact,
}

/// <summary>What a comparison looks at, and how many differences it reports.</summary>
public sealed record TreeOptions
{
    public TimeRule FileTimes { get; init; } = TimeRule.Ignore;

    public TimeRule DirectoryTimes { get; init; } = TimeRule.Ignore;

    public bool Xattrs { get; init; } = true;

    public bool Owners { get; init; } = true;

    /// <summary>Paths (byte text, relative to the root) for which this is true are left out, with all that is below.</summary>
    public Func<string, bool> Skip { get; init; } = _ => false;

    public int MaxReported { get; init; } = 20;
}
