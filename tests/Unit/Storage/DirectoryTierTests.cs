using EphemeralFs.Core;
using EphemeralFs.StorageServer.Tiers;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Unit.Storage;

public sealed class DirectoryTierTests : IDisposable
{
    private const int Unit = Limits.ChecksumUnitBytes;

    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void BlocksOfAllSizesReadBackWholeAndInParts()
    {
        using var tier = Open();
        var random = new Random(11);
        int[] edges = [1, 4095, 4096, Unit - 1, Unit, Unit + 1, (2 * Unit) + 5, Limits.BlockSizeBytes - 1, Limits.BlockSizeBytes];
        ulong sequence = 0;
        foreach (var length in edges.Concat(Enumerable.Range(0, 40).Select(_ => random.Next(1, Limits.BlockSizeBytes + 1))))
        {
            var block = TestBlock.In(1, ++sequence, length);
            Assert.Equal(Status.OK, tier.Write(block.Id, block.Data, block.Checksums));
            AssertReads(tier, block, 0, length);
            var units = BlockFormat.Units(length);
            var first = random.Next(units);
            var last = random.Next(first, units);
            AssertReads(tier, block, first * Unit, Math.Min((last + 1) * Unit, length));
        }

        Assert.Equal((long)sequence, tier.Blocks);
    }

    [Fact]
    public void UsedBytesAreThoseOfTheFilesInPages()
    {
        using var tier = Open();
        foreach (var length in new[] { 1, 4060, 4061, 70_000, Limits.BlockSizeBytes })
        {
            var block = TestBlock.In(1, (ulong)length, length);
            Assert.Equal(Status.OK, tier.Write(block.Id, block.Data, block.Checksums));
        }

        Assert.Equal(_scratch.BlockFiles().Sum(f => (new FileInfo(f).Length + 4095) / 4096 * 4096), tier.UsedBytes);
        foreach (var block in tier.Enumerate().ToArray())
        {
            // Enumerate counts what it finds, as at the start; so each block is now counted twice and deleted twice.
            Assert.Equal(Status.OK, tier.Delete(block.BlockId, block.Length));
            Assert.Equal(Status.OK, tier.Delete(block.BlockId, block.Length));
        }

        Assert.Equal(0, tier.UsedBytes);
        Assert.Equal(0, tier.Blocks);
        Assert.Empty(_scratch.BlockFiles());
    }

    [Fact]
    public void CapacityIsUsedToTheLastPageAndNotBeyond()
    {
        var charge = BlockFormat.Charge(Limits.BlockSizeBytes);
        using var tier = Open((3 * charge) + 4096 + 4095);
        for (ulong i = 1; i <= 3; i++)
        {
            Assert.Equal(Status.OK, Write(tier, TestBlock.In(1, i, Limits.BlockSizeBytes)));
        }

        Assert.Equal(Status.TierFull, Write(tier, TestBlock.In(1, 4, 5000)));
        Assert.Equal(Status.OK, Write(tier, TestBlock.In(1, 5, 4000)));
        Assert.Equal(Status.TierFull, Write(tier, TestBlock.In(1, 6, 1)));
        Assert.Equal(tier.CapacityBytes, tier.UsedBytes);
        Assert.Equal(Status.OK, tier.Delete(BlockId.Make(1, 5), 4000));
        Assert.Equal(Status.OK, Write(tier, TestBlock.In(1, 6, 1)));
    }

    [RootFact]
    public void AFullMediumIsTierFullAndLeavesNothingBehind()
    {
        using var mount = TinyTmpfs.Mount(_scratch.Make("tiny"), 1 << 20);
        using var tier = new DirectoryTier(new TierOptions(TierClass.Dram, mount.Path, 1 << 20), "s1", NullLogger.Instance);
        Assert.Equal(Status.OK, Write(tier, TestBlock.In(1, 1, 600_000)));
        File.WriteAllBytes(System.IO.Path.Combine(mount.Path, "other"), new byte[200_000]);
        Assert.Equal(Status.TierFull, Write(tier, TestBlock.In(1, 2, 400_000)));
        Assert.True(tier.Healthy);
        Assert.Equal(BlockFormat.Charge(600_000), tier.UsedBytes);
        Assert.Single(_scratch.BlockFiles());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(100_000)]
    [InlineData(200_011)]
    public void AFileCutShortIsRemovedAtTheStart(int remaining)
    {
        var block = TestBlock.In(1, 1, 200_000);
        var whole = TestBlock.In(1, 2, 200_000);
        using (var tier = Open())
        {
            Write(tier, block);
            Write(tier, whole);
        }

        var file = _scratch.BlockFiles()[0];
        using (var stream = File.OpenWrite(file))
        {
            stream.SetLength(remaining);
        }

        using var again = Open();
        Assert.Equal([new StoredBlock(whole.Id, 200_000)], again.Enumerate());
        Assert.False(File.Exists(file));
        Assert.Equal(BlockFormat.Charge(200_000), again.UsedBytes);
        AssertReads(again, whole, 0, 200_000);
    }

    [Fact]
    public void AFileCutShortWhileServingIsCorrupt()
    {
        using var tier = Open();
        var block = TestBlock.In(1, 1, 200_000);
        Write(tier, block);
        using (var stream = File.OpenWrite(_scratch.BlockFiles()[0]))
        {
            stream.SetLength(150_000);
        }

        Assert.Equal(Status.BlockCorrupt, tier.Read(block.Id, 200_000, 0, new byte[200_000], new uint[4]));
        Assert.Equal(Status.BlockCorrupt, tier.Read(block.Id, 200_000, 0, new byte[Unit], new uint[1]));
        Assert.Equal(Status.BlockCorrupt, tier.Compare(block.Id, 200_000, block.Checksums));
    }

    [Fact]
    public void CompareTellsTheSameBlockFromAnother()
    {
        using var tier = Open();
        var block = TestBlock.In(1, 1, 200_000);
        Write(tier, block);
        Assert.Equal(Status.OK, tier.Compare(block.Id, 200_000, block.Checksums));
        Assert.Equal(Status.BadRequest, tier.Compare(block.Id, 200_000, TestBlock.In(1, 1, 200_000, salt: 1).Checksums));
        Assert.Equal(Status.BlockNotFound, tier.Compare(block.Id + 1, 200_000, block.Checksums));
    }

    [Fact]
    public void ALeftoverUnderTheNameOfABlockIsReplaced()
    {
        using var tier = Open();
        var block = TestBlock.In(1, 1, 50_000);
        Write(tier, block);
        File.WriteAllText(_scratch.BlockFiles()[0], "half a block");
        Assert.Equal(Status.OK, Write(tier, block));
        AssertReads(tier, block, 0, 50_000);
    }

    [Fact]
    public void DeletingAVolumeRemovesItsFilesAndGivesTheRoomBack()
    {
        using var tier = Open();
        var kept = TestBlock.In(2, 1, 100_000);
        Write(tier, kept);
        for (ulong i = 1; i <= 100; i++)
        {
            Write(tier, TestBlock.In(1, i, 10_000));
        }

        Assert.Equal(Status.OK, tier.DeleteVolume(1));
        Assert.Equal(Status.OK, tier.DeleteVolume(1));
        Assert.Equal(Status.OK, tier.DeleteVolume(3));
        Assert.Equal(Status.BlockNotFound, tier.Compare(BlockId.Make(1, 1), 10_000, []));
        while (tier.WaitForRemoval(10_000))
        {
        }

        Assert.Equal(BlockFormat.Charge(100_000), tier.UsedBytes);
        Assert.Equal(1, tier.Blocks);
        Assert.Single(_scratch.BlockFiles());
        Assert.Empty(Directory.EnumerateFileSystemEntries(System.IO.Path.Combine(_scratch.Path, "trash")));
        AssertReads(tier, kept, 0, 100_000);
    }

    [Fact]
    public void TrashOfAnEarlierRunIsChargedUntilItIsRemoved()
    {
        using (var tier = Open())
        {
            Write(tier, TestBlock.In(1, 1, 100_000));
        }

        Directory.Move(System.IO.Path.Combine(_scratch.Path, "v000001"), System.IO.Path.Combine(_scratch.Path, "trash", "000001-old"));
        using var again = Open();
        Assert.Empty(again.Enumerate());
        while (again.WaitForRemoval(10_000))
        {
        }

        Assert.Equal(0, again.UsedBytes);
        Assert.Equal(0, again.Blocks);
        Assert.Empty(Directory.EnumerateFileSystemEntries(System.IO.Path.Combine(_scratch.Path, "trash")));
    }

    [Fact]
    public void ABadDirectoryIsOneClearLine()
    {
        var missing = System.IO.Path.Combine(_scratch.Path, "missing");
        Assert.Contains("does not exist; create it", Fails(new TierOptions(TierClass.Ssd, missing, 1 << 30)), StringComparison.Ordinal);
        var file = System.IO.Path.Combine(_scratch.Path, "file");
        File.WriteAllText(file, "");
        Assert.Contains("not a directory", Fails(new TierOptions(TierClass.Ssd, file, 1 << 30)), StringComparison.Ordinal);
        Assert.Contains("more than the whole file system", Fails(new TierOptions(TierClass.Ssd, _scratch.Path, 1L << 60)), StringComparison.Ordinal);
    }

    [Fact]
    public void ADirectoryBelongsToOneServerOfOneNameAndClass()
    {
        using (Open())
        {
            Assert.Contains("in use by another storage server", Fails(Options()), StringComparison.Ordinal);
        }

        Assert.Contains("server s1", Fails(Options(), "s2"), StringComparison.Ordinal);
        Assert.Contains("class ssd", Fails(Options() with { Class = TierClass.Hdd }), StringComparison.Ordinal);
        // A marker that a kill cut short is completed.
        var marker = System.IO.Path.Combine(_scratch.Path, "tier");
        var text = File.ReadAllText(marker);
        File.WriteAllText(marker, text[..20]);
        Open().Dispose();
        Assert.Equal(text, File.ReadAllText(marker));
    }

    private static Status Write(DirectoryTier tier, TestBlock block) => tier.Write(block.Id, block.Data, block.Checksums);

    private static void AssertReads(DirectoryTier tier, TestBlock block, int start, int end)
    {
        var data = new byte[end - start];
        var checksums = new uint[BlockFormat.Units(data.Length)];
        Assert.Equal(Status.OK, tier.Read(block.Id, block.Data.Length, start, data, checksums));
        Assert.True(block.Data.AsSpan(start, data.Length).SequenceEqual(data));
        Assert.Equal(block.Checksums.Skip(start / Unit).Take(checksums.Length), checksums);
    }

    private static string Fails(TierOptions options, string server = "s1") =>
        Assert.Throws<IOException>(() => new DirectoryTier(options, server, NullLogger.Instance)).Message;

    private TierOptions Options(long capacity = 1 << 30) => new(TierClass.Ssd, _scratch.Path, capacity);

    private DirectoryTier Open(long capacity = 1 << 30) => new(Options(capacity), "s1", NullLogger.Instance);
}
