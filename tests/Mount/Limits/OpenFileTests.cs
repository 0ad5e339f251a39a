using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>Many open files.</summary>
[Collection(LimitCollection.Name)]
public sealed class OpenFileTests(ITestOutputHelper output)
{
    /// <summary>Each file is written to, read by another descriptor, and works without its name; the daemon says how many are open.</summary>
    [Fact]
    public void A_thousand_files_are_open_at_once()
    {
        const int Files = 1000;
        const long BytesPerFile = 192 << 10; // a segment of the write-back cache is 128 KiB; the rest is its records
        using var cluster = new LimitCluster();
        // What loads code first: the first block that is written, and the first question for metrics.
        File.WriteAllBytes(Path.Combine(cluster.First, "first"), new byte[100_000]);
        File.Delete(Path.Combine(cluster.First, "first"));
        LimitCluster.WaitUntil(() => cluster.Metric("node", "ephemeralfs_node_open_handles") == 0, () => "no handle is open");
        var before = ProcessCost.Of(cluster.Process("node"));
        using var program = new Command(cluster.First, 120, Tool.Python, "-c", $"""
            import os, sys
            count = {Files}
            data = lambda i: b'%d ' % i * 500
            write = [os.open('f%d' % i, os.O_CREAT | os.O_EXCL | os.O_WRONLY) for i in range(count)]
            read = [os.open('f%d' % i, os.O_RDONLY) for i in range(count)]
            for i in range(count): os.write(write[i], data(i))
            print('written', flush=True)
            sys.stdin.readline()
            for i in range(0, count, 2): os.unlink('f%d' % i)
            for i in range(count): os.pwrite(write[i], b'again', 10)
            for i in range(count):
                expected = bytearray(data(i))
                expected[10:15] = b'again'
                assert os.pread(read[i], 10000, 0) == expected, i
                assert os.fstat(write[i]).st_nlink == i % 2
            for fd in write + read: os.close(fd)
            assert len(os.listdir('.')) == count // 2
            for i in range(1, count, 2): os.unlink('f%d' % i)
            """).Start();
        program.WaitForOutput("written");
        Assert.Equal(2 * Files, cluster.Metric("node", "ephemeralfs_node_open_handles"));
        var open = ProcessCost.Of(cluster.Process("node"));
        program.Process.StandardInput.WriteLine();
        program.Wait().MustSucceed();
        // The kernel tells of the last close a moment later.
        LimitCluster.WaitUntil(() => cluster.Metric("node", "ephemeralfs_node_open_handles") == 0, () => "no handle is open");
        LimitCluster.WaitUntil(() => cluster.Metric("node", "ephemeralfs_node_write_cache_bytes") == 0, () => "nothing is unflushed");
        output.WriteLine($"{Files} files with two descriptors each: {(open.Bytes - before.Bytes) / Files / 1024} KiB each");
        Assert.True(open.Bytes - before.Bytes < Files * BytesPerFile, $"{(open.Bytes - before.Bytes) / Files} bytes for each open file");
        Assert.True(ProcessCost.Of(cluster.Process("node")).Descriptors <= before.Descriptors + 8, ProcessCost.DescribeDescriptors(cluster.Process("node")));
    }
}
