namespace EphemeralFs.Bench;

/// <summary>One line of the table.</summary>
/// <param name="Id">What <c>--rows</c> and the samples say.</param>
/// <param name="Group">The rows that one run of the tool measures over the same files.</param>
/// <param name="Section">The heading under which the table shows it.</param>
/// <param name="Title">What the table shows.</param>
/// <param name="Unit">Of the value.</param>
/// <param name="HigherIsBetter">False for times.</param>
/// <param name="Values">Whether a store of values (Redis) has this row too.</param>
internal sealed record Row(string Id, string Group, string Section, string Title, string Unit, bool HigherIsBetter, bool Values = false)
{
    /// <summary>Names the row without its section's heading above it.</summary>
    public string Label => $"{Section}: {Title}";
}

/// <summary>Every row that exists, in the order of the table. The only place where rows are named.</summary>
internal static class RowTable
{
    public const string Rate = "ops/s";
    public const string Files = "files/s";
    public const string MegabytesPerSecond = "MB/s";
    public const string Seconds = "s";
    public const string Microseconds = "µs";

    public static readonly Dictionary<string, long> SmallSizes = new() { ["1k"] = 1 << 10, ["10k"] = 10 << 10, ["100k"] = 100 << 10, ["1m"] = 1 << 20 };

    public static readonly Dictionary<string, long> HandOverSizes = new() { ["1k"] = 1 << 10, ["1m"] = 1 << 20, ["64m"] = 64 << 20 };

    public static readonly Dictionary<string, long> RequestSizes = new() { ["128k"] = 128 << 10, ["1m"] = 1 << 20 };

    public static readonly IReadOnlyList<Row> All = [.. Make()];

    public static Row Find(string id) => All.First(row => row.Id == id);

    /// <summary>Whether a <c>--rows</c> list (row ids, group names; empty means everything) asks for this row.</summary>
    public static bool Selects(IReadOnlyList<string> wanted, Row row) => wanted.Count == 0 || wanted.Contains(row.Id) || wanted.Contains(row.Group);

    /// <summary>The rows of a group that a kind of system has.</summary>
    public static IEnumerable<Row> OfGroup(string group, bool values) => All.Where(row => row.Group == group && (row.Values || !values));

    private static IEnumerable<Row> Make() => [.. Metadata(1), .. Metadata(4), .. SmallFiles(), .. Streams(), .. HandOvers(), .. Programs()];

    private static IEnumerable<Row> Metadata(int processes)
    {
        string group = $"metadata-{processes}";
        string section = processes == 1 ? "Metadata, 1 process" : $"Metadata, {processes} processes";
        (string Id, string Title)[] rows =
        [
            ("create", "create + close"), ("stat", "stat, cached"), ("stat-cold", "stat, kernel caches dropped"), ("open", "open + close"),
            ("list", "list, entries"), ("list-stat", "list + stat of each, entries"), ("list-stat-cold", "list + stat of each, caches dropped"),
            ("rename", "rename"), ("unlink", "unlink"), ("mkdir", "mkdir"), ("rmdir", "rmdir"),
        ];
        return rows.Select(row => new Row($"{row.Id}-{processes}", group, section, row.Title, Rate, HigherIsBetter: true));
    }

    private static IEnumerable<Row> SmallFiles() => SmallSizes.Keys.SelectMany(size =>
    {
        (string Id, string Title)[] rows = [("write", "create + write + close"), ("read-cold", "open + read + close, caches dropped"), ("read", "open + read + close, again")];
        return rows.Select(row => new Row($"{row.Id}-{size}", $"small-{size}", "Small files", $"{Spoken(size)}: {row.Title}", Files, HigherIsBetter: true, Values: true));
    });

    private static IEnumerable<Row> Streams()
    {
        const string section = "Streams and random I/O";
        (string Id, string Title)[] rows = [("write", "requests, fsync counted"), ("read-cold", "requests, caches dropped"), ("read", "requests, again")];
        IEnumerable<Row> streams = RequestSizes.Keys.SelectMany(size => rows.Select(row => new Row(
            $"stream-{row.Id}-{size}", $"stream-{size}", section, $"{row.Id.Split('-')[0]}, {Spoken(size)} {row.Title}", MegabytesPerSecond, HigherIsBetter: true)));
        return
        [
            .. streams,
            new("random-read", "random", section, "random 4 KiB reads", Rate, HigherIsBetter: true),
            new("random-write", "random", section, "random 4 KiB writes, fsync counted", Rate, HigherIsBetter: true),
        ];
    }

    private static IEnumerable<Row> HandOvers() => HandOverSizes.Keys.SelectMany(size =>
    {
        (string Id, string Title, bool Values)[] rows = [("new", "new name", true), ("rewritten", "rewritten name", true), ("polled", "B polls for the name", false)];
        return rows.Select(row => new Row(
            $"handover-{row.Id}-{size}", $"handover-{size}", "Hand-over from node A to node B", $"{Spoken(size)}, {row.Title}", Microseconds, HigherIsBetter: false, row.Values));
    });

    private static IEnumerable<Row> Programs() =>
    [
        new("tar-x", "tree", "Programs", "tar x, 5,000 files", Seconds, false),
        new("cp-r", "tree", "Programs", "cp -r of them", Seconds, false),
        new("ls-lr", "tree", "Programs", "ls -lR, caches dropped", Seconds, false),
        new("rm-rf", "tree", "Programs", "rm -rf of a copy", Seconds, false),
        new("git", "git", "Programs", "git init + add + commit of them", Seconds, false),
        new("make", "make", "Programs", "make -j2 of 100 C files", Seconds, false),
        new("sqlite", "sqlite", "Programs", "sqlite3, 200 transactions", Seconds, false),
    ];

    private static string Spoken(string size) => size.Replace("k", " KiB", StringComparison.Ordinal).Replace("m", " MiB", StringComparison.Ordinal);
}
