using System.Text;
using EphemeralFs.Tests.Mount.Faults;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>
/// What one node has closed, or renamed to a name, the other reads at once: in names that it never saw, that it has just read, and that it has just looked for in
/// vain. Each node has a network of its own between it and the servers. One old byte is a failure; nothing is tried twice.
/// </summary>
[Collection(DeathCollection.Name)]
public sealed class HandOverTests
{
    private const int Kept = 50;

    [Fact]
    public void Nothing_old_is_read_of_two_thousand_files() => HandOver(2_000);

    [Fact]
    [Trait("Category", "Soak")]
    public void Nothing_old_is_read_of_a_hundred_thousand_files() => HandOver(100_000);

    private static void HandOver(int count)
    {
        using var network = new NetworkOfItsOwn();
        using var cluster = new TestCluster("efshand", null, "--listen", $"tcp:{network.Outside}:0");
        string second = cluster.MakeDirectory("b");
        cluster.MountIn(network, second, "b");
        for (int i = 0; i < count; i++)
        {
            // By turns of a few, so that each node is now the one that others have to tell.
            var (from, to) = i / 5 % 2 == 0 ? (cluster.First, second) : (second, cluster.First);
            string directory = $"d{i / 1000}";
            if (i % 1000 == 0)
            {
                Directory.CreateDirectory(Path.Combine(from, directory));
            }
            byte[] content = Encoding.ASCII.GetBytes($"{i} {new string('x', i * 37 % 12_000)}");
            string name = Path.Combine(directory, (i % 3) switch { 0 => $"new{i}", 1 => $"same{i / 5 % 7}", _ => $"looked-for{i}" });
            if (i % 3 == 2)
            {
                Assert.False(File.Exists(Path.Combine(to, name)));
                string unfinished = Path.Combine(from, directory, "unfinished");
                File.WriteAllBytes(unfinished, content);
                File.Move(unfinished, Path.Combine(from, name));
            }
            else
            {
                File.WriteAllBytes(Path.Combine(from, name), content);
            }
            byte[] read = File.ReadAllBytes(Path.Combine(to, name));
            Assert.True(content.AsSpan().SequenceEqual(read), $"{i}: {name} begins with '{Encoding.ASCII.GetString(read.AsSpan(0, Math.Min(20, read.Length)))}'");
            if (i >= Kept && (i - Kept) % 3 != 1)
            {
                int old = i - Kept;
                File.Delete(Path.Combine(to, $"d{old / 1000}", old % 3 == 0 ? $"new{old}" : $"looked-for{old}"));
            }
        }
    }
}
