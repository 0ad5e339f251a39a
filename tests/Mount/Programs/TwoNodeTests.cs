using EphemeralFs.Tests.Model.Trees;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>One tree through two nodes: what was closed on one is seen by the next open on the other, names at once.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class TwoNodeTests(VolumeFixture volume)
{
    private static readonly TreeOptions Everything = new() { FileTimes = TimeRule.Exact, DirectoryTimes = TimeRule.Exact };

    [Fact]
    public void A_tree_written_on_one_node_is_whole_on_the_other()
    {
        Tool.Require("tar", "rsync");
        using var source = new Model.ReferenceDirectory();
        string tree = Path.Combine(source.Location, "tree");
        GeneratedTree.Create(tree, 2000, seed: 5);
        using var sides = volume.NewSides("handover");
        Command.Script(sides.Subject, 120, $"tar -C '{tree}' --xattrs --xattrs-include='*' -cf - . | tar --xattrs --xattrs-include='*' --numeric-owner -xpf -").MustSucceed();
        Sides.MustBeEqual(tree, sides.SubjectOnSecond, Everything);
        // Back again: changed on the second node, seen on the first, which has read it all before.
        Sides.MustBeEqual(tree, sides.Subject, Everything);
        string change = "find . -type f -name '*.txt' | sort | awk 'NR <= 200' | while IFS= read -r f; do echo changed >> \"$f\"; done; find . -name '*.jpg' -delete; mkdir -p new/deep; echo x > new/deep/file";
        Command.Script(sides.SubjectOnSecond, 120, change).MustSucceed();
        Command.Script(tree, 120, change).MustSucceed();
        var names = new TreeOptions();
        Sides.MustBeEqual(tree, sides.Subject, names);
        Sides.MustBeEqual(tree, sides.SubjectOnSecond, names);
    }

    [Fact]
    public void Nodes_write_and_read_by_turns()
    {
        using var sides = volume.NewSides("turns");
        string[] views = [sides.Subject, sides.SubjectOnSecond];
        for (int turn = 0; turn < 60; turn++)
        {
            // Append to one file, replace another, make, move and remove names; each node in its turn, the other looks.
            string script = $"""
                echo turn {turn} >> log
                echo {turn} > new && mv new current
                mkdir -p d{turn % 5} && echo {turn} > d{turn % 5}/f{turn} && ln d{turn % 5}/f{turn} l{turn % 3}-{turn}
                rm -f l{turn % 3}-{turn - 3}
                if [ -d d{(turn + 2) % 5} ]; then mv d{(turn + 2) % 5} moved{turn} && rm -rf moved{turn - 7}; fi
                truncate -s {turn * 1000} sized
                chmod {600 + turn % 8 * 10} sized
                cat log | wc -l
                """;
            string expected = Command.Script(sides.Reference, 30, script).MustSucceed();
            Assert.Equal(expected, Command.Script(views[turn % 2], 30, script).MustSucceed());
            Sides.MustBeEqual(sides.Reference, views[(turn + 1) % 2]);
        }
        Sides.MustBeEqual(sides.Reference, sides.Subject);
    }

    [Fact]
    public void No_stale_name_or_attribute_is_seen() => CheckForStale(steps: 600);

    [Fact]
    [Trait("Category", "Soak")]
    public void No_stale_name_or_attribute_is_seen_for_long() => CheckForStale(steps: 20_000);

    private void CheckForStale(int steps)
    {
        using var sides = volume.NewSides("stale");
        var check = new StaleCheck(sides.Subject, sides.SubjectOnSecond, seed: 20261121);
        for (int step = 0; step < steps; step++)
        {
            check.Step();
        }
    }

    /// <summary>The kernel keeps listings: of a directory that is opened again, and of one that stays open and is read again from its beginning.</summary>
    [Fact]
    public void No_old_listing_is_seen()
    {
        Tool.Require("python3");
        using var sides = volume.NewSides("listings");
        string script = """
            import os, sys, random
            one, two = sys.argv[1:3]
            rnd = random.Random(11)
            for d in range(30):
                here, there = (one, two) if d % 2 else (two, one)
                here, there = f"{here}/d{d}", f"{there}/d{d}"
                os.mkdir(here)
                names = set()
                opened = os.open(there, os.O_RDONLY)
                for step in range(12):
                    changer, looker = (there, here) if step % 4 == 3 else (here, there)
                    kind = rnd.choice(["make", "make", "link", "remove", "rename"]) if names else "make"
                    new = f"n{step}"
                    if kind == "make":
                        open(f"{changer}/{new}", "x").close()
                        names.add(new)
                    elif kind == "link":
                        os.link(f"{changer}/{sorted(names)[0]}", f"{changer}/{new}")
                        names.add(new)
                    elif kind == "remove":
                        os.unlink(f"{changer}/{sorted(names)[0]}")
                        names.remove(sorted(names)[0])
                    else:
                        old = sorted(names)[0]
                        os.rename(f"{changer}/{old}", f"{changer}/{new}")
                        names.remove(old)
                        names.add(new)
                    os.utime(changer, ns=(1, 1))  # the time of the last change tells nothing
                    for look in (there, opened, here, there, looker):
                        assert set(os.listdir(look)) == names, (d, step, kind, look, os.listdir(look), names)
                os.close(opened)
            """;
        new Command(sides.Subject, 120, "python3", "-c", script, sides.Subject, sides.SubjectOnSecond).Run().MustSucceed();
    }

    /// <summary>Each kernel holds the directory's lock while its node waits for the other to drop a name that needs this lock there.</summary>
    [Fact]
    public async Task Two_nodes_change_one_directory_at_the_same_time()
    {
        const int Rounds = 300;
        using var sides = volume.NewSides("contested");
        await Task.WhenAll(Task.Run(() => Work(sides.Subject, "a", "b")), Task.Run(() => Work(sides.SubjectOnSecond, "b", "a")));
        string[] expected = [.. Enumerable.Range(0, Rounds).SelectMany(i => new[] { $"a-{i}", $"b-{i}" }).Order(StringComparer.Ordinal)];
        foreach (string view in new[] { sides.Subject, sides.SubjectOnSecond })
        {
            Assert.Equal(expected, Directory.GetFileSystemEntries(view).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        }

        static void Work(string directory, string mine, string others)
        {
            for (int i = 0; i < Rounds; i++)
            {
                // Each looks for the other's next names too, so that they are cached as missing when they are made.
                _ = File.Exists(Path.Combine(directory, $"{others}-{i + 1}"));
                _ = File.Exists(Path.Combine(directory, $"{others}{i + 1}"));
                File.WriteAllText(Path.Combine(directory, $"{mine}{i}"), mine);
                File.Move(Path.Combine(directory, $"{mine}{i}"), Path.Combine(directory, $"{mine}-{i}"));
                Directory.CreateDirectory(Path.Combine(directory, $"{mine}d"));
                Directory.Delete(Path.Combine(directory, $"{mine}d"));
            }
        }
    }

    /// <summary>What the one renames the other has renamed a moment ago: a name may be missing then, and nothing else is a program told.</summary>
    [Fact]
    public void Two_nodes_rename_the_same_names()
    {
        const string Program = """
            import errno, os, random, sys
            random.seed(int(sys.argv[1]))
            for i in range(1500):
                a, b = random.sample('abcd', 2)
                try:
                    if random.random() < 0.7: os.rename(a, b)
                    else: os.close(os.open(a, os.O_CREAT | os.O_WRONLY))
                except FileNotFoundError: pass
            """;
        using var sides = volume.NewSides("renames");
        string[] views = [sides.Subject, sides.SubjectOnSecond];
        var running = views.Select((view, i) => new Command(view, 150, "python3", "-c", Program, $"{i}").Start()).ToList();
        running.ForEach(one => one.Wait().MustSucceed());
        running.ForEach(one => one.Dispose());
        Assert.Equal(Names(views[0]), Names(views[1]));

        static IEnumerable<string?> Names(string view) => Directory.GetFileSystemEntries(view).Select(Path.GetFileName).Order(StringComparer.Ordinal);
    }

    [Fact]
    public void Git_commits_by_turns()
    {
        Tool.Require("git");
        using var sides = volume.NewSides("gitturns");
        string[] views = [sides.Subject, sides.SubjectOnSecond];
        Command.Script(views[0], 30, "git init -q -b main . && git config gc.auto 0").MustSucceed();
        for (int turn = 0; turn < 10; turn++)
        {
            string script = $"git status --porcelain; echo {turn} >> file; echo {turn} > f{turn}; git add .; git commit -q -m {turn}; git rev-list --count HEAD";
            Assert.Equal($"{turn + 1}\n", Command.Script(views[turn % 2], 60, script).MustSucceed());
        }
        Assert.Equal("", Command.Script(views[1], 60, "git fsck --full --strict --no-progress; git status --porcelain").MustSucceed());
    }

    [Theory]
    [InlineData("DELETE")]
    [InlineData("TRUNCATE")]
    public void Sqlite_processes_on_two_nodes_lose_no_row(string mode)
    {
        Tool.Require("sqlite3");
        using var sides = volume.NewSides("sqlitenodes");
        new Command(sides.Subject, 60, "sqlite3", "-bail", "-batch", "test.db",
            "CREATE TABLE t(who INTEGER, i INTEGER, UNIQUE(who, i)); CREATE TABLE c(n INTEGER); INSERT INTO c VALUES(0);").Run().MustSucceed();
        // One long-lived process per node, which never reopens: the locks have to carry the data.
        string script = $$"""
            for i in $(seq 1 100); do
                echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($WHO, $i); UPDATE c SET n = n + 1; COMMIT;"
            done | sqlite3 -bail -batch -cmd '.timeout 60000' -cmd 'PRAGMA journal_mode={{mode}};' test.db
            """;
        using var one = new Command(sides.Subject, 150, "/bin/bash", "-c", "set -euo pipefail\n" + script).With("WHO", "1").Start();
        using var two = new Command(sides.SubjectOnSecond, 150, "/bin/bash", "-c", "set -euo pipefail\n" + script).With("WHO", "2").Start();
        one.Wait().MustSucceed();
        two.Wait().MustSucceed();
        foreach (string view in new[] { sides.Subject, sides.SubjectOnSecond })
        {
            string found = new Command(view, 60, "sqlite3", "-batch", "test.db", "PRAGMA integrity_check; SELECT count(*) FROM t; SELECT n FROM c;").Run().MustSucceed();
            Assert.Equal("ok\n200\n200\n", found);
        }
    }

    /// <summary>GDBM: each process locks the database, maps it, changes it and closes it, with the other node's changes in between.</summary>
    [Fact]
    public void A_key_value_store_on_two_nodes_loses_nothing()
    {
        Tool.Require("perl");
        using var sides = volume.NewSides("gdbm");
        string script = """
            use strict; use GDBM_File; use Errno;
            my $who = $ARGV[0];
            for my $i (0 .. 59) {
                my (%db, $opened);
                until ($opened = tie(%db, 'GDBM_File', 'store', GDBM_WRCREAT, 0644)) {
                    die "open: $!" unless $!{EAGAIN} || $!{EWOULDBLOCK};  # the other one has it
                }
                $db{count} = ($db{count} // 0) + 1;
                $db{"$who-$i"} = 'x' x ($i * 37);
                delete $db{$who . '-' . ($i - 10)} if $i >= 10;
                undef $opened;
                untie %db;
            }
            """;
        // The library looks whether the file is empty before it locks it, so the second of two that begin together may begin again what the first has begun.
        new Command(sides.Subject, 60, "/usr/bin/perl", "-e", "use GDBM_File; tie(my %db, 'GDBM_File', 'store', GDBM_WRCREAT, 0644) or die $!;").Run().MustSucceed();
        using var one = new Command(sides.Subject, 120, "/usr/bin/perl", "-e", script, "one").Start();
        using var two = new Command(sides.SubjectOnSecond, 120, "/usr/bin/perl", "-e", script, "two").Start();
        one.Wait().MustSucceed();
        two.Wait().MustSucceed();
        foreach (string view in new[] { sides.Subject, sides.SubjectOnSecond })
        {
            string found = new Command(view, 60, "/usr/bin/perl", "-e", """
                use strict; use GDBM_File;
                tie(my %db, 'GDBM_File', 'store', GDBM_READER, 0) or die $!;
                my @keys = keys %db;
                for (grep /-/, @keys) { /-(\d+)$/; die $_ unless length $db{$_} == 37 * $1; }
                print scalar(@keys), " $db{count}\n";
                """).Run().MustSucceed();
            Assert.Equal("21 120\n", found);
        }
    }

    /// <summary>The file's bytes are with its metadata, outgrow that, are in blocks.</summary>
    [Theory]
    [InlineData(4096)]
    [InlineData(7000)]
    [InlineData(16384)]
    public void Two_nodes_that_write_different_parts_of_a_file_lose_nothing_of_each_other(int size)
    {
        Tool.Require("perl");
        using var sides = volume.NewSides("parts");
        File.WriteAllBytes(Path.Combine(sides.Subject, "f"), new byte[size]);
        string script = """
            use strict; use Fcntl;
            my $at = $ARGV[0];
            sysopen(my $f, 'f', O_RDWR) or die "open: $!";
            for my $i (1 .. 1000) {
                sysseek($f, $at, 0); syswrite($f, pack('Q', $i)) == 8 or die "write: $!";
                sysseek($f, $at, 0); sysread($f, my $read, 8) == 8 or die "read: $!";
                unpack('Q', $read) == $i or die "wrote $i, read " . unpack('Q', $read);
            }
            """;
        using var one = new Command(sides.Subject, 120, "/usr/bin/perl", "-e", script, "0").Start();
        using var two = new Command(sides.SubjectOnSecond, 120, "/usr/bin/perl", "-e", script, "2048").Start();
        one.Wait().MustSucceed();
        two.Wait().MustSucceed();
    }

    [Fact]
    public void A_counter_under_flock_on_two_nodes_counts_everything()
    {
        Tool.Require("perl");
        using var sides = volume.NewSides("counter");
        File.WriteAllBytes(Path.Combine(sides.Subject, "f"), new byte[16384]);

        // Two places, so that one of them may be old alone; the file is opened anew each time.
        string script = """
            use strict; use Fcntl ':DEFAULT', ':flock';
            for my $i (1 .. 1500) {
                sysopen(my $f, 'f', O_RDWR) or die "open: $!";
                flock($f, LOCK_EX) or die "flock: $!";
                my @read;
                for my $at (8192, 4096) {
                    sysseek($f, $at, 0); sysread($f, my $bytes, 8) == 8 or die "read: $!";
                    push @read, unpack('Q', $bytes);
                }
                $read[0] == $read[1] or die "read @read";
                for my $at (8192, 4096) {
                    sysseek($f, $at, 0); syswrite($f, pack('Q', $read[0] + 1)) == 8 or die "write: $!";
                }
                close($f) or die "close: $!";
            }
            """;
        using var one = new Command(sides.Subject, 120, "/usr/bin/perl", "-e", script).Start();
        using var two = new Command(sides.SubjectOnSecond, 120, "/usr/bin/perl", "-e", script).Start();
        one.Wait().MustSucceed();
        two.Wait().MustSucceed();

        // Opened without a lock of .NET's: the last one may go a moment after its file was closed (S64).
        using var file = new BinaryReader(new FileStream(Path.Combine(sides.Subject, "f"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        file.BaseStream.Position = 8192;
        Assert.Equal(3000L, file.ReadInt64());
    }

    [Fact]
    public void Appends_under_flock_on_two_nodes_are_all_there()
    {
        using var sides = volume.NewSides("flock");
        string script = "for i in $(seq 1 100); do flock lock bash -c 'echo \"$WHO $0\" >> log' $i; done";
        using var one = new Command(sides.Subject, 120, "/bin/bash", "-c", script).With("WHO", "1").Start();
        using var two = new Command(sides.SubjectOnSecond, 120, "/bin/bash", "-c", script).With("WHO", "2").Start();
        one.Wait().MustSucceed();
        two.Wait().MustSucceed();
        var lines = File.ReadAllLines(Path.Combine(sides.Subject, "log"));
        Assert.Equal(lines, File.ReadAllLines(Path.Combine(sides.SubjectOnSecond, "log")));
        Assert.Equal(Enumerable.Range(1, 100).Select(i => $"1 {i}"), lines.Where(line => line.StartsWith('1')));
        Assert.Equal(Enumerable.Range(1, 100).Select(i => $"2 {i}"), lines.Where(line => line.StartsWith('2')));
    }
}
