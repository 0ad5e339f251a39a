using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>mmap(2)</c> and programs that run from the file system.</summary>
public abstract unsafe class MappingChecks(ITestTarget target) : PosixChecks(target)
{
    private const int Both = Native.PROT_READ | Native.PROT_WRITE;
    private const int Page = 4096;

    private static Span<byte> Map(int fd, int length, int protection, int flags, long offset = 0) =>
        new((void*)Ok(Native.Mmap(fd, length, protection, flags, offset)), length);

    private static nint Address(Span<byte> map)
    {
        fixed (byte* p = map)
        {
            return (nint)p; // unmanaged memory: it does not move
        }
    }

    private static void Unmap(Span<byte> map) => Ok(Native.Munmap(Address(map), map.Length));

    [Fact]
    public void AMappingShowsTheContent()
    {
        byte[] content = Pattern(500_001);
        MakeFile("f", content);
        int fd = Open(P("f"), Native.O_RDONLY);
        foreach (int kind in new[] { Native.MAP_SHARED, Native.MAP_PRIVATE })
        {
            Span<byte> map = Map(fd, content.Length, Native.PROT_READ, kind);
            Assert.True(content.AsSpan().SequenceEqual(map), "the mapping differs");
            Unmap(map);
        }
        Span<byte> middle = Map(fd, 10 * Page, Native.PROT_READ, Native.MAP_SHARED, 3 * Page);
        Assert.True(content.AsSpan(3 * Page, 10 * Page).SequenceEqual(middle), "the mapping of the middle differs");
        Unmap(middle);
    }

    [Fact]
    public void TheRestOfTheLastPageIsZero()
    {
        MakeFile("f", "content");
        int fd = Open(P("f"), Native.O_RDONLY);
        Span<byte> map = Map(fd, Page, Native.PROT_READ, Native.MAP_SHARED);
        Assert.Equal("content"u8, map[..7]);
        Assert.True(map[7..].IndexOfAnyExcept((byte)0) < 0, "bytes behind the end are not zero");
        Unmap(map);
    }

    [Fact]
    public void ATimeSetByHandAfterAStoreSurvivesItsWriteBack()
    {
        MakeFile("f", Pattern(100_000));
        int fd = Open(P("f"), Native.O_RDWR);
        Span<byte> map = Map(fd, 100_000, Both, Native.MAP_SHARED);
        "stored"u8.CopyTo(map[50_000..]);
        Ok(Native.Futimens(fd, new Timespec(5, 6), new Timespec(7, 8)));
        Ok(Native.Msync(Address(map), map.Length, Native.MS_SYNC));
        Unmap(map);
        Close(fd);
        Assert.Equal(7_000_000_008, Stat(P("f")).Modify.Nanoseconds);
        Assert.Equal("stored"u8, File.ReadAllBytes(P("f")).AsSpan(50_000, 6));
    }

    [Fact]
    public void StoresInASharedMappingAreReadAfterMsync()
    {
        byte[] content = Pattern(100_000);
        MakeFile("f", content);
        int fd = Open(P("f"), Native.O_RDWR);
        Span<byte> map = Map(fd, content.Length, Both, Native.MAP_SHARED);
        "stored"u8.CopyTo(map[50_000..]);
        "stored"u8.CopyTo(content.AsSpan(50_000));
        Ok(Native.Msync(Address(map), map.Length, Native.MS_SYNC));
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(P("f"))), "the store is not in the file");
        Unmap(map);
        Close(fd);
        Assert.True(content.AsSpan().SequenceEqual(ReadAll(P("f"))), "the store is not in the file after unmapping");
    }

    [Fact]
    public void StoresAreReadAtOnceWithoutMsync()
    {
        MakeFile("f", Pattern(20_000));
        int fd = Open(P("f"), Native.O_RDWR);
        Span<byte> map = Map(fd, 20_000, Both, Native.MAP_SHARED);
        map[10_000] = 0xAB;
        byte[] one = new byte[1];
        Assert.Equal(1, Ok(Native.Pread(fd, one, 10_000)));
        Assert.Equal(0xAB, one[0]);
        Unmap(map);
    }

    [Fact]
    public void WritesAreSeenInAMapping()
    {
        MakeFile("f", Pattern(20_000));
        int fd = Open(P("f"), Native.O_RDWR);
        Span<byte> map = Map(fd, 20_000, Native.PROT_READ, Native.MAP_SHARED);
        Assert.Equal(Pattern(20_000)[12_345], map[12_345]);
        WriteAll(fd, "written"u8, 12_345);
        Assert.Equal("written"u8, map.Slice(12_345, 7));
        Unmap(map);
    }

    [Fact]
    public void TwoMappingsOfOneFileAreOneMemory()
    {
        MakeFile("f", Pattern(Page));
        int one = Open(P("f"), Native.O_RDWR);
        int two = Open(P("f"), Native.O_RDWR);
        Span<byte> first = Map(one, Page, Both, Native.MAP_SHARED);
        Span<byte> second = Map(two, Page, Both, Native.MAP_SHARED);
        first[100] = 0x11;
        Assert.Equal(0x11, second[100]);
        second[200] = 0x22;
        Assert.Equal(0x22, first[200]);
        Unmap(first);
        Unmap(second);
    }

    [Fact]
    public void StoresInAPrivateMappingStayPrivate()
    {
        MakeFile("f", Pattern(Page));
        int fd = Open(P("f"), Native.O_RDONLY);
        Span<byte> map = Map(fd, Page, Both, Native.MAP_PRIVATE);
        map[0] ^= 0xff;
        Assert.True(Pattern(Page).AsSpan().SequenceEqual(ReadAll(P("f"))), "a private store reached the file");
        Unmap(map);
    }

    [Fact]
    public void AMappingOutlivesItsDescriptorAndItsName()
    {
        MakeFile("f", Pattern(Page));
        int fd = Open(P("f"), Native.O_RDWR);
        int watcher = Open(P("f"), Native.O_RDONLY);
        Span<byte> map = Map(fd, Page, Both, Native.MAP_SHARED);
        Close(fd);
        Ok(Native.Unlink(P("f")));
        map[5] = 0x77;
        Ok(Native.Msync(Address(map), Page, Native.MS_SYNC));
        byte[] one = new byte[1];
        Assert.Equal(1, Ok(Native.Pread(watcher, one, 5)));
        Assert.Equal(0x77, one[0]);
        Unmap(map);
    }

    [Fact]
    public void StoresBehindTheOldEndAppearWhenTheFileGrows()
    {
        MakeFile("f", "");
        int fd = Open(P("f"), Native.O_RDWR);
        Ok(Native.Ftruncate(fd, 100));
        Span<byte> map = Map(fd, 4 * Page, Both, Native.MAP_SHARED);
        Ok(Native.Ftruncate(fd, 4 * Page)); // as an arena of a database does
        map[3 * Page] = 0x33;
        Ok(Native.Msync(Address(map), map.Length, Native.MS_SYNC));
        Assert.Equal(0x33, ReadAll(P("f"))[3 * Page]);
        Ok(Native.Ftruncate(fd, 2 * Page));
        Ok(Native.Ftruncate(fd, 4 * Page));
        Assert.Equal(0, map[3 * Page]); // what was cut is gone from the mapping too
        Unmap(map);
    }

    [Fact]
    public void APunchedHoleIsSeenInAMapping()
    {
        MakeFile("f", Pattern(16 * Page));
        int fd = Open(P("f"), Native.O_RDWR);
        Span<byte> map = Map(fd, 16 * Page, Native.PROT_READ, Native.MAP_SHARED);
        Assert.Equal(Pattern(16 * Page)[5 * Page], map[5 * Page]);
        Ok(Native.Fallocate(fd, Native.FALLOC_FL_PUNCH_HOLE | Native.FALLOC_FL_KEEP_SIZE, 4 * Page, 4 * Page));
        Assert.True(map.Slice(4 * Page, 4 * Page).IndexOfAnyExcept((byte)0) < 0, "the mapping still shows the old bytes");
        Unmap(map);
    }

    [Fact]
    public void StoresMoveMtimeByTheTimeOfMsync()
    {
        MakeFile("f", Pattern(Page));
        int fd = Open(P("f"), Native.O_RDWR);
        Span<byte> map = Map(fd, Page, Both, Native.MAP_SHARED);
        Statx before = Stat(P("f"));
        WaitForTick(before);
        map[1] ^= 1;
        Ok(Native.Msync(Address(map), Page, Native.MS_SYNC));
        Unmap(map);
        Close(fd);
        Assert.Equal(Touch.Modify | Touch.Change, Difference(before, Stat(P("f"))));
    }

    [Fact]
    public void MappingsThatTheDescriptorForbidsAreRefused()
    {
        MakeFile("f", Pattern(Page));
        MakeDirectory("d");
        Fails(Errno.EACCES, Native.Mmap(Open(P("f"), Native.O_RDONLY), Page, Both, Native.MAP_SHARED));
        Fails(Errno.EACCES, Native.Mmap(Open(P("f"), Native.O_WRONLY), Page, Native.PROT_READ, Native.MAP_SHARED));
        Fails(Errno.EINVAL, Native.Mmap(Open(P("f"), Native.O_RDONLY), Page, Native.PROT_READ, Native.MAP_SHARED, 100));
        Fails(Errno.ENODEV, Native.Mmap(Open(P("d"), Native.O_RDONLY), Page, Native.PROT_READ, Native.MAP_SHARED));
    }

    [Fact]
    public void AProgramRunsFromHereAndIsBusyForWritersMeanwhile()
    {
        CopyProgram("/bin/sleep");
        using System.Diagnostics.Process process = System.Diagnostics.Process.Start(P("sleep"), ["600"]);
        try
        {
            // Start returns after exec succeeded in the child.
            Fails(Errno.ETXTBSY, Native.Open(P("sleep"), Native.O_WRONLY));
            Fails(Errno.ETXTBSY, Native.Truncate(P("sleep"), 0));
            Ok(Native.Unlink(P("sleep"))); // removing its name is fine
        }
        finally
        {
            process.Kill();
            process.WaitForExit();
        }
        Assert.Equal(137, process.ExitCode);
    }

    [Fact]
    public void AProgramNeedsAnExecuteBitThatFits()
    {
        CopyProgram("/bin/true");
        Ok(Native.Chmod(P("true"), O(644)));
        Assert.Throws<System.ComponentModel.Win32Exception>(() => System.Diagnostics.Process.Start(P("true")));
        Ok(Native.Chmod(P("true"), O(755)));
        using System.Diagnostics.Process process = System.Diagnostics.Process.Start(P("true"));
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }

    // By another process: a descriptor for writing in this one could be inherited by a child of some other test, and make the program busy.
    private void CopyProgram(string program)
    {
        using System.Diagnostics.Process copy = System.Diagnostics.Process.Start("cp", [program, Scratch]);
        copy.WaitForExit();
        Assert.Equal(0, copy.ExitCode);
    }
}
