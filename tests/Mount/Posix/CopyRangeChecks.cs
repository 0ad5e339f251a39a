using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>copy_file_range(2)</c>.</summary>
public abstract class CopyRangeChecks(ITestTarget target) : PosixChecks(target)
{
    private static void CopyAll(int from, long fromOffset, int to, long toOffset, long length)
    {
        while (length > 0)
        {
            long copied = Ok(Native.CopyFileRange(from, fromOffset, to, toOffset, length));
            Assert.True(copied > 0, "copied nothing before the end");
            fromOffset += copied;
            toOffset += copied;
            length -= copied;
        }
    }

    [Theory]
    [InlineData(0, 0, 1)]
    [InlineData(0, 0, 4096)]
    [InlineData(0, 0, 3_000_000)]
    [InlineData(17, 4097, 100_000)]
    [InlineData(4096, 0, 1_048_576)]
    [InlineData(1_048_575, 2_097_151, 1_048_578)]
    public void ACopyHasTheSameBytes(int from, int to, int length)
    {
        byte[] source = Pattern(3_000_000, 1);
        byte[] destination = Pattern(3_500_000, 2);
        MakeFile("from", source);
        MakeFile("to", destination);
        CopyAll(Open(P("from"), Native.O_RDONLY), from, Open(P("to"), Native.O_WRONLY), to, length);
        source.AsSpan(from, length).CopyTo(destination.AsSpan(to));
        Assert.True(destination.AsSpan().SequenceEqual(ReadAll(P("to"))), "the copy differs");
        Assert.True(source.AsSpan().SequenceEqual(ReadAll(P("from"))), "the source changed");
    }

    [Fact]
    public void ACopyIsIndependentOfItsSource()
    {
        byte[] source = Pattern(2_000_000);
        MakeFile("from", source);
        MakeFile("to", "");
        int from = Open(P("from"), Native.O_RDWR);
        int to = Open(P("to"), Native.O_RDWR);
        CopyAll(from, 0, to, 0, source.Length);
        WriteAll(from, "changed source"u8, 1_000_000);
        WriteAll(to, "changed copy"u8, 500_000);
        byte[] expected = (byte[])source.Clone();
        "changed copy"u8.CopyTo(expected.AsSpan(500_000));
        Assert.True(expected.AsSpan().SequenceEqual(ReadAll(to)), "the copy changed with its source");
        Ok(Native.Ftruncate(from, 0));
        Ok(Native.Unlink(P("from")));
        Assert.True(expected.AsSpan().SequenceEqual(ReadAll(to)), "the copy went with its source");
    }

    [Fact]
    public void BytesWrittenJustBeforeAreCopied()
    {
        MakeFile("from", "");
        MakeFile("to", "");
        int from = Open(P("from"), Native.O_RDWR);
        int to = Open(P("to"), Native.O_RDWR);
        byte[] content = Pattern(600_000);
        WriteAll(from, content, 0);
        CopyAll(from, 0, to, 0, content.Length);
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(to)), "the copy differs");
    }

    [Fact]
    public void ACopyExtendsAndLeavesHolesAsZeros()
    {
        MakeFile("from", "0123456789");
        MakeFile("to", "x");
        int to = Open(P("to"), Native.O_RDWR);
        CopyAll(Open(P("from"), Native.O_RDONLY), 2, to, 5_000, 5);
        Assert.Equal(5_005u, Fstat(to).Size);
        byte[] content = ReadAll(to);
        Assert.True(content.AsSpan(1, 4_999).IndexOfAnyExcept((byte)0) < 0, "the gap is not zero");
        Assert.Equal("23456"u8, content.AsSpan(5_000));
    }

    [Fact]
    public void ACopyStopsAtTheEndOfItsSource()
    {
        MakeFile("from", "0123456789");
        MakeFile("to", "");
        int from = Open(P("from"), Native.O_RDONLY);
        int to = Open(P("to"), Native.O_WRONLY);
        Assert.Equal(10, Ok(Native.CopyFileRange(from, 0, to, 0, 1_000_000)));
        Assert.Equal(0, Ok(Native.CopyFileRange(from, 10, to, 0, 10)));
        Assert.Equal(0, Ok(Native.CopyFileRange(from, 1_000, to, 0, 10)));
        Assert.Equal(0, Ok(Native.CopyFileRange(from, 0, to, 0, 0)));
        Assert.Equal(10u, Fstat(to).Size);
    }

    [Fact]
    public void PositionsMoveWhenNoOffsetIsGiven()
    {
        MakeFile("from", "0123456789");
        MakeFile("to", "");
        int from = Open(P("from"), Native.O_RDONLY);
        int to = Open(P("to"), Native.O_RDWR);
        Ok(Native.Lseek(from, 3, Native.SEEK_SET));
        Assert.Equal(4, Ok(Native.CopyFileRangeHere(from, to, 4)));
        Assert.Equal((7L, 4L), (Native.Lseek(from, 0, Native.SEEK_CUR), Native.Lseek(to, 0, Native.SEEK_CUR)));
        Assert.Equal("3456"u8.ToArray(), ReadAll(to));
    }

    [Fact]
    public void WithinOneFileRangesMayNotOverlap()
    {
        byte[] content = Pattern(100_000);
        MakeFile("f", content);
        int fd = Open(P("f"), Native.O_RDWR);
        Fails(Errno.EINVAL, Native.CopyFileRange(fd, 0, fd, 5_000, 10_000));
        Fails(Errno.EINVAL, Native.CopyFileRange(fd, 5_000, fd, 0, 10_000));
        CopyAll(fd, 0, fd, 50_000, 50_000);
        content.AsSpan(0, 50_000).CopyTo(content.AsSpan(50_000));
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(fd)), "the content differs");
    }

    [Fact]
    public void DescriptorsThatCannotAreRefused()
    {
        MakeFile("from", "content");
        MakeFile("to", "");
        int from = Open(P("from"), Native.O_RDONLY);
        int to = Open(P("to"), Native.O_WRONLY);
        Fails(Errno.EBADF, Native.CopyFileRange(to, 0, to, 0, 1));
        Fails(Errno.EBADF, Native.CopyFileRange(from, 0, from, 0, 1));
        Fails(Errno.EBADF, Native.CopyFileRange(from, 0, Open(P("to"), Native.O_WRONLY | Native.O_APPEND), 0, 1));
        Fails(Errno.EINVAL, Native.CopyFileRange(from, 0, to, 0, 1, 99));
        Fails(Errno.EISDIR, Native.CopyFileRange(Open(Scratch, Native.O_RDONLY), 0, to, 0, 1));
        Make("fifo", Kind.Fifo);
        Fails(Errno.EINVAL, Native.CopyFileRange(Open(P("fifo"), Native.O_RDWR), 0, to, 0, 1));
    }

    [Fact]
    public void ACopyStampsItsDestination()
    {
        MakeFile("from", "content");
        MakeFile("to", "");
        int from = Open(P("from"), Native.O_RDONLY | Native.O_NOATIME);
        int to = Open(P("to"), Native.O_WRONLY);
        Touches(Touch.Modify | Touch.Change, P("to"), () => Ok(Native.CopyFileRange(from, 0, to, 0, 7)));
    }
}
