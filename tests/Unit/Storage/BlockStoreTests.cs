using EphemeralFs.Core;
using EphemeralFs.StorageServer.Blocks;
using EphemeralFs.StorageServer.Tiers;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Unit.Storage;

public sealed class BlockStoreTests : IDisposable
{
    private readonly MemoryTier _dram = new(TierClass.Dram, 2);
    private readonly MemoryTier _ssd = new(TierClass.Ssd, 2);
    private readonly MemoryTier _hdd = new(TierClass.Hdd, 2);

    public void Dispose()
    {
        _dram.Dispose();
        _ssd.Dispose();
        _hdd.Dispose();
    }

    [Theory]
    [InlineData(TierClass.Dram, "Dram Dram Ssd Ssd Hdd Hdd")]
    [InlineData(TierClass.None, "Dram Dram Ssd Ssd Hdd Hdd")]
    [InlineData(TierClass.Nvme, "Ssd Ssd Hdd Hdd Dram Dram")]
    [InlineData(TierClass.Ssd, "Ssd Ssd Hdd Hdd Dram Dram")]
    [InlineData(TierClass.Hdd, "Hdd Hdd Ssd Ssd Dram Dram")]
    [InlineData(TierClass.Object, "Hdd Hdd Ssd Ssd Dram Dram")]
    [InlineData(TierClass.Null, "Null Hdd Hdd Ssd Ssd Dram Dram")]
    public void TiersAreTriedFromThePreferredToSlowerToFaster(TierClass preferred, string expected)
    {
        using var store = Open(_hdd, new NullTier(BlockFormat.Charge(1000)), _dram, _ssd);
        var taken = new List<TierClass>();
        Status status;
        for (ulong i = 1; (status = Write(store, TestBlock.In(1, i, 1000), preferred, out var tier)) == Status.OK; i++)
        {
            taken.Add(tier);
        }

        Assert.Equal(expected, string.Join(' ', taken));
        Assert.Equal(Status.TierFull, status);
    }

    [Fact]
    public void AFailedTierIsPassedOver()
    {
        using var store = Open(_dram, _ssd);
        _dram.WriteStatus = Status.TierFailed;
        Assert.Equal(Status.OK, Write(store, TestBlock.In(1, 1, 1000), TierClass.Dram, out var tier));
        Assert.Equal(TierClass.Ssd, tier);
        _ssd.WriteStatus = Status.TierFull;
        Assert.Equal(Status.TierFailed, Write(store, TestBlock.In(1, 2, 1000), TierClass.Dram, out _));
        Assert.Equal(1, Metric(store, "ephemeralfs_storage_blocks_passed_over_total"));
        Assert.Equal(1, Metric(store, "ephemeralfs_storage_writes_refused_total"));
        Assert.Equal(Status.BlockNotFound, store.Find(BlockId.Make(1, 2), out _));
    }

    [Fact]
    public void EqualTiersTakeTurns()
    {
        var other = new MemoryTier(TierClass.Dram, 2);
        using var store = Open(_dram, other);
        for (ulong i = 1; i <= 4; i++)
        {
            Assert.Equal(Status.OK, Write(store, TestBlock.In(1, i, 1000), TierClass.Dram, out _));
            Assert.InRange(_dram.Blocks - other.Blocks, -1, 1);
        }

        Assert.Equal(Status.TierFull, Write(store, TestBlock.In(1, 5, 1000), TierClass.Dram, out _));
    }

    [Fact]
    public void AWriteWaitsForRoomThatADeletedVolumeGivesBack()
    {
        _dram.MaxBlocks = 0;
        var asked = 0;
        _dram.Removal = () =>
        {
            _dram.MaxBlocks = ++asked == 3 ? 1 : 0;
            return asked <= 3;
        };
        using var store = Open(_dram);
        Assert.Equal(Status.OK, Write(store, TestBlock.In(1, 1, 1000), TierClass.Dram, out _));
        Assert.Equal(3, asked);
        Assert.Equal(Status.TierFull, Write(store, TestBlock.In(1, 2, 1000), TierClass.Dram, out _));
    }

    [Fact]
    public void BytesThatDoNotMatchTheirChecksumsAreRefused()
    {
        using var store = Open(_dram);
        var block = TestBlock.In(1, 1, 200_000);
        block.Data[150_000] ^= 1;
        Assert.Equal(Status.ChecksumMismatch, Write(store, block, TierClass.Dram, out _));
        Assert.Equal(0, _dram.Blocks);
        Assert.Equal(1, Metric(store, "ephemeralfs_storage_checksum_mismatches_total"));
    }

    [Fact]
    public void WrongRequestsAreRefused()
    {
        using var store = Open(_dram);
        var block = TestBlock.In(1, 1, 100_000);
        Assert.Equal(Status.BadRequest, store.Write(block.Id, TierClass.Dram, block.Data, block.Checksums.AsSpan(1), out _));
        Assert.Equal(Status.BadRequest, store.Write(block.Id, TierClass.Dram, [], [], out _));
        Assert.Equal(Status.BadRequest, store.Write(block.Id, TierClass.Dram, new byte[Limits.BlockSizeBytes + 1], new uint[17], out _));
        Assert.Equal(Status.BadRequest, store.Write(block.Id, (TierClass)77, block.Data, block.Checksums, out _));
        Assert.Equal(Status.BadRequest, store.Write(BlockId.Unwritten, TierClass.Dram, block.Data, block.Checksums, out _));
        Assert.Equal(Status.BadRequest, store.Write(BlockId.Make(0, 5), TierClass.Dram, block.Data, block.Checksums, out _));
        Assert.Equal(Status.BadRequest, store.Write(BlockId.Make(5, 0), TierClass.Dram, block.Data, block.Checksums, out _));
        Assert.Equal(Status.BadRequest, store.DeleteVolume(0));
        Assert.Equal(Status.BadRequest, store.DeleteVolume(1 << 24));

        Assert.Equal(Status.OK, Write(store, block, TierClass.Dram, out _));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, 1, new byte[10], new uint[1]));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, 0, new byte[10], new uint[1]));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, 0, new byte[100_001], new uint[2]));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, 0, new byte[100_000], new uint[1]));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, 131_072, new byte[1], new uint[1]));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, -65_536, new byte[65_536], new uint[1]));
        Assert.Equal(Status.BadRequest, store.Read(block.Id, 0, [], []));
        Assert.Equal(Status.OK, store.Read(block.Id, 65_536, new byte[34_464], new uint[1]));
    }

    [Fact]
    public void WritingTheSameBlockAgainIsSuccessAndAnotherOneIsNot()
    {
        using var store = Open(_dram, _ssd);
        var block = TestBlock.In(1, 1, 100_000);
        Assert.Equal(Status.OK, Write(store, block, TierClass.Ssd, out _));
        Assert.Equal(Status.OK, Write(store, block, TierClass.Dram, out var tier));
        Assert.Equal(TierClass.Ssd, tier);
        Assert.Equal(Status.BadRequest, Write(store, TestBlock.In(1, 1, 100_000, salt: 1), TierClass.Ssd, out _));
        Assert.Equal(Status.BadRequest, Write(store, TestBlock.In(1, 1, 99_999), TierClass.Ssd, out _));
        Assert.Equal(1, _ssd.Blocks + _dram.Blocks);
    }

    [Fact]
    public async Task WritesOfOneBlockHappenOneAfterTheOther()
    {
        using var store = Open(_dram);
        using var inside = new ManualResetEventSlim();
        using var release = new ManualResetEventSlim();
        _dram.Before = _ =>
        {
            inside.Set();
            release.Wait();
        };
        var block = TestBlock.In(1, 1, 1000);
        var first = Task.Run(() => Write(store, block, TierClass.Dram, out _));
        inside.Wait();

        // The second finds the first one's block; the tier asserts that it is not written twice.
        var second = Task.Run(() => Write(store, block, TierClass.Dram, out _));
        Assert.Equal(Status.BlockNotFound, store.Find(block.Id, out _));
        release.Set();
        Assert.Equal(Status.OK, await first);
        Assert.Equal(Status.OK, await second);
        Assert.Equal(1, Metric(store, "ephemeralfs_storage_blocks_written_total"));
    }

    [Fact]
    public async Task DeletingAVolumeWaitsForItsWritesAndTakesThemToo()
    {
        using var store = Open(_dram);
        using var inside = new ManualResetEventSlim();
        using var release = new ManualResetEventSlim();
        _dram.Before = _ =>
        {
            inside.Set();
            release.Wait();
        };
        var writer = Task.Run(() => Write(store, TestBlock.In(1, 1, 1000), TierClass.Dram, out _));
        inside.Wait();
        var deleter = Task.Run(() => store.DeleteVolume(1));
        release.Set();
        Assert.Equal(Status.OK, await writer);
        Assert.Equal(Status.OK, await deleter);

        // Whichever came first: the index and the tier agree.
        Assert.Equal(_dram.Blocks, store.List(0, 10, out _).Length);
        Assert.Equal(Status.OK, store.DeleteVolume(1));
        Assert.Equal(0, _dram.Blocks);
        Assert.Empty(store.List(0, 10, out _));
    }

    [Fact]
    public void ABlockThatCannotBeDeletedStays()
    {
        using var store = Open(_dram);
        var block = TestBlock.In(1, 1, 1000);
        Write(store, block, TierClass.Dram, out _);
        _dram.DeleteStatus = Status.TierFailed;
        Assert.Equal(Status.TierFailed, store.Delete(block.Id));
        Assert.Equal(Status.OK, store.Find(block.Id, out var length));
        Assert.Equal(1000, length);
        _dram.DeleteStatus = Status.OK;
        Assert.Equal(Status.OK, store.Delete(block.Id));
        Assert.Equal(Status.OK, store.Delete(block.Id));
        Assert.Equal(Status.OK, store.Delete(BlockId.Make(99, 1)));
        Assert.Equal(Status.BlockNotFound, store.Find(block.Id, out _));
    }

    [Fact]
    public void ListingGivesAllBlocksInOrderWhateverThePageSize()
    {
        _dram.MaxBlocks = int.MaxValue;
        using var store = Open(_dram);
        var random = new Random(3);
        var ids = new SortedSet<ulong>();
        while (ids.Count < 700)
        {
            var spread = 1L << random.Next(1, 40);
            ids.Add(BlockId.Make((uint)random.Next(1, 4), (ulong)random.NextInt64(1, spread + 1)));
        }

        foreach (var id in ids.Reverse())
        {
            Assert.Equal(Status.OK, Write(store, TestBlock.Make(id, 1), TierClass.Dram, out _));
        }

        foreach (var page in new[] { 1, 7, 699, 700, 701 })
        {
            var listed = new List<ulong>();
            for (var end = false; !end;)
            {
                var part = store.List(listed.Count == 0 ? 0 : listed[^1], page, out end);
                Assert.InRange(part.Length, end ? 0 : page, page);
                listed.AddRange(part);
                Assert.True(listed.Count <= ids.Count);
            }

            Assert.Equal(ids, listed);
        }

        foreach (var id in ids)
        {
            Assert.Equal(Status.OK, store.Delete(id));
        }

        Assert.Empty(store.List(0, 10, out var empty));
        Assert.True(empty);
        Assert.Empty(store.List(ulong.MaxValue, 10, out _));
    }

    [Fact]
    public void OfTwoCopiesFoundAtTheStartAnUndamagedOneStays()
    {
        var block = TestBlock.In(1, 1, 1000);
        _dram.Found.Add(new StoredBlock(block.Id, 500));
        _ssd.Found.Add(new StoredBlock(block.Id, 1000));
        _ssd.Add(block);
        using var store = Open(_dram, _ssd);
        Assert.Equal(Status.OK, store.Find(block.Id, out var length));
        Assert.Equal(1000, length);
        Assert.Equal(Status.OK, store.Read(block.Id, 0, new byte[1000], new uint[1]));
    }

    private static BlockStore Open(params ITier[] tiers) => new(tiers, verifyOnRead: false, NullLogger.Instance);

    private static Status Write(BlockStore store, TestBlock block, TierClass preferred, out TierClass tier) =>
        store.Write(block.Id, preferred, block.Data, block.Checksums, out tier);

    private static double Metric(BlockStore store, string name) => store.Metrics().Single(m => m.Name == name).Value;
}
