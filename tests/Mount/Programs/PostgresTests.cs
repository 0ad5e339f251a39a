namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>PostgreSQL's whole data directory on the volume, run as the user that Debian's package makes: it refuses to be root.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class PostgresTests(VolumeFixture volume)
{
    // The same random numbers and one client give the same tables; only pgbench_history has times in it.
    private const string Life = """
        as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
        if [ "$(id -u)" = 0 ]; then chown postgres .; fi
        export PGDATA=$PWD/data PGHOST=$PWD PGPORT=5999 PGDATABASE=postgres PGUSER=postgres
        started=no
        stop() { if [ $started = yes ]; then as pg_ctl stop -m immediate -w -t 30 > /dev/null || true; cat log; fi; }
        trap stop EXIT
        as initdb -A trust -U postgres --data-checksums --no-instructions --locale=C > /dev/null
        echo "unix_socket_directories = '$sockets'
        listen_addresses = ''
        shared_buffers = 16MB
        max_connections = 20
        autovacuum = off" >> data/postgresql.conf
        export PGHOST=$sockets
        as pg_ctl start -w -t 60 -l "$PWD/log" > /dev/null
        started=yes
        as pgbench -i -s 2 -q 2> /dev/null
        as pgbench -n -c 1 -t 300 --random-seed=42 > /dev/null 2>&1
        as psql -Atc "SELECT md5(string_agg(t::text, ',' ORDER BY aid)) FROM pgbench_accounts t; SELECT md5(string_agg(t::text, ',' ORDER BY tid)) FROM pgbench_tellers t;
            SELECT count(*), sum(delta) FROM pgbench_history;"
        # Many clients: the sums agree whatever the order was.
        as pgbench -n -c 4 -j 2 -t 100 > /dev/null 2>&1
        as psql -Atc "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
            (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history), (SELECT count(*) FROM pgbench_history);"
        as psql -Atqc "CREATE TABLE big AS SELECT i, repeat(md5(i::text), 20) AS t FROM generate_series(1, 20000) i; CREATE INDEX ON big(t)" -c "VACUUM FULL big" -c "CHECKPOINT"
        # Crash and recover from the write-ahead log.
        as pg_ctl stop -m immediate -w -t 60 > /dev/null
        as pg_ctl start -w -t 60 -l "$PWD/log" > /dev/null
        as psql -Atc "SELECT count(*), md5(string_agg(t, '' ORDER BY i)) FROM big;"
        as pg_ctl stop -m fast -w -t 60 > /dev/null
        started=no
        as pg_checksums --check | grep 'Bad checksums'
        """;

    [Fact]
    public void Initdb_and_pgbench_give_the_same_tables_and_survive_a_crash()
    {
        string programs = Path.GetDirectoryName(Tool.Find("initdb"))!;
        Tool.Require("pgbench", "pg_ctl", "pg_checksums", "runuser");
        // Sockets stay out of the volume: their paths must be short, and their being sockets is not what is tested here.
        var sockets = Directory.CreateTempSubdirectory("pg");
        File.SetUnixFileMode(sockets.FullName, (UnixFileMode)0b001_111_111_111);
        using var sides = volume.NewSides("postgres");
        sides.SameScript(500, $"export PATH={programs}:/usr/lib/postgresql/$(ls /usr/lib/postgresql | sort -n | tail -1)/bin:$PATH\nsockets='{sockets.FullName}'\n{Life}",
            new() { Skip = path => path is "data" or "log" });
        sockets.Delete(recursive: true);
    }
}
