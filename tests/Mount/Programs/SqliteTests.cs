namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>sqlite lives on fcntl locks, fsync, truncation and, for its write-ahead log, shared mappings.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class SqliteTests(VolumeFixture volume)
{
    private const string Workload = """
        sqlite3 -bail -batch test.db <<SQL
        PRAGMA journal_mode=$mode;
        PRAGMA synchronous=FULL;
        CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB);
        CREATE INDEX t_a ON t(a);
        BEGIN;
        WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 5000)
          INSERT INTO t SELECT i, 'row ' || (i * 7919 % 5003), zeroblob(i % 700) FROM n;
        COMMIT;
        BEGIN; DELETE FROM t WHERE id % 3 = 0; ROLLBACK;
        BEGIN; UPDATE t SET a = a || '!' WHERE id % 5 = 0; COMMIT;
        DELETE FROM t WHERE id % 11 = 0;
        PRAGMA incremental_vacuum;
        VACUUM;
        PRAGMA integrity_check;
        SELECT count(*), sum(length(b)), min(a), max(a) FROM t;
        SQL
        sqlite3 -bail -batch test.db .dump | sha256sum
        ls
        """;

    // A journal that persists has random numbers in it.
    [Theory]
    [InlineData("DELETE")]
    [InlineData("TRUNCATE")]
    [InlineData("PERSIST")]
    [InlineData("WAL")]
    public void One_process_gives_the_same_database(string mode)
    {
        Tool.Require("sqlite3");
        using var sides = volume.NewSides("sqlite");
        sides.SameScript(120, $"mode={mode}\n{Workload}", new() { Skip = path => path == "test.db-journal" });
    }

    [Theory]
    [InlineData("DELETE")]
    [InlineData("WAL")]
    public void Two_processes_lose_no_row(string mode)
    {
        Tool.Require("sqlite3");
        using var sides = volume.NewSides("sqlite2");
        sides.SameScript(300, $$"""
            sqlite3 -bail -batch test.db 'PRAGMA journal_mode={{mode}}; CREATE TABLE t(who INTEGER, i INTEGER, UNIQUE(who, i)); CREATE TABLE c(n INTEGER); INSERT INTO c VALUES(0);'
            writer() {
                for i in $(seq 1 150); do
                    echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($1, $i); UPDATE c SET n = n + 1; COMMIT;"
                done | sqlite3 -bail -batch -cmd '.timeout 60000' test.db
            }
            writer 1 & one=$!
            writer 2 & two=$!
            wait $one
            wait $two
            sqlite3 -bail -batch test.db 'PRAGMA integrity_check; SELECT count(*) FROM t; SELECT n FROM c; SELECT who, count(*), sum(i) FROM t GROUP BY who;'
            """, new() { Skip = path => path.StartsWith("test.db", StringComparison.Ordinal) });
    }
}
