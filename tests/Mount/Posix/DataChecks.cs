using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Reading, writing, truncating, appending: the content of files.</summary>
public abstract class DataChecks(ITestTarget target) : PosixChecks(target)
{
    [Theory]
    [InlineData(1)]
    [InlineData(4095)]
    [InlineData(4096)]
    [InlineData(4097)]
    [InlineData(65_536)]
    [InlineData(1_048_576)]
    [InlineData(1_048_577)]
    [InlineData(9_000_001)]
    public void WhatWasWrittenIsRead(int length)
    {
        byte[] content = Pattern(length);
        MakeFile("f", content);
        Assert.Equal((ulong)length, Stat(P("f")).Size);
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(P("f"))), "the content differs");
    }

    [Fact]
    public void OverwritingAnyRangeChangesThatRangeOnly()
    {
        byte[] expected = Pattern(300_000);
        MakeFile("f", expected);
        int fd = Open(P("f"), Native.O_RDWR);
        var random = new Random(7);
        for (int i = 0; i < 200; i++)
        {
            byte[] piece = Pattern(random.Next(1, 20_000), i);
            int offset = random.Next(0, 290_000);
            WriteAll(fd, piece, offset);
            if (offset + piece.Length > expected.Length)
            {
                Array.Resize(ref expected, offset + piece.Length);
            }
            piece.CopyTo(expected, offset);
        }
        Assert.True(expected.AsSpan().SequenceEqual(ReadAll(fd)), "the content differs");
        Close(fd);
        Assert.True(expected.AsSpan().SequenceEqual(ReadAll(P("f"))), "the content differs after closing");
    }

    [Fact]
    public void ADescriptorSeesAtOnceWhatAnotherWrote()
    {
        MakeFile("f", "");
        int writer = Open(P("f"), Native.O_WRONLY);
        int reader = Open(P("f"), Native.O_RDONLY);
        for (int i = 0; i < 200; i++)
        {
            byte[] line = Pattern(777, i);
            WriteAll(writer, line, i * 777L);
            Assert.Equal((ulong)((i + 1) * 777), Fstat(reader).Size);
            byte[] read = new byte[777];
            Assert.Equal(777, Ok(Native.Pread(reader, read, i * 777L)));
            Assert.Equal(line, read);
        }
    }

    [Fact]
    public void ReadingAtAndBehindTheEndGivesNothing()
    {
        MakeFile("f", "0123456789");
        int fd = Open(P("f"), Native.O_RDONLY);
        byte[] buffer = new byte[100];
        Assert.Equal(10, Ok(Native.Pread(fd, buffer, 0)));
        Assert.Equal(3, Ok(Native.Pread(fd, buffer, 7)));
        Assert.Equal(0, Ok(Native.Pread(fd, buffer, 10)));
        Assert.Equal(0, Ok(Native.Pread(fd, buffer, 1L << 40)));
        Fails(Errno.EINVAL, Native.Pread(fd, buffer, -1));
    }

    [Fact]
    public void AWriteBehindTheEndLeavesZeros()
    {
        MakeFile("f", "start");
        int fd = Open(P("f"), Native.O_RDWR);
        WriteAll(fd, "end"u8, 100_000);
        byte[] content = ReadAll(fd);
        Assert.Equal(100_003, content.Length);
        Assert.Equal("start"u8, content.AsSpan(0, 5));
        Assert.True(content.AsSpan(5, 99_995).IndexOfAnyExcept((byte)0) < 0, "the gap is not zero");
        Assert.Equal("end"u8, content.AsSpan(100_000));
    }

    [Fact]
    public void TheSizeOfAFileMayGoBeyondFourGigabytes()
    {
        MakeFile("f", "");
        int fd = Open(P("f"), Native.O_RDWR);
        const long far = (1L << 40) + 12_345;
        WriteAll(fd, "far"u8, far);
        Assert.Equal((ulong)far + 3, Stat(P("f")).Size);
        byte[] buffer = new byte[8];
        Assert.Equal(8, Ok(Native.Pread(fd, buffer, far - 5)));
        Assert.Equal("\0\0\0\0\0far"u8.ToArray(), buffer);
        Assert.True(Stat(P("f")).Blocks < 1 << 16, "a hole of a terabyte takes space");
    }

    // ---- truncate ----

    [Fact]
    public void TruncatingCutsAndExtendsWithZeros()
    {
        byte[] content = Pattern(20_000);
        MakeFile("f", content);
        Ok(Native.Truncate(P("f"), 5_001));
        Assert.Equal(content[..5_001], ReadAll(P("f")));
        Ok(Native.Truncate(P("f"), 12_000));
        byte[] extended = ReadAll(P("f"));
        Assert.Equal(12_000, extended.Length);
        Assert.Equal(content.AsSpan(0, 5_001), extended.AsSpan(0, 5_001));
        Assert.True(extended.AsSpan(5_001).IndexOfAnyExcept((byte)0) < 0, "bytes that were cut came back");
        Ok(Native.Truncate(P("f"), 0));
        Assert.Empty(ReadAll(P("f")));
    }

    [Fact]
    public void BytesCutOffDoNotComeBackUnderALaterWrite()
    {
        MakeFile("f", Pattern(10_000));
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Ftruncate(fd, 100));
        WriteAll(fd, "x"u8, 9_000);
        byte[] content = ReadAll(fd);
        Assert.True(content.AsSpan(100, 8_900).IndexOfAnyExcept((byte)0) < 0, "bytes that were cut came back");
    }

    [Fact]
    public void ErrorsOfTruncate()
    {
        MakeDirectory("d");
        Fails(Errno.EISDIR, Native.Truncate(P("d"), 0));
        MakeFile("f", "content", 444, User.Alice);
        Fails(Errno.EINVAL, Native.Truncate(P("f"), -1));
        User.Alice.Do(() => Fails(Errno.EACCES, Native.Truncate(P("f"), 0)));
        int fd = Open(P("f"), Native.O_RDWR);
        Fails(Errno.EINVAL, Native.Ftruncate(fd, -1));
        Make("fifo", Kind.Fifo);
        Fails(Errno.EINVAL, Native.Truncate(P("fifo"), 0));
        Assert.Equal("content", ReadText(P("f")));
    }

    [Fact]
    public void FtruncateNeedsNoPermissionButAWritableDescriptor()
    {
        MakeFile("f", "content", 600, User.Alice);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_RDWR));
            Ok(Native.Fchmod(fd, 0));
            Ok(Native.Ftruncate(fd, 4));
            Ok(Native.Close(fd));
        });
        Assert.Equal("cont", ReadText(P("f")));
    }

    // ---- append ----

    [Fact]
    public void AppendingIgnoresThePosition()
    {
        MakeFile("f", "start");
        int fd = Open(P("f"), Native.O_RDWR | Native.O_APPEND);
        Ok(Native.Lseek(fd, 0, Native.SEEK_SET));
        Assert.Equal(4, Ok(Native.Write(fd, " end"u8)));
        Assert.Equal(9, Ok(Native.Lseek(fd, 0, Native.SEEK_CUR)));
        Assert.Equal(1, Ok(Native.Pwrite(fd, "!"u8, 0))); // Linux appends here too, pwrite(2) "BUGS"
        Assert.Equal("start end!", ReadText(P("f")));
        Ok(Native.Fcntl(fd, Native.F_SETFL, 0));
        Assert.Equal(1, Ok(Native.Pwrite(fd, "S"u8, 0)));
        Assert.Equal("Start end!", ReadText(P("f")));
    }

    [Fact]
    public void ManyAppendersLoseAndTearNothing()
    {
        MakeFile("f", "");
        const int writers = 8, lines = 300, length = 97;
        Parallel.For(0, writers, writer =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_WRONLY | Native.O_APPEND));
            byte[] line = new byte[length];
            for (int i = 0; i < lines; i++)
            {
                Array.Fill(line, (byte)('A' + writer));
                BitConverter.TryWriteBytes(line.AsSpan(1), i);
                line[^1] = (byte)'\n';
                Assert.Equal(length, Ok(Native.Write(fd, line)));
            }
            Ok(Native.Close(fd));
        });
        byte[] content = ReadAll(P("f"));
        Assert.Equal(writers * lines * length, content.Length);
        int[] next = new int[writers];
        for (int at = 0; at < content.Length; at += length)
        {
            int writer = content[at] - 'A';
            Assert.InRange(writer, 0, writers - 1);
            Assert.Equal(next[writer]++, BitConverter.ToInt32(content, at + 1));
            Assert.True(content.AsSpan(at + 5, length - 6).IndexOfAnyExcept((byte)('A' + writer)) < 0, $"a torn line at {at}");
        }
    }

    [Fact]
    public void OneDescriptorSharedByManyWritersKeepsOnePosition()
    {
        MakeFile("f", "");
        int fd = Open(P("f"), Native.O_WRONLY);
        Parallel.For(0, 8, writer =>
        {
            for (int i = 0; i < 100; i++)
            {
                Assert.Equal(10, Ok(Native.Write(fd, "0123456789"u8)));
            }
        });
        Assert.Equal(8000u, Fstat(fd).Size);
        Assert.Equal(8000, Ok(Native.Lseek(fd, 0, Native.SEEK_CUR)));
    }

    // ---- the position, descriptors ----

    [Fact]
    public void SeekingFollowsTheSize()
    {
        MakeFile("f", "0123456789");
        int fd = Open(P("f"), Native.O_RDWR);
        Assert.Equal(10, Ok(Native.Lseek(fd, 0, Native.SEEK_END)));
        Assert.Equal(7, Ok(Native.Lseek(fd, -3, Native.SEEK_END)));
        Assert.Equal(9, Ok(Native.Lseek(fd, 2, Native.SEEK_CUR)));
        Assert.Equal(1_000_000, Ok(Native.Lseek(fd, 1_000_000, Native.SEEK_SET)));
        Fails(Errno.EINVAL, Native.Lseek(fd, -1, Native.SEEK_SET));
        Fails(Errno.EINVAL, Native.Lseek(fd, 0, 99));
        int other = Open(P("f"), Native.O_WRONLY);
        WriteAll(other, "abc"u8, 10);
        Assert.Equal(13, Ok(Native.Lseek(fd, 0, Native.SEEK_END)));
    }

    [Fact]
    public void DuplicatedDescriptorsShareThePosition()
    {
        MakeFile("f", "0123456789");
        int fd = Open(P("f"), Native.O_RDONLY);
        int twin = Expect.Fd(Native.Dup(fd));
        Ok(Native.Read(fd, new byte[4]));
        Assert.Equal(4, Ok(Native.Lseek(twin, 0, Native.SEEK_CUR)));
        Ok(Native.Close(twin));
        byte[] rest = new byte[6];
        Assert.Equal(6, Ok(Native.Read(fd, rest)));
        Assert.Equal("456789"u8.ToArray(), rest);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void SynchronousWritesAreThereToo(bool dataOnly)
    {
        MakeFile("f", "");
        int fd = Open(P("f"), Native.O_WRONLY | (dataOnly ? Native.O_DSYNC : Native.O_SYNC));
        WriteAll(fd, Pattern(200_000), 0);
        Ok(dataOnly ? Native.Fdatasync(fd) : Native.Fsync(fd));
        Ok(Native.Syncfs(fd));
        Assert.True(Pattern(200_000).AsSpan().SequenceEqual(ReadAll(P("f"))), "the content differs");
    }

    [Fact]
    public unsafe void DirectReadsAndWritesAgreeWithBufferedOnes()
    {
        byte[] content = Pattern(65_536);
        MakeFile("f", content);
        int direct = Open(P("f"), Native.O_RDWR | Native.O_DIRECT);
        byte* buffer = (byte*)NativeMemory.AlignedAlloc(16_384, 4096);
        try
        {
            Assert.Equal(16_384, Ok(Native.Pread(direct, (nint)buffer, 16_384, 8192)));
            Assert.True(content.AsSpan(8192, 16_384).SequenceEqual(new ReadOnlySpan<byte>(buffer, 16_384)), "a direct read differs");
            new Span<byte>(buffer, 16_384).Fill(0x5a);
            Assert.Equal(16_384, Ok(Native.Pwrite(direct, (nint)buffer, 16_384, 32_768)));
        }
        finally
        {
            NativeMemory.AlignedFree(buffer);
        }
        content.AsSpan(32_768, 16_384).Fill(0x5a);
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(P("f"))), "a buffered read does not see the direct write");
    }

    [Fact]
    public void FsyncWorksOnDirectories()
    {
        int fd = Open(Scratch, Native.O_RDONLY | Native.O_DIRECTORY);
        MakeFile("f", "x");
        Ok(Native.Fsync(fd));
        Ok(Native.Fdatasync(fd));
    }

    [Fact]
    public void AnUnknownIoctlIsENOTTY()
    {
        MakeFile("f", "x");
        Fails(Errno.ENOTTY, Native.Ioctl(Open(P("f"), Native.O_RDONLY), 0x5401, 0)); // TCGETS: isatty(3)
    }

    [Fact]
    public void AdviceIsTaken()
    {
        MakeFile("f", Pattern(100_000));
        int fd = Open(P("f"), Native.O_RDONLY);
        for (int advice = 0; advice <= 5; advice++)
        {
            Ok(Native.Fadvise(fd, 0, 0, advice));
        }
        Assert.Equal(100_000, ReadAll(fd).Length);
    }
}
