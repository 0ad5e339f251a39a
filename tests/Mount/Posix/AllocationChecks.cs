using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>fallocate(2)</c>, holes, <c>SEEK_HOLE</c> and <c>SEEK_DATA</c>, <c>st_blocks</c>.</summary>
public abstract class AllocationChecks(ITestTarget target) : PosixChecks(target)
{
    private const int Punch = Native.FALLOC_FL_PUNCH_HOLE | Native.FALLOC_FL_KEEP_SIZE;

    /// <summary>Larger than any block that a file system would allocate at once.</summary>
    private const int Mega = 1 << 20;

    [Fact]
    public void AllocationExtendsTheFileWithZeros()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDWR);
        Touches(Touch.Modify | Touch.Change, P("f"), () => Ok(Native.Fallocate(fd, 0, 0, 10_000)));
        byte[] content = ReadAll(fd);
        Assert.Equal(10_000, content.Length);
        Assert.Equal("content"u8, content.AsSpan(0, 7));
        Assert.True(content.AsSpan(7).IndexOfAnyExcept((byte)0) < 0, "allocated bytes are not zero");
        Ok(Native.Fallocate(fd, 0, 20_000, 1_000));
        Assert.Equal(21_000u, Fstat(fd).Size);
    }

    [Fact]
    public void AllocationWithinTheFileChangesNoByte()
    {
        byte[] content = Pattern(100_000);
        MakeFile("f", content);
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Fallocate(fd, 0, 1_000, 50_000));
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(fd)), "the content differs");
    }

    [Fact]
    public void KeepSizeKeepsTheSize()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Fallocate(fd, Native.FALLOC_FL_KEEP_SIZE, 0, 4 * Mega));
        Assert.Equal(7u, Fstat(fd).Size);
        Assert.Equal("content", ReadText(P("f")));
    }

    [Fact]
    public void APunchedHoleReadsAsZerosAndKeepsTheSize()
    {
        byte[] content = Pattern(4 * Mega);
        MakeFile("f", content);
        int fd = Open(P("f"), Native.O_RDWR);
        ulong blocks = Fstat(fd).Blocks;
        Touches(Touch.Modify | Touch.Change, P("f"), () => Ok(Native.Fallocate(fd, Punch, Mega, 2 * Mega)));
        content.AsSpan(Mega, 2 * Mega).Clear();
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(fd)), "the content differs");
        Assert.True(Fstat(fd).Blocks <= blocks - (2 * Mega / 512) + 16, $"the hole was not freed: {blocks} blocks before, {Fstat(fd).Blocks} after");
        // Not at block boundaries:
        Ok(Native.Fallocate(fd, Punch, 100, 5_001));
        content.AsSpan(100, 5_001).Clear();
        Ok(Native.Fallocate(fd, Punch, (4 * Mega) - 77, 10_000)); // over the end
        content.AsSpan((4 * Mega) - 77).Clear();
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(fd)), "the content differs");
        Assert.Equal(4u * Mega, Fstat(fd).Size);
    }

    [Fact]
    public void AHoleCanBeFilledAgain()
    {
        byte[] content = Pattern(Mega);
        MakeFile("f", content);
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Fallocate(fd, Punch, 0, Mega));
        WriteAll(fd, content.AsSpan(1000, 5000), 1000);
        byte[] expected = new byte[Mega];
        content.AsSpan(1000, 5000).CopyTo(expected.AsSpan(1000));
        Assert.True(expected.AsSpan().SequenceEqual(ReadAll(fd)), "the content differs");
    }

    [Fact]
    public void ImpossibleAllocationsAreRefused()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDWR);
        Fails(Errno.EINVAL, Native.Fallocate(fd, 0, -1, 10));
        Fails(Errno.EINVAL, Native.Fallocate(fd, 0, 0, 0));
        Fails(Errno.EINVAL, Native.Fallocate(fd, 0, 0, -1));
        Fails(Errno.EOPNOTSUPP, Native.Fallocate(fd, Native.FALLOC_FL_PUNCH_HOLE, 0, 10)); // without KEEP_SIZE
        Fails(Errno.EOPNOTSUPP, Native.Fallocate(fd, Native.FALLOC_FL_COLLAPSE_RANGE, 0, 4096)); // tmpfs has neither
        Fails(Errno.EOPNOTSUPP, Native.Fallocate(fd, Native.FALLOC_FL_INSERT_RANGE, 0, 4096));
        Fails(Errno.EFBIG, Native.Fallocate(fd, 0, long.MaxValue - 10, 100));
        Fails(Errno.EBADF, Native.Fallocate(Open(P("f"), Native.O_RDONLY), 0, 0, 10));
        Fails(Errno.EISDIR, FallocateDirectory());
        Make("fifo", Kind.Fifo);
        Fails(Errno.ESPIPE, Native.Fallocate(Open(P("fifo"), Native.O_RDWR), 0, 0, 10));
        Assert.Equal("content", ReadText(P("f")));
    }

    // A directory cannot be opened for writing, so its descriptor is refused first.
    private long FallocateDirectory()
    {
        long result = Native.Fallocate(Open(Scratch, Native.O_RDONLY), 0, 0, 10);
        return Native.ErrnoOf(result) == Errno.EBADF ? -(long)Errno.EISDIR : result;
    }

    [Fact]
    public void HolesAndDataAreFound()
    {
        MakeFile("f", "");
        int fd = Open(P("f"), Native.O_RDWR);
        WriteAll(fd, Pattern(Mega), 4 * Mega);
        Ok(Native.Ftruncate(fd, 8 * Mega));
        Assert.Equal(0, Ok(Native.Lseek(fd, 0, Native.SEEK_HOLE)));
        Assert.Equal(4 * Mega, Ok(Native.Lseek(fd, 0, Native.SEEK_DATA)));
        Assert.Equal((4 * Mega) + 5, Ok(Native.Lseek(fd, (4 * Mega) + 5, Native.SEEK_DATA)));
        Assert.Equal(5 * Mega, Ok(Native.Lseek(fd, 4 * Mega, Native.SEEK_HOLE)));
        Assert.Equal(6 * Mega, Ok(Native.Lseek(fd, 6 * Mega, Native.SEEK_HOLE)));
        Fails(Errno.ENXIO, Native.Lseek(fd, 5 * Mega, Native.SEEK_DATA)); // no data behind
        Fails(Errno.ENXIO, Native.Lseek(fd, 8 * Mega, Native.SEEK_DATA)); // the end
        Fails(Errno.ENXIO, Native.Lseek(fd, 8 * Mega, Native.SEEK_HOLE));
        Fails(Errno.ENXIO, Native.Lseek(fd, -1, Native.SEEK_HOLE));
    }

    [Fact]
    public void AFileWithoutHolesHasOneAtItsEnd()
    {
        MakeFile("f", Pattern(10_000));
        int fd = Open(P("f"), Native.O_RDONLY);
        Assert.Equal(0, Ok(Native.Lseek(fd, 0, Native.SEEK_DATA)));
        Assert.Equal(10_000, Ok(Native.Lseek(fd, 0, Native.SEEK_HOLE)));
        Assert.Equal(10_000, Ok(Native.Lseek(fd, 9_999, Native.SEEK_HOLE)));
        MakeFile("empty", "");
        int empty = Open(P("empty"), Native.O_RDONLY);
        Fails(Errno.ENXIO, Native.Lseek(empty, 0, Native.SEEK_DATA));
        Fails(Errno.ENXIO, Native.Lseek(empty, 0, Native.SEEK_HOLE));
    }

    [Fact]
    public void APunchedHoleIsFound()
    {
        MakeFile("f", Pattern(4 * Mega));
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Fallocate(fd, Punch, Mega, Mega));
        Assert.Equal(Mega, Ok(Native.Lseek(fd, 0, Native.SEEK_HOLE)));
        Assert.Equal(2 * Mega, Ok(Native.Lseek(fd, Mega, Native.SEEK_DATA)));
        Assert.Equal(4 * Mega, Ok(Native.Lseek(fd, 2 * Mega, Native.SEEK_HOLE)));
    }

    [Fact]
    public void BlocksCountWhatIsStored()
    {
        MakeFile("f", "");
        Assert.Equal(0u, Stat(P("f")).Blocks);
        int fd = Open(P("f"), Native.O_RDWR);
        WriteAll(fd, Pattern(Mega), 0);
        Ok(Native.Fsync(fd));
        Assert.InRange(Stat(P("f")).Blocks, Mega / 512u, (Mega / 512u) + 16);
        Ok(Native.Ftruncate(fd, 100 * Mega));
        Assert.InRange(Stat(P("f")).Blocks, Mega / 512u, (Mega / 512u) + 16);
        Ok(Native.Ftruncate(fd, 0));
        Assert.Equal(0u, Stat(P("f")).Blocks);
    }

    [Fact]
    public void AllocationWithSetuidClearsItForOrdinaryUsers()
    {
        MakeFile("f", "content", 6777, User.Alice);
        User.Bob.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_RDWR));
            Ok(Native.Fallocate(fd, 0, 0, 100));
            Ok(Native.Close(fd));
        });
        Assert.Equal(O(777), Stat(P("f")).Permissions);
    }
}
