using EphemeralFs.Bench;
using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Report;
using EphemeralFs.Bench.Rows;

// ephemeralfs-bench: measures one group of rows on one system, and makes the table of many such runs. bench/run drives it.
const string Usage = """
    usage: ephemeralfs-bench run GROUP --system NAME --a DIR [--b DIR] [--redis SOCKET] --fixtures DIR [--round N] [--rows LIST]
                                 [--client PIDS] [--server PIDS] [--quick]      one JSON line for each row
           ephemeralfs-bench groups [--rows LIST] [--kind files|values]         the groups that hold these rows
           ephemeralfs-bench fixtures DIR [--quick]                             the inputs of the program rows
           ephemeralfs-bench memory --system NAME [--client PIDS] [--server PIDS]
           ephemeralfs-bench failed GROUP --system NAME --round N --reason TEXT [--kind values] [--except ROWS]  the lines of a group that could not run
           ephemeralfs-bench about [--load TEXT] [--versions TEXT] [--commit TEXT] [--round N] [--quick]  one JSON line about this machine
           ephemeralfs-bench report SAMPLES.jsonl DIR                           table.md and raw.json from all lines
    """;

try
{
    if (args.Length == 0)
    {
        throw new BenchException(Usage);
    }

    var arguments = new Arguments(args[1..]);
    switch (args[0])
    {
        case "run": Groups.Run(RunOptions.Parse(arguments)); break;
        case "metadata-worker": return MetadataWorker.Serve(arguments);
        case "groups": Groups.Print(arguments.List("rows"), arguments.Optional("kind") == "values"); break;
        case "fixtures": Fixtures.Write(arguments.Positional(0, "DIR"), arguments.Flag("quick")); break;
        case "memory": MemoryUse.Print(arguments); break;
        case "failed": Groups.PrintFailed(RunOptions.Parse(arguments), arguments.Required("reason"), arguments.Optional("kind") == "values", arguments.List("except")); break;
        case "about": About.Print(arguments); break;
        case "report": ReportWriter.Write(arguments.Positional(0, "SAMPLES.jsonl"), arguments.Positional(1, "DIR")); break;
        default: throw new BenchException(Usage);
    }

    return 0;
}
catch (Exception e) when (e is BenchException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}
