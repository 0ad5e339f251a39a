using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Tests.Unit.Metadata;

public class FileContentTests
{
    private const int Bytes = 40_000;

    /// <summary>Random edits, compared byte by byte with an array that says which byte of which block lies where.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Edits_change_exactly_the_bytes_they_name(int seed)
    {
        var random = new Random(seed);
        var blocks = new BlockTable(0);
        var file = new FileContent();
        var model = new (ulong Block, uint Offset)[Bytes];
        var nextBlock = 0UL;
        for (var step = 0; step < 3000; step++)
        {
            var start = (ulong)random.Next(Bytes - 1);
            var end = start + 1 + (ulong)random.Next((int)Math.Min(3000, Bytes - start - 1) + 1);
            switch (random.Next(4))
            {
                case 0:
                    Assert.Equal(AnyIn(model, start, end), file.Remove(start, end, blocks));
                    Fill(model, start, end, 0, 0);
                    break;
                case 1:
                    file.Allocate(start, end, blocks);
                    for (var i = start; i < end; i++)
                    {
                        model[i] = model[i].Block == 0 ? (ulong.MaxValue, 0) : model[i];
                    }

                    break;
                default:
                    var extent = new Extent(start, end - start, ++nextBlock, (uint)random.Next(100), 1);
                    file.Remove(start, end, blocks);
                    file.Insert(extent, blocks);
                    Fill(model, start, end, extent.BlockId, extent.BlockOffset);
                    break;
            }

            if (step % 50 == 0)
            {
                AssertSame(model, file, blocks);
                var first = (ulong)random.Next(Bytes / 4096);
                var last = first + (ulong)random.Next(Bytes / 4096);
                Assert.Equal(CountPages(model, first, last), file.CountPages(first, last));
                Assert.Equal(AnyIn(model, start, end), file.AnyIn(start, end));
            }
        }

        file.Remove(0, ulong.MaxValue, blocks);
        Assert.True(file.IsEmpty);
        Assert.Equal(0, blocks.Count);
        Assert.Equal((int)nextBlock, blocks.DeleteQueues[1].Count);
    }

    [Fact]
    public void Many_extents_stay_sorted_in_any_order_of_writing()
    {
        var blocks = new BlockTable(0);
        var file = new FileContent();
        var order = Enumerable.Range(0, 5000).ToArray();
        new Random(5).Shuffle(order);
        foreach (var i in order)
        {
            file.Insert(new Extent((ulong)i * 10, 10, (ulong)i + 1, 0, 1), blocks);
        }

        Assert.Equal(5000, file.Extents!.Count);
        var n = 0UL;
        for (var at = file.Extents.Find(0); at.IsValid; at.Next())
        {
            Assert.Equal((n * 10, n + 1), (at.Current.FileOffset, at.Current.BlockId));
            n++;
        }

        Assert.Equal(5000UL, n);
        file.Remove(15, 49_985, blocks);

        // [0, 10), [10, 15), [49 985, 49 990) and [49 990, 50 000) are left.
        Assert.Equal(4, file.Extents.Count);
        Assert.Equal(4, blocks.Count);
        Assert.Equal(4996, blocks.DeleteQueues[1].Count);
    }

    [Fact]
    public void Neighbours_that_continue_each_other_become_one()
    {
        var blocks = new BlockTable(0);
        var file = new FileContent();
        file.Insert(new Extent(0, 10, 1, 0, 1), blocks);
        file.Insert(new Extent(20, 10, 1, 20, 1), blocks);
        Assert.Equal(2, blocks.ReferencesTo(1));
        file.Insert(new Extent(10, 10, 1, 10, 1), blocks);
        Assert.Equal(1, file.Extents!.Count);
        Assert.Equal(1, blocks.ReferencesTo(1));
        file.Remove(5, 6, blocks);
        Assert.Equal(2, blocks.ReferencesTo(1));
        file.Remove(0, 30, blocks);
        Assert.Equal([1UL], blocks.DeleteQueues[1].Ids.ToArray());
    }

    private static void Fill((ulong Block, uint Offset)[] model, ulong start, ulong end, ulong block, uint offset)
    {
        for (var i = start; i < end; i++)
        {
            model[i] = (block, block == 0 ? 0 : offset + (uint)(i - start));
        }
    }

    private static bool AnyIn((ulong Block, uint Offset)[] model, ulong start, ulong end) =>
        model.AsSpan((int)start, (int)(end - start)).ToArray().Any(b => b.Block != 0);

    private static ulong CountPages((ulong Block, uint Offset)[] model, ulong first, ulong end)
    {
        var count = 0UL;
        for (var page = first; page < end; page++)
        {
            var start = Math.Min(page * 4096, Bytes);
            var stop = Math.Min((page + 1) * 4096, Bytes);
            count += AnyIn(model, start, stop) ? 1UL : 0;
        }

        return count;
    }

    private static void AssertSame((ulong Block, uint Offset)[] model, FileContent file, BlockTable blocks)
    {
        var actual = new (ulong Block, uint Offset)[Bytes];
        var references = new Dictionary<ulong, int>();
        for (var at = file.Extents?.Find(0) ?? default; file.Extents is not null && at.IsValid; at.Next())
        {
            var extent = at.Current;
            for (var i = extent.FileOffset; i < extent.End; i++)
            {
                Assert.Equal(0UL, actual[i].Block);
                actual[i] = extent.IsUnwritten ? (ulong.MaxValue, 0) : (extent.BlockId, extent.BlockOffset + (uint)(i - extent.FileOffset));
            }

            if (!extent.IsUnwritten)
            {
                references[extent.BlockId] = references.GetValueOrDefault(extent.BlockId) + 1;
            }
        }

        Assert.Equal(model, actual);
        Assert.Equal(references.OrderBy(p => p.Key), blocks.References.OrderBy(p => p.Key));
    }
}
