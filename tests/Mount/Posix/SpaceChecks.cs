using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>statvfs(3)</c> and inode numbers.</summary>
public abstract class SpaceChecks(ITestTarget target) : PosixChecks(target)
{
    private const int Mega = 1 << 20;

    private Statvfs Space()
    {
        Ok(Native.StatFileSystem(Scratch, out Statvfs space));
        return space;
    }

    [Fact]
    public void TheNumbersFitTogether()
    {
        Statvfs space = Space();
        Assert.InRange(space.BlockSize, 512ul, 1ul << 24);
        Assert.InRange(space.FragmentSize, 512ul, space.BlockSize);
        Assert.True(space.Blocks > 0, "no size");
        Assert.InRange(space.FreeBlocks, 1ul, space.Blocks);
        Assert.InRange(space.AvailableBlocks, 1ul, space.FreeBlocks);
        Assert.True(space.Files > 0, "no inodes");
        Assert.InRange(space.FreeFiles, 1ul, space.Files);
        Assert.Equal(255ul, space.NameLimit);
    }

    [Fact]
    public void SpaceIsTakenByWritingAndGivenBackByUnlinking()
    {
        // Other checks on the same file system move these numbers too: 64 MiB stand out of their noise. How full servers are is known a
        // moment later where there are several, so each number is waited for.
        ulong Free() => Space().FreeBlocks * Space().FragmentSize;
        ulong before = Free();
        MakeFile("f", new byte[64 * Mega]);
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Fsync(fd));
        Until(() => Free() <= before - (48 * Mega), "64 MiB were written and free space did not shrink by it");
        Ok(Native.Unlink(P("f")));
        Assert.True(Free() <= before - (48 * Mega), "an open file without a name still takes its space");
        Close(fd);
        Until(() => Free() >= before - (16 * Mega), "the space was not given back after the last close");
    }

    private static void Until(Func<bool> condition, string otherwise)
    {
        long start = Environment.TickCount64;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 - start < 30_000, otherwise);
            Thread.Yield();
        }
    }

    [Fact]
    public void EveryFileHasANumberOfItsOwnWhileItExists()
    {
        var seen = new HashSet<ulong>();
        for (int i = 0; i < 500; i++)
        {
            string path = Make($"f{i}", (Kind)(i % 7));
            Statx stat = Stat(path);
            Assert.NotEqual(0u, stat.Ino);
            Assert.True(seen.Add(stat.Ino), $"the number {stat.Ino} was given twice");
            Assert.Equal((Stat(Scratch).FileSystemMajor, Stat(Scratch).FileSystemMinor), (stat.FileSystemMajor, stat.FileSystemMinor));
        }
    }

    [Fact]
    public void FilesCountAgainstFreeInodesOnlyWhileTheyExist()
    {
        Statvfs before = Space();
        string[] paths = [.. Enumerable.Range(0, 2000).Select(i => Make($"f{i}"))];
        Until(() => before.FreeFiles - Space().FreeFiles is >= 1000 and < 1_000_000, "2,000 files were made and free inodes did not shrink");
        foreach (string path in paths)
        {
            Ok(Native.Unlink(path));
        }
        Until(() => Space().FreeFiles >= before.FreeFiles - 1000, "the inodes were not given back");
    }
}
