using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Containers.Oci;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers;

/// <summary>Unmodified programs, each in a container with little memory and few rights, whose /tmp is an inline volume of its pod.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class InlineTests(KubernetesCluster kubernetes)
{
    private static readonly Dictionary<string, string> s_scripts = new()
    {
        ["tar"] = """
            mkdir tree && cp -r /usr/include/asm-generic /usr/include/linux/netfilter tree/
            tar -cf tree.tar tree && mkdir out && tar -xf tree.tar -C out
            diff -r tree out/tree
            rm -r tree out
            """,
        ["git"] = """
            git init -q work && cd work
            cp -r /usr/include/asm-generic .
            git add . && git commit -q -m first
            git gc -q && git fsck --strict && git status --porcelain | wc -l | grep -x 0
            git clone -q . ../clone && diff -r asm-generic ../clone/asm-generic
            """,
        ["sqlite3"] = """
            sqlite3 -bail -batch test.db <<SQL
            PRAGMA journal_mode=WAL;
            CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);
            WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'row ' || i FROM n;
            DELETE FROM t WHERE id % 11 = 0;
            SQL
            sqlite3 -bail -batch test.db 'PRAGMA integrity_check; SELECT count(*) FROM t;' | tr '\n' ' ' | grep -x 'ok 4546 '
            """,
        // 90 MB of lines, more than the container's memory: what does not fit is in files of /tmp meanwhile.
        ["sort"] = """
            seq 900000 -1 1 | sed 's/$/ ---------- ---------- ---------- ---------- ---------- ---------- ---------- ---/' | sort -n -S 16M -T /tmp -o sorted
            sort -n -c sorted && wc -l <sorted | grep -x 900000
            """,
        ["gcc"] = """
            printf '#include <stdio.h>\nint main(void) { puts("compiled and run"); return 0; }\n' >main.c
            gcc -O2 -o main main.c
            ./main | grep -x 'compiled and run'
            """,
    };

    public static TheoryData<string> Programs => [.. s_scripts.Keys];

    [Theory]
    [MemberData(nameof(Programs))]
    public async Task An_unmodified_program_works_in_a_container_and_leaves_nothing(string program)
    {
        Tool.Require(program);
        var before = kubernetes.Volumes();
        await using (var pod = await kubernetes.First.StartAsync(new Pod(program, new InlineVolume("tmp"))))
        {
            Container.Script(kubernetes.Home, new ContainerOptions(new ContainerMount(pod["tmp"])) { MemoryBytes = 64 << 20 }, 120, $"""
                cd /tmp
                if touch /root-file 2>/dev/null; then echo 'the root is writable'; exit 1; fi
                {s_scripts[program]}
                """).MustSucceed();
            var usage = (await kubernetes.First.Kubelet.StatsAsync(pod.Pod, "tmp"))["usage"]!.AsArray();
            Assert.All(usage, unit => Assert.True(long.Parse((string)unit!["used"]!, System.Globalization.CultureInfo.InvariantCulture) > 0));
        }
        Assert.Equal(before, kubernetes.Volumes());
        Assert.DoesNotContain(kubernetes.First.Mounts(), path => path.Contains("/pods/", StringComparison.Ordinal));
    }
}
