using System.Text;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Tests.Unit.Metadata;

public class DirectoryContentTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Behaves_like_a_dictionary_in_insertion_order(int seed)
    {
        var random = new Random(seed);
        var directory = new DirectoryContent(1);
        var model = new Dictionary<string, (ulong Cookie, ulong Ino)>();
        for (var step = 0; step < 20_000; step++)
        {
            var name = $"n{random.Next(step < 10_000 ? 3000 : 40)}";
            var bytes = Encoding.UTF8.GetBytes(name);
            if (model.TryGetValue(name, out var entry))
            {
                Assert.Equal(entry.Ino, directory.Find(bytes));
                if (random.Next(5) == 0)
                {
                    directory.Replace(bytes, (ulong)step + 1, 4);
                    model[name] = (entry.Cookie, (ulong)step + 1);
                }
                else
                {
                    Assert.True(directory.Remove(bytes));
                    model.Remove(name);
                }
            }
            else
            {
                Assert.Equal(0UL, directory.Find(bytes));
                Assert.False(directory.Remove(bytes));
                model.Add(name, (directory.NextCookie, (ulong)step + 1));
                directory.Add(bytes, (ulong)step + 1, 8);
            }

            if (step % 500 == 0)
            {
                AssertSame(model, directory, 0);
                AssertSame(model, directory, (ulong)random.Next((int)directory.NextCookie));
            }
        }
    }

    [Fact]
    public void A_cookie_keeps_its_place_while_everything_around_it_goes()
    {
        var directory = new DirectoryContent(1);
        for (var i = 0; i < 1000; i++)
        {
            directory.Add(Encoding.UTF8.GetBytes($"f{i}"), (ulong)i + 10, 8);
        }

        var position = directory.PositionAfter(0);
        for (var i = 0; i < 500; i++)
        {
            Assert.True(directory.TryRead(ref position, out _));
        }

        Assert.True(directory.TryRead(ref position, out var seen));
        for (var i = 0; i < 1000; i++)
        {
            if (i != 777)
            {
                directory.Remove(Encoding.UTF8.GetBytes($"f{i}"));
            }
        }

        directory.Add("new"u8, 5, 8);
        position = directory.PositionAfter(seen.Cookie);
        Assert.True(directory.TryRead(ref position, out var next));
        Assert.Equal("f777", Encoding.UTF8.GetString(next.Name.Span));
        Assert.True(directory.TryRead(ref position, out next));
        Assert.Equal("new", Encoding.UTF8.GetString(next.Name.Span));
        Assert.False(directory.TryRead(ref position, out _));
    }

    [Fact]
    public void Holds_names_of_any_bytes_and_of_255()
    {
        var directory = new DirectoryContent(1);
        var longest = new byte[255];
        Array.Fill(longest, (byte)0xFF);
        directory.Add(longest, 2, 8);
        directory.Add(longest.AsSpan(0, 254), 3, 8);
        directory.Add([1], 4, 8);
        Assert.Equal(2UL, directory.Find(longest));
        Assert.Equal(3UL, directory.Find(longest.AsSpan(0, 254)));
        Assert.Equal(4UL, directory.Find([1]));
        Assert.Equal(0UL, directory.Find([2]));
    }

    private static void AssertSame(Dictionary<string, (ulong Cookie, ulong Ino)> model, DirectoryContent directory, ulong after)
    {
        Assert.Equal(model.Count, directory.Count);
        var position = directory.PositionAfter(after);
        foreach (var (name, (cookie, ino)) in model.Where(p => p.Value.Cookie > after).OrderBy(p => p.Value.Cookie))
        {
            Assert.True(directory.TryRead(ref position, out var item));
            Assert.Equal((name, cookie, ino), (Encoding.UTF8.GetString(item.Name.Span), item.Cookie, item.Ino));
        }

        Assert.False(directory.TryRead(ref position, out _));
    }
}
