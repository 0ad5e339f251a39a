using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>Unmodified programs in the mount, timed as whole processes; what they leave is compared with the fixtures.</summary>
internal sealed class ProgramRows
{
    private readonly RunOptions _options;
    private readonly RowRunner _runner;
    private readonly string _work;
    private readonly string _output;

    private ProgramRows(RunOptions options, RowRunner runner)
    {
        _options = options;
        _runner = runner;
        _work = Path.Combine(options.A, options.WorkName);
        _output = Path.Combine(options.Fixtures, $"output-{options.System}-{options.Group}");
        Directory.CreateDirectory(_work);
    }

    public static void Tree(RunOptions options, RowRunner runner)
    {
        var rows = new ProgramRows(options, runner);
        string tree = rows.Fixture("tree");
        rows.Row("tar-x", new Step($"tar -xf {rows.Fixture("tree.tar")}") { After = $"diff -r {tree} tree" });
        rows.Row("cp-r", new Step("cp -r tree copy") { After = $"diff -r {tree} copy" });
        rows.Row("ls-lr", new Step("ls -lR tree")
        {
            DropCaches = true,
            After = $"test $(grep -c ^- '{rows._output}') = $(find {tree} -type f | wc -l)",
        });
        rows.Row("rm-rf", new Step("rm -rf copy") { After = "test ! -e copy" });
    }

    public static void Git(RunOptions options, RowRunner runner)
    {
        var rows = new ProgramRows(options, runner);
        rows.Row("git", new Step("git init -q .; git add -A; git -c user.name=bench -c user.email=bench@localhost -c gc.auto=0 commit -q -m tree")
        {
            Before = $"tar -xf {rows.Fixture("tree.tar")}",
            Inside = "tree",
            After = "git fsck --strict; test -z \"$(git status --porcelain)\"",
        });
    }

    public static void Make(RunOptions options, RowRunner runner)
    {
        var rows = new ProgramRows(options, runner);
        rows.Row("make", new Step("make -s -j2")
        {
            Before = $"cp -r {rows.Fixture("csource")} project",
            Inside = "project",
            After = $"test \"$(./program)\" = \"$(cat {rows.Fixture("csource.expected")})\"",
        });
    }

    public static void Sqlite(RunOptions options, RowRunner runner)
    {
        var rows = new ProgramRows(options, runner);
        rows.Row("sqlite", new Step($"sqlite3 -batch database < {rows.Fixture("transactions.sql")}")
        {
            After = $"test \"$(sqlite3 database 'PRAGMA integrity_check; SELECT count(*) FROM entries;' | tr '\\n' ' ')\" = 'ok {Fixtures.Transactions} '",
        });
    }

    private string Fixture(string name) => $"'{Path.Combine(_options.Fixtures, name)}'";

    private void Row(string row, Step step) => _runner.Run(row, window =>
    {
        string enter = $"cd '{_work}'\n";
        if (step.Before.Length > 0)
        {
            Shell.Run(enter + step.Before, _output + ".before");
        }

        if (step.DropCaches)
        {
            _runner.DropKernelCaches();
        }

        enter += step.Inside.Length > 0 ? $"cd {step.Inside}\n" : "";
        window.Open();
        Outcome outcome = Shell.Run(enter + step.Script, _output);
        window.Close();
        if (step.After.Length > 0)
        {
            Shell.Run(enter + step.After, _output + ".after");
        }

        return outcome;
    });

    /// <summary>One program run.</summary>
    /// <param name="Script">Timed.</param>
    private sealed record Step(string Script)
    {
        /// <summary>Not timed, in the work directory.</summary>
        public string Before { get; init; } = "";

        /// <summary>The directory in the work directory in which script and check run.</summary>
        public string Inside { get; init; } = "";

        /// <summary>Not timed; fails if the result is not what it should be.</summary>
        public string After { get; init; } = "";

        /// <summary>Whether the script finds the kernel's caches empty.</summary>
        public bool DropCaches { get; init; }
    }
}
