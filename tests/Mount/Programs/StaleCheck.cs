namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>One node looks, so that its kernel caches what it saw, the other changes it, and the first looks again; then the other way round.</summary>
/// <param name="first">A directory through one node.</param>
/// <param name="second">The same through another.</param>
/// <param name="seed">What is done.</param>
internal sealed class StaleCheck(string first, string second, int seed)
{
    private const int Names = 7;
    private const UnixFileMode Permissions = (UnixFileMode)0b111_111_111;

    private readonly Random random = new(seed);
    private int steps;

    /// <summary>One change, seen at once by both.</summary>
    public void Step()
    {
        var (here, there) = steps++ % 2 == 0 ? (first, second) : (second, first);
        string name = $"f{random.Next(Names)}", other = $"f{random.Next(Names)}";
        string changed = Path.Combine(here, name), seen = Path.Combine(there, name);
        bool exists = File.Exists(seen);
        _ = File.Exists(Path.Combine(there, other));
        switch (exists ? random.Next(6) : 6)
        {
            case 0:
                File.Delete(changed);
                Assert.False(File.Exists(seen), $"step {steps}: removed {name}");
                break;
            case 1:
                var mode = (UnixFileMode)random.Next(512);
                File.SetUnixFileMode(changed, mode);
                Assert.Equal(mode, File.GetUnixFileMode(seen) & Permissions);
                Assert.Equal(mode, File.GetUnixFileMode(changed) & Permissions);
                break;
            case 2 when name != other:
                long length = new FileInfo(seen).Length;
                File.Move(changed, Path.Combine(here, other), overwrite: true);
                Assert.False(File.Exists(seen), $"step {steps}: {name} was renamed to {other}");
                Assert.Equal(length, new FileInfo(Path.Combine(there, other)).Length);
                break;
            case 3:
                byte[] bytes = new byte[random.Next(20_000)];
                random.NextBytes(bytes);
                _ = File.ReadAllBytes(seen);
                File.WriteAllBytes(changed, bytes);
                Assert.Equal(bytes.Length, new FileInfo(seen).Length);
                Assert.True(bytes.AsSpan().SequenceEqual(File.ReadAllBytes(seen)), $"step {steps}: bytes of {name}");
                Assert.Equal(bytes.Length, new FileInfo(changed).Length);
                break;
            case 4:
                var time = DateTime.UnixEpoch.AddSeconds(random.Next(1_000_000_000));
                File.SetLastWriteTimeUtc(changed, time);
                Assert.Equal(time, File.GetLastWriteTimeUtc(seen));
                break;
            case 6:
                File.WriteAllText(changed, name);
                Assert.True(File.Exists(seen), $"step {steps}: made {name}");
                Assert.Equal(name, File.ReadAllText(seen));
                break;
            default:
                Assert.Equal(List(here), List(there));
                break;
        }
    }

    private static IEnumerable<string?> List(string directory) => Directory.GetFiles(directory).Select(Path.GetFileName).Order(StringComparer.Ordinal);
}
