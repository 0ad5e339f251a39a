using EphemeralFs.Core;
using EphemeralFs.StorageServer.Blocks;
using EphemeralFs.StorageServer.Service;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Unit.Storage;

public sealed class ScrubberTests : IDisposable
{
    private readonly MemoryTier _tier = new(TierClass.Dram, int.MaxValue);
    private readonly BlockStore _store;

    public ScrubberTests()
    {
        _store = new BlockStore([_tier], false, NullLogger.Instance);
        for (ulong i = 1; i <= 10_000; i++)
        {
            var block = TestBlock.In(1, i, 1);
            Assert.Equal(Status.OK, _store.Write(block.Id, TierClass.Dram, block.Data, block.Checksums, out _));
        }
    }

    public void Dispose() => _store.Dispose();

    [Fact]
    public async Task FreesWhatNobodyNeedsAndNothingElse()
    {
        var asked = new List<ulong>();
        using var scrubber = Make(ids =>
        {
            Assert.InRange(ids.Length, 1, Scrubber.BatchBlocks);
            asked.AddRange(ids);
            return Task.FromResult(ids.Where(id => id % 3 == 0).ToArray());
        });
        var result = await scrubber.RunOnceAsync();
        Assert.Equal(10_000, asked.Distinct().Count());
        Assert.Equal(new ScrubResult(10_000, asked.Count(id => id % 3 == 0), true), result);
        Assert.All(_store.List(0, 20_000, out _), id => Assert.NotEqual(0UL, id % 3));
        Assert.Equal(10_000 - result.Freed, _tier.Blocks);
    }

    [Fact]
    public async Task FreesNothingOfAQuestionThatWasNotAnswered()
    {
        var questions = 0;
        using var scrubber = Make(ids => ++questions == 2 ? Task.FromException<ulong[]>(new IOException("gone")) : Task.FromResult(ids));
        var result = await scrubber.RunOnceAsync();
        Assert.Equal(new ScrubResult(Scrubber.BatchBlocks, Scrubber.BatchBlocks, false), result);
        Assert.Equal(2, questions);
        Assert.Equal(10_000 - Scrubber.BatchBlocks, _tier.Blocks);
        Assert.Equal(1, scrubber.Metrics().Single(m => m.Name == "ephemeralfs_storage_scrub_failures_total").Value);
    }

    [Fact]
    public async Task FreesOnlyWhatItAskedAbout()
    {
        var other = BlockId.Make(1, 5000);
        using var scrubber = Make(ids => Task.FromResult(ids.Contains(other) ? [] : new[] { ids[0], other, BlockId.Make(9, 9) }));
        var result = await scrubber.RunOnceAsync();
        Assert.Equal(new ScrubResult(10_000, 2, false), result);
        Assert.Equal(Status.OK, _store.Find(other, out _));
    }

    private Scrubber Make(Func<ulong[], Task<ulong[]>> check) => new(_store, check, NullLogger.Instance);
}
