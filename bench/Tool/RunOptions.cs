namespace EphemeralFs.Bench;

/// <summary>What <c>ephemeralfs-bench run GROUP</c> was asked to do.</summary>
internal sealed record RunOptions
{
    public required string Group { get; init; }

    public required string System { get; init; }

    public required int Round { get; init; }

    /// <summary>Smaller counts, to test the harness and not the systems.</summary>
    public bool Quick { get; init; }

    /// <summary>The mount of the first node; empty for Redis.</summary>
    public string A { get; init; } = "";

    /// <summary>The mount of the second node.</summary>
    public string B { get; init; } = "";

    /// <summary>The unix socket of a Redis server, for the rows that move values.</summary>
    public string? Redis { get; init; }

    /// <summary>Where <c>fixtures</c> put the trees and sources, outside of the measured system.</summary>
    public string Fixtures { get; init; } = "";

    public IReadOnlyList<int> ClientPids { get; init; } = [];

    public IReadOnlyList<int> ServerPids { get; init; } = [];

    /// <summary>Row and group names; empty means all.</summary>
    public IReadOnlyList<string> Rows { get; init; } = [];

    public static RunOptions Parse(Arguments arguments) => new()
    {
        Group = arguments.Positional(0, "GROUP"),
        System = arguments.Required("system"),
        Round = arguments.Number("round", 1),
        Quick = arguments.Flag("quick"),
        A = arguments.Optional("a") ?? "",
        B = arguments.Optional("b") ?? arguments.Optional("a") ?? "",
        Redis = arguments.Optional("redis"),
        Fixtures = arguments.Optional("fixtures") ?? "",
        ClientPids = arguments.Numbers("client"),
        ServerPids = arguments.Numbers("server"),
        Rows = arguments.List("rows"),
    };

    public bool Wants(string row) => RowTable.Selects(Rows, RowTable.Find(row));

    /// <summary>A work directory of this group and round under the first mount; the same name exists under the second.</summary>
    public string WorkName => $"bench-{Group}-{Round}";

    public int Scaled(int full, int quick) => Quick ? quick : full;
}
