using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Tests.Unit.Metadata;

public class InodeTableTests
{
    [Fact]
    public void Behaves_like_a_dictionary()
    {
        var random = new Random(11);
        var table = new InodeTable();
        var model = new SortedDictionary<ulong, Inode>();
        for (var step = 0; step < 50_000; step++)
        {
            // Runs of neighbours, as grants give them, and far ones.
            var ino = random.Next(4) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(3000) + 1;
            if (model.TryGetValue(ino, out var inode))
            {
                Assert.Same(inode, table.Find(ino));
                Assert.True(table.Remove(ino));
                model.Remove(ino);
            }
            else
            {
                Assert.Null(table.Find(ino));
                Assert.False(table.Remove(ino));
                inode = new Inode { Attributes = new InodeAttributes { Ino = ino } };
                table.Add(inode);
                model.Add(ino, inode);
            }

            Assert.Equal(model.Count, table.Count);
        }

        Assert.Equal(model.Values, table.Sorted());
    }
}
