namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>A program that works on the volume in rounds and checks each round itself: any error that it sees ends it with a failure.</summary>
internal static class Workload
{
    /// <summary>Two processes on two nodes that insert into one database at the same time. Not one of <see cref="All"/>: half of it waits for the other.</summary>
    public const string SqliteOfTwoNodes = "sqlite-of-two-nodes";

    /// <summary>
    /// One round each, as a bash script: <c>$A</c> and <c>$B</c> are one directory through both nodes, <c>$S</c> is a directory outside of the
    /// volume that <see cref="Preparation"/> filled, <c>$round</c> counts. The round leaves nothing behind.
    /// </summary>
    private static readonly Dictionary<string, string> Rounds = new()
    {
        ["fio-psync"] = Fio("psync", "--bs=4k"),
        ["fio-mmap"] = Fio("mmap", "--bs=4k"),
        ["fio-fsync"] = Fio("psync", "--bsrange=1k-16k --bs_unaligned=1 --fsync=8"),
        ["tar"] = """
            mkdir $A/tree
            tar -C $S/tree -cf - . | tar -C $A/tree -xpf -
            diff -r $S/tree $A/tree
            diff -r $S/tree $B/tree
            rm -r $A/tree
            """,
        ["git"] = """
            git init -q -b main $A/repo
            cd $A/repo
            git config gc.auto 0
            cp -r $S/tree/. .
            git add .
            git commit -q -m one
            git mv linux moved
            git commit -q -m two
            git gc -q --prune=now
            git fsck --full --strict --no-progress
            test -z "$(git status --porcelain)"
            git rev-parse HEAD^{tree} HEAD~^{tree} > $S/trees.$round
            cmp $S/trees.1 $S/trees.$round
            cd $S
            rm -r $A/repo
            """,
        ["sqlite"] = """
            for mode in DELETE WAL; do
                sqlite3 -bail -batch $A/test.db "PRAGMA journal_mode=$mode; CREATE TABLE t(i INTEGER PRIMARY KEY, a TEXT);" > $S/mode
                for i in $(seq 1 60); do echo "INSERT INTO t VALUES($i, hex(zeroblob(400)));"; done | sqlite3 -bail -batch $A/test.db
                sqlite3 -bail -batch $A/test.db "PRAGMA integrity_check; SELECT count(*), sum(i), sum(length(a)) FROM t;" > $S/found
                printf 'ok\n60|1830|48000\n' | cmp - $S/found
                rm -f $A/test.db*
            done
            """,
        [SqliteOfTwoNodes] = """
            sqlite3 -bail -batch $A/test.db "CREATE TABLE t(who INTEGER, i INTEGER, UNIQUE(who, i)); CREATE TABLE c(n INTEGER); INSERT INTO c VALUES(0);"
            insert() {
                for i in $(seq 1 40); do echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($2, $i); UPDATE c SET n = n + 1; COMMIT;"; done | sqlite3 -bail -batch -cmd '.timeout 120000' $1/test.db
            }
            insert $A 1 & first=$!
            insert $B 2
            wait $first
            for view in $A $B; do
                sqlite3 -bail -batch $view/test.db "PRAGMA integrity_check; SELECT count(*), sum(i) FROM t; SELECT n FROM c;" > $S/found
                printf 'ok\n80|1640\n80\n' | cmp - $S/found
            done
            rm $A/test.db*
            """,
        ["names"] = $"""{Tool.Python} $S/names.py $A $B $round""",
        ["nodes"] = $"""{Tool.Python} $S/nodes.py $A $B $round""",
    };

    public static IEnumerable<string> All => Rounds.Keys.Where(name => name != SqliteOfTwoNodes);

    /// <summary>Starts a workload; it ends with the first round that ends after <c>stop</c> exists, or fails, at the latest after so many seconds.</summary>
    public static Command.Running Start(string name, string first, string second, string plain, string stop, int seconds = 300)
    {
        File.WriteAllText(Path.Combine(plain, "names.py"), NamesProgram);
        File.WriteAllText(Path.Combine(plain, "nodes.py"), NodesProgram);
        return new Command(plain, seconds, "/bin/bash", "-c", $"""
            set -euo pipefail
            {Preparation}
            round=0
            while :; do
                round=$((round + 1))
                {Rounds[name]}
                test -z "$(ls -A $A)"
                if [ -e $STOP ]; then echo $round rounds; exit 0; fi
            done
            """).With("A", first).With("B", second).With("S", plain).With("STOP", stop).With("LC_ALL", "C.UTF-8").Start();
    }

    /// <summary>A few hundred small files and some larger ones.</summary>
    private const string Preparation = """
        mkdir -p $S/tree/linux/deep
        cp /usr/include/*.h $S/tree/
        cp /usr/include/linux/[a-f]*.h $S/tree/linux/
        cat /usr/include/*.h > $S/tree/linux/deep/all
        ln -sfn deep/all $S/tree/linux/link
        """;

    private static string Fio(string engine, string options) => $"""
        cd $A
        fio --name=job --size=6m --rw=randwrite --ioengine={engine} {options} --verify=crc32c --verify_fatal=1 --do_verify=1 --fallocate=none --verify_state_save=0 --randseed=$round > $S/fio.$round 2>&1 || (cat $S/fio.$round; exit 1)
        cd $S
        rm $A/job.0.0
        """;

    /// <summary>Operations that may not be executed twice, each seen to have happened exactly once.</summary>
    private const string NamesProgram = """
        import ctypes, os, sys
        libc = ctypes.CDLL(None, use_errno=True)
        def exchange(a, b):
            if libc.renameat2(-100, a.encode(), -100, b.encode(), 2): raise OSError(ctypes.get_errno(), 'exchange ' + a)
        a, b, round = sys.argv[1:]
        os.chdir(a)
        for i in range(25):
            n = '%s-%d' % (round, i)
            fd = os.open(n, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND)
            for part in range(5): os.write(fd, b'part %d\n' % part)
            assert os.pread(fd, 1000, 0) == b''.join(b'part %d\n' % p for p in range(5)), os.pread(fd, 1000, 0)
            os.mkdir(n + '.d')
            os.link(n, n + '.d/link')
            assert os.fstat(fd).st_nlink == 2
            os.symlink(n, n + '.s')
            os.rename(n, n + '.r')
            os.close(os.open(n, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            exchange(n, n + '.r')
            assert os.stat(n).st_size == 35 and os.stat(n + '.r').st_size == 0
            assert open(b + '/' + n + '.s', 'rb').read() == os.pread(fd, 1000, 0)
            os.ftruncate(fd, 5)
            os.unlink(n + '.d/link')
            os.rmdir(n + '.d')
            for name in ('', '.r', '.s'): os.unlink(n + name)
            assert os.fstat(fd).st_nlink == 0 and os.pread(fd, 100, 0) == b'part '
            os.close(fd)
        """;

    /// <summary>Two nodes that have a file open and mapped, write by turns and look at once; and names that go back and forth.</summary>
    private const string NodesProgram = """
        import fcntl, mmap, os, sys
        a, b, round = sys.argv[1:]
        views = (a, b)
        fds = [os.open(v + '/shared', os.O_RDWR | os.O_CREAT) for v in views]
        os.write(fds[0], bytes(8192))
        maps = [mmap.mmap(fd, 8192, mmap.MAP_SHARED, mmap.PROT_READ) for fd in fds]
        logs = [os.open(v + '/log', os.O_RDWR | os.O_CREAT | os.O_APPEND) for v in views]
        for i in range(40):
            me, other = i % 2, 1 - i % 2
            text = b'%s turn %d;' % (round.encode(), i)
            fcntl.lockf(fds[me], fcntl.LOCK_EX)
            os.pwrite(fds[me], text, i * 100)
            assert os.pread(fds[other], len(text), i * 100) == text, (i, 'read')
            assert maps[other][i * 100:i * 100 + len(text)] == text, (i, 'mapped')
            fcntl.lockf(fds[me], fcntl.LOCK_UN)
            os.write(logs[me], text)
            with open('%s/n%d' % (views[me], i), 'xb') as f: f.write(text * 50)
            with open('%s/n%d' % (views[other], i), 'rb') as f: assert f.read() == text * 50, (i, 'closed')
            os.rename('%s/n%d' % (views[other], i), '%s/m%d' % (views[other], i))
            os.unlink('%s/m%d' % (views[me], i))
        expected = b''.join(b'%s turn %d;' % (round.encode(), i) for i in range(40))
        assert [os.pread(l, 10000, 0) for l in logs] == [expected, expected], [os.pread(l, 10000, 0) for l in logs]
        for name in ('shared', 'log'): os.unlink(a + '/' + name)
        """;
}
