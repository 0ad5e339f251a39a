using EphemeralFs.Tests.Mount.Cli;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>More is written than anybody can take: the writers wait, and nobody's memory grows with what is still to come.</summary>
[Collection(LimitCollection.Name)]
public sealed class BackPressureTests(ITestOutputHelper output)
{
    private const int CacheMiB = 32;

    private static readonly Dictionary<string, string> SmallCaches = new() { ["EPHEMERALFS_WRITE_CACHE"] = $"{CacheMiB}M", ["EPHEMERALFS_READ_CACHE"] = "32M" };

    /// <summary>
    /// What 64 writers may cost a daemon: the write-back cache, once more what is being copied into blocks, once more what waits for the sockets; a request of
    /// 1 MiB in the hands of each writer, or of each reader with the block that it waits for, the idle buffers, and the read cache.
    /// </summary>
    private const long NodeBytes = ((3 * CacheMiB) + (2 * 64) + 32 + 32 + 32) * ProcessCost.MiB;

    /// <summary>What a server may hold for one daemon: blocks under way.</summary>
    private const long ServerBytes = 64 * ProcessCost.MiB;

    [Fact]
    public void Writers_wait_for_slow_servers_and_memory_stays_bounded() => Write(writers: 64, eachMiB: 6);

    [Fact]
    [Trait("Category", "Soak")]
    public void Ten_gibibytes_go_through_one_daemon() => Write(writers: 64, eachMiB: 160);

    private void Write(int writers, int eachMiB)
    {
        using var cluster = new LimitCluster(SmallCaches, "--capacity", $"{(writers * eachMiB) + 2048}M");
        var start = cluster.Costs();
        // Each writer's bytes are its own and differ from block to block; each file is compared when all of it is there.
        using var program = new Command(cluster.First, 1200, Tool.Python, "-c", $$"""
            import hashlib, os, sys, threading
            writers, blocks = {{writers}}, {{eachMiB}}
            def block(w, i): return hashlib.sha256(b'%d %d' % (w, i)).digest() * 32768
            go = threading.Event()
            def work(w):
                fd = os.open('w%d' % w, os.O_CREAT | os.O_RDWR)
                for i in range(blocks):
                    data = block(w, i)
                    assert os.write(fd, data) == len(data)
                os.fsync(fd)
                for i in range(blocks):
                    if os.pread(fd, 1 << 20, i << 20) != block(w, i): raise AssertionError((w, i))
                os.close(fd)
                os.unlink('w%d' % w)
            failed = []
            def guarded(w):
                try: work(w)
                except BaseException as e: failed.append((w, repr(e)))
            threads = [threading.Thread(target=guarded, args=(w,)) for w in range(writers)]
            print('ready', flush=True)
            sys.stdin.readline()
            for t in threads: t.start()
            for t in threads: t.join()
            if failed: sys.exit(str(failed))
            print('verified', flush=True)
            """).Start();
        program.WaitForOutput("ready");
        var servers = cluster.Processes("storage");
        var peak = cluster.Costs();
        Array.ForEach([.. servers], server => Signals.Send(server.Pid, Signals.Stop));
        try
        {
            program.Process.StandardInput.WriteLine();
            // As slow as a server can be: nothing moves until the cache is full.
            LimitCluster.WaitUntil(
                () => cluster.Metric("node", "ephemeralfs_node_write_cache_bytes") >= CacheMiB * ProcessCost.MiB, () => "the write-back cache is full");
            Note(cluster.Costs());
        }
        finally
        {
            Array.ForEach([.. servers], server => Signals.Send(server.Pid, Signals.Continue));
        }
        // Then in fits and starts.
        for (int i = 0; !program.Process.HasExited; i++)
        {
            var slow = servers[i % servers.Count];
            Signals.Send(slow.Pid, Signals.Stop);
            program.Process.WaitForExit(TimeSpan.FromMilliseconds(200));
            Signals.Send(slow.Pid, Signals.Continue);
            program.Process.WaitForExit(TimeSpan.FromMilliseconds(200));
            Note(cluster.Costs());
        }
        Assert.Contains("verified", program.Wait().MustSucceed(), StringComparison.Ordinal);
        foreach (var (name, cost) in peak)
        {
            output.WriteLine($"{name}: {start[name].Bytes / ProcessCost.MiB} MiB before, {cost.Bytes / ProcessCost.MiB} MiB at most");
            long bound = name.StartsWith("node", StringComparison.Ordinal) ? NodeBytes : ServerBytes;
            Assert.True(cost.Bytes - start[name].Bytes < bound, $"{name} grew from {start[name].Bytes / ProcessCost.MiB} to {cost.Bytes / ProcessCost.MiB} MiB");
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(cluster.First));

        void Note(SortedDictionary<string, ProcessCost> now)
        {
            foreach (var (name, cost) in now.Where(entry => !peak.TryGetValue(entry.Key, out var most) || entry.Value.Bytes > most.Bytes))
            {
                peak[name] = cost;
            }
        }
    }
}
