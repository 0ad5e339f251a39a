using EphemeralFs.Core;
using EphemeralFs.StorageServer.Blocks;
using EphemeralFs.StorageServer.Tiers;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Unit.Storage;

/// <summary>The block store over real files: damage, restarts, and many threads.</summary>
public sealed class BlockStoreOnDiskTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void ADamagedTrailerIsNotServedAndAnotherWriteRepairsIt()
    {
        using var store = Open(false);
        var block = TestBlock.In(1, 1, 100_000);
        Assert.Equal(Status.OK, Write(store, block));
        Flip(_scratch.BlockFiles()[0], 100_003);
        Assert.Equal(Status.BlockCorrupt, Read(store, block, out _));
        Assert.Equal(1, store.Metrics().Single(m => m.Name == "ephemeralfs_storage_corrupt_reads_total").Value);
        Assert.Equal(Status.OK, Write(store, block));
        Assert.Equal(Status.OK, Read(store, block, out var data));
        Assert.Equal(block.Data, data);
        Assert.Equal(BlockFormat.Charge(100_000), (long)store.Tiers()[0].UsedBytes);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ChangedBytesAreFoundHereOrByTheReader(bool verifyOnRead)
    {
        using var store = Open(verifyOnRead);
        var block = TestBlock.In(1, 1, 200_000);
        Write(store, block);
        Flip(_scratch.BlockFiles()[0], 70_000);
        var status = Read(store, block, out var data);
        Assert.Equal(verifyOnRead ? Status.BlockCorrupt : Status.OK, status);
        Assert.False(BlockFormat.Verify(data, block.Checksums));

        // The other units are fine.
        var unit = new byte[Limits.ChecksumUnitBytes];
        Assert.Equal(Status.OK, store.Read(block.Id, 0, unit, new uint[1]));
        Assert.True(block.Data.AsSpan(0, unit.Length).SequenceEqual(unit));
    }

    [Fact]
    public void ARestartFindsEveryBlock()
    {
        var random = new Random(8);
        var blocks = Enumerable.Range(1, 60).Select(i => TestBlock.In((uint)(i % 3) + 1, (ulong)i * 37, random.Next(1, 150_000))).ToArray();
        ulong used;
        using (var store = Open(false))
        {
            Assert.All(blocks, b => Assert.Equal(Status.OK, Write(store, b)));
            Assert.Equal(Status.OK, store.DeleteVolume(2));
            while (store.WaitForRemoval(10_000))
            {
            }

            used = store.Tiers()[0].UsedBytes;
        }

        using var again = Open(false);
        Assert.Equal(used, again.Tiers()[0].UsedBytes);
        Assert.Equal(40UL, again.Tiers()[0].Blocks);
        foreach (var block in blocks)
        {
            var gone = BlockId.VolumeOf(block.Id) == 2;
            Assert.Equal(gone ? Status.BlockNotFound : Status.OK, Read(again, block, out var data));
            Assert.True(gone || block.Data.AsSpan().SequenceEqual(data));
        }
    }

    [Fact]
    public void ManyThreadsOnFewBlocksNeverSeeWrongBytesAndTheBookBalances()
    {
        const int Threads = 8;
        const int Steps = 1500;
        using var store = Open(true);
        var failures = new System.Collections.Concurrent.ConcurrentQueue<string>();
        var threads = Enumerable.Range(0, Threads).Select(t => new Thread(() =>
        {
            var random = new Random(t);
            for (var step = 0; step < Steps && failures.IsEmpty; step++)
            {
                var id = BlockId.Make((uint)random.Next(1, 3), (ulong)random.Next(1, 20));
                var block = TestBlock.Make(id, (int)(BlockId.SequenceOf(id) * 5000));
                var status = random.Next(100) switch
                {
                    < 40 => Write(store, block),
                    < 80 => ReadWhole(store, block, failures),
                    < 98 => store.Delete(id),
                    _ => store.DeleteVolume(BlockId.VolumeOf(id)),
                };
                if (status is not Status.OK and not Status.BlockNotFound)
                {
                    failures.Enqueue($"thread {t} step {step}: {status}");
                }
            }
        })).ToArray();
        Array.ForEach(threads, t => t.Start());
        Array.ForEach(threads, t => t.Join());
        Assert.Empty(failures);
        while (store.WaitForRemoval(10_000))
        {
        }

        var files = _scratch.BlockFiles();
        Assert.Equal(files.Length, store.List(0, 1000, out _).Length);
        Assert.Equal((ulong)files.Length, store.Tiers()[0].Blocks);
        Assert.Equal((ulong)files.Sum(f => (new FileInfo(f).Length + 4095) / 4096 * 4096), store.Tiers()[0].UsedBytes);
        Assert.True(store.Tiers()[0].Healthy);
    }

    private static Status ReadWhole(BlockStore store, TestBlock block, System.Collections.Concurrent.ConcurrentQueue<string> failures)
    {
        var status = Read(store, block, out var data);
        if (status == Status.OK && !block.Data.AsSpan().SequenceEqual(data))
        {
            failures.Enqueue($"block {block.Id:x} has wrong bytes");
        }

        return status;
    }

    private static Status Write(BlockStore store, TestBlock block) => store.Write(block.Id, TierClass.Ssd, block.Data, block.Checksums, out _);

    private static Status Read(BlockStore store, TestBlock block, out byte[] data)
    {
        data = new byte[block.Data.Length];
        return store.Read(block.Id, 0, data, new uint[BlockFormat.Units(data.Length)]);
    }

    private static void Flip(string file, long position)
    {
        using var stream = new FileStream(file, System.IO.FileMode.Open, FileAccess.ReadWrite);
        stream.Position = position;
        var value = stream.ReadByte();
        stream.Position = position;
        stream.WriteByte((byte)(value ^ 0x10));
    }

    private BlockStore Open(bool verifyOnRead) => new(
        [new DirectoryTier(new TierOptions(TierClass.Ssd, _scratch.Path, 1 << 30), "s1", NullLogger.Instance)], verifyOnRead, NullLogger.Instance);
}
