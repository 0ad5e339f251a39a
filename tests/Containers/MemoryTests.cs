using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Containers.Oci;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers;

/// <summary>What a container writes to /tmp is not its memory: the limit that kills it on a tmpfs is none here.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class MemoryTests(KubernetesCluster kubernetes)
{
    private const long LimitBytes = 64 << 20;

    /// <summary><c>python3 -c … BYTES HOW</c>: writes so many to /tmp, in one process, and reads them back. Each MiB is another one.</summary>
    private const string WriteAndRead = """
        import hashlib, mmap, random, sys
        bytes, how, numbers, written, read = int(sys.argv[1]), sys.argv[2], random.Random(1), hashlib.sha256(), hashlib.sha256()
        with open('/tmp/large', 'w+b') as file:
            if how == 'mapped':
                file.truncate(bytes)
                memory = mmap.mmap(file.fileno(), bytes)
            for at in range(0, bytes, 1 << 20):
                block = numbers.randbytes(1 << 20)
                written.update(block)
                if how == 'mapped':
                    memory[at:at + len(block)] = block
                else:
                    file.write(block)
            if how == 'mapped':
                memory.close()
        with open('/tmp/large', 'rb') as file:
            while block := file.read(1 << 20):
                read.update(block)
        if written.digest() != read.digest():
            sys.exit('what was read is not what was written')
        print('all as it was written')
        """;

    [Theory]
    [InlineData("written")]
    [InlineData("mapped")]
    public Task A_container_writes_many_times_its_memory_limit(string how) => WritesAsync(256L << 20, how, 120);

    [Theory]
    [InlineData("written")]
    [InlineData("mapped")]
    [Trait("Category", "Soak")]
    public Task A_container_writes_two_gibibytes(string how) => WritesAsync(2L << 30, how, 900);

    [Fact]
    public async Task The_same_on_a_tmpfs_is_killed()
    {
        await using var pod = await kubernetes.First.StartAsync(new Pod("memory", new MemoryVolume("tmp")));
        using var container = Start(pod["tmp"], 256L << 20, "written", 120);
        var result = container.End();
        Assert.True(result.ExitCode == Container.Killed, result.Describe());
    }

    private async Task WritesAsync(long bytes, string how, int seconds)
    {
        await using var pod = await kubernetes.First.StartAsync(new Pod("large", new InlineVolume("tmp", ("size", "3G"))));
        using var container = Start(pod["tmp"], bytes, how, seconds);
        Assert.Equal("all as it was written", container.End().MustSucceed().Trim());
    }

    private Container Start(string volume, long bytes, string how, int seconds) => Container.Start(
        kubernetes.Home,
        new ContainerOptions(new ContainerMount(volume)) { MemoryBytes = LimitBytes },
        seconds,
        Tool.Python, "-c", WriteAndRead, bytes.ToString(System.Globalization.CultureInfo.InvariantCulture), how);
}
