using EphemeralFs.Tests.Model.Ops;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>A tree of ordinary files with ordinary names, for programs that know no more: the same from the same seed.</summary>
public static class PlainTree
{
    /// <summary>Makes <paramref name="fileCount"/> files of up to 20 kB in directories of 20.</summary>
    public static void Create(string root, int fileCount, ulong seed)
    {
        var random = new SeededRandom(seed);
        for (int i = 0; i < fileCount; i++)
        {
            string directory = Path.Combine(root, $"part{i / 200}", $"d{i / 20}");
            Directory.CreateDirectory(directory);
            string path = Path.Combine(directory, $"f{i}{random.Pick(".txt", ".c", ".jpg", ".md")}");
            File.WriteAllBytes(path, Pattern.Bytes(i + 1, random.Percent(5) ? 0 : random.Below(random.Percent(10) ? 20_000 : 1500)));
            File.SetUnixFileMode(path, random.Percent(10) ? (UnixFileMode)0b111_101_101 : (UnixFileMode)0b110_100_100);
        }
        Directory.CreateSymbolicLink(Path.Combine(root, "link"), "part0/d0");
    }
}
