using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>Statements of docs/semantics.md that need the volume itself, and two nodes: system calls one by one.</summary>
[Collection(ProgramsCollection.Name)]
public sealed unsafe class NodeSemanticsTests(VolumeFixture volume)
{
    private const int Page = 4096;
    private const int Fifty = 50_000;

    /// <summary>FICLONE, ioctl_ficlone(2).</summary>
    private const nuint Ficlone = 0x40049409;

    [Fact]
    public void The_stats_file_is_found_and_not_listed_and_cannot_be_changed()
    {
        string stats = Path.Combine(volume.First, ".stats");
        Assert.Contains("volume: tmp\n", File.ReadAllText(stats), StringComparison.Ordinal);
        Assert.DoesNotContain(".stats", Directory.EnumerateFileSystemEntries(volume.First).Select(Path.GetFileName));
        Expect.Fails(Errno.EEXIST, Native.Open(stats, Native.O_CREAT | Native.O_EXCL | Native.O_WRONLY, 0x1A4));
        Expect.Fails(Errno.EPERM, Native.Chmod(stats, 0x1FF));
        Expect.Fails(Errno.ENOENT, Native.Stat(Path.Combine(Directory.CreateDirectory(Path.Combine(volume.First, "below")).FullName, ".stats"), out _));
        Assert.Equal(0, Native.Rmdir(Path.Combine(volume.First, "below")));
    }

    [Fact]
    public void The_stats_file_has_a_size_that_sendfile_reads_to()
    {
        using var sides = volume.NewSides("stats");
        string copy = Path.Combine(sides.Subject, "copy");
        int from = Open(Path.Combine(volume.First, ".stats"), Native.O_RDONLY), to = Open(copy, Native.O_CREAT | Native.O_WRONLY);
        Expect.Ok(Native.Fstat(from, out Statx status));
        Assert.InRange(Native.Sendfile(to, from, 1 << 20), 100, 1 << 20);
        Assert.InRange(status.Size, 100u, 1u << 20);
        Expect.Ok(Native.Close(from));
        Expect.Ok(Native.Close(to));
        string text = File.ReadAllText(copy);
        Assert.StartsWith("volume: tmp\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain('\0', text);
    }

    [Fact]
    public void A_fifo_passes_bytes_and_keeps_its_times()
    {
        using var sides = volume.NewSides("fifo");
        string path = Path.Combine(sides.Subject, "p");
        Expect.Ok(Native.Mknod(path, Native.S_IFIFO | 0x1A4));
        Expect.Ok(Native.Utimens(path, new Timespec(1, 2), new Timespec(3, 4)));
        int fd = Open(path, Native.O_RDWR);
        Assert.Equal(5, Native.Write(fd, "bytes"u8));
        Span<byte> read = stackalloc byte[5];
        Assert.Equal(5, Native.Read(fd, read));
        Assert.True(read.SequenceEqual("bytes"u8));
        Expect.Ok(Native.Close(fd));
        Expect.Ok(Native.Stat(path, out Statx status));
        Assert.Equal(3_000_000_004, status.Modify.Nanoseconds);
    }

    [Fact]
    public void A_descriptor_gives_no_rights_of_an_owner_that_another_node_has_replaced()
    {
        using var sides = volume.NewSides("owner");
        string here = Path.Combine(sides.Subject, "f"), there = Path.Combine(sides.SubjectOnSecond, "f");
        Expect.Ok(Native.Chmod(sides.Subject, 0x1FF));
        int fd = -1;
        User.Alice.Do(() => fd = Open(here, Native.O_CREAT | Native.O_RDWR));
        User.Alice.Do(() => Expect.Ok(Native.Fchmod(fd, 0x1A4)));
        Expect.Ok(Native.Chown(there, User.Bob.Id, User.Bob.Group));
        User.Alice.Do(() => Expect.Fails(Errno.EPERM, Native.Fchmod(fd, 0x1FF)));
        User.Alice.Do(() => Expect.Fails(Errno.EPERM, Native.Futimens(fd, new Timespec(1, 2), new Timespec(3, 4))));
        Expect.Ok(Native.Fstat(fd, out Statx status));
        Assert.Equal((User.Bob.Id, 0x1A4), (status.User, status.Mode & 0xFFF));
        User.Bob.Do(() => Expect.Ok(Native.Fchmod(fd, 0x1FF)));
        Expect.Ok(Native.Close(fd));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_directory_that_another_node_has_moved_can_be_renamed_at_once(bool exchange)
    {
        const uint Exchange = 2;
        using var sides = volume.NewSides("moved");
        for (int i = 0; i < 20; i++)
        {
            // Both names are in this node's kernel when the other node moves what they name; nothing looks them up before the rename does.
            string x = Path.Combine(sides.Subject, $"x{i}"), y = Path.Combine(sides.Subject, $"y{i}");
            Directory.CreateDirectory(Path.Combine(x, "m"));
            Directory.CreateDirectory(exchange ? Path.Combine(y, "m") : y);
            Assert.True(Directory.Exists(Path.Combine(x, "m")) && Directory.Exists(Path.Combine(y, "m")) == exchange);
            Expect.Ok(Native.Rename(
                Path.Combine(sides.SubjectOnSecond, $"x{i}", "m"), Path.Combine(sides.SubjectOnSecond, $"y{i}", "m"), exchange ? Exchange : 0));
            Expect.Ok(Native.Rename(Path.Combine(y, "m"), Path.Combine(x, "n")));
        }
    }

    [Fact]
    public void Stores_through_a_mapping_reach_the_other_node_with_msync()
    {
        using var sides = volume.NewSides("msync");
        string here = Path.Combine(sides.Subject, "f"), there = Path.Combine(sides.SubjectOnSecond, "f");
        File.WriteAllBytes(here, new byte[100_000]);
        int fd = Open(here, Native.O_RDWR);
        Span<byte> map = Map(fd, 100_000);
        "stored"u8.CopyTo(map[Fifty..]);
        Expect.Ok(Native.Msync(Address(map), map.Length, Native.MS_SYNC));
        Assert.Equal("stored", Text(there, Fifty, 6));
        // With the last unmapping and close too.
        "STORED"u8.CopyTo(map[Fifty..]);
        Expect.Ok(Native.Munmap(Address(map), map.Length));
        Expect.Ok(Native.Close(fd));
        Assert.Equal("STORED", Text(there, Fifty, 6));
    }

    [Fact]
    public void A_store_that_was_not_synced_is_seen_by_the_other_nodes_next_open()
    {
        using var sides = volume.NewSides("recall");
        string here = Path.Combine(sides.Subject, "f"), there = Path.Combine(sides.SubjectOnSecond, "f");
        File.WriteAllBytes(here, new byte[100_000]);
        int fd = Open(here, Native.O_RDWR);
        Span<byte> map = Map(fd, 100_000);
        "stored"u8.CopyTo(map[Fifty..]);
        Assert.Equal("stored", Text(there, Fifty, 6));
        Expect.Ok(Native.Munmap(Address(map), map.Length));
        Expect.Ok(Native.Close(fd));
    }

    [Fact]
    public void A_mapping_sees_what_the_other_node_writes()
    {
        using var sides = volume.NewSides("mapped");
        string here = Path.Combine(sides.Subject, "f"), there = Path.Combine(sides.SubjectOnSecond, "f");
        File.WriteAllBytes(here, new byte[100_000]);
        int reader = Open(here, Native.O_RDWR);
        Span<byte> map = Map(reader, 100_000);
        Assert.Equal(0, map[Fifty]);
        int writer = Open(there, Native.O_RDWR);
        Assert.Equal(7, Native.Pwrite(writer, "written"u8, Fifty));
        Assert.Equal("written", Encoding.UTF8.GetString(map[Fifty..(Fifty + 7)]));
        Expect.Ok(Native.Close(writer));
        Expect.Ok(Native.Munmap(Address(map), map.Length));
        Expect.Ok(Native.Close(reader));
    }

    [Fact]
    public void Stat_elsewhere_shows_what_is_committed_and_an_open_there_commits()
    {
        using var sides = volume.NewSides("stat");
        string here = Path.Combine(sides.Subject, "f"), there = Path.Combine(sides.SubjectOnSecond, "f");
        int writer = Open(here, Native.O_CREAT | Native.O_RDWR);
        Assert.Equal(1000, Native.Pwrite(writer, new byte[1000], 0));
        Expect.Ok(Native.Stat(there, out Statx before));
        Assert.Equal(0ul, before.Size);
        Expect.Ok(Native.Close(Open(there, Native.O_RDONLY)));
        Expect.Ok(Native.Stat(there, out Statx after));
        Assert.Equal(1000ul, after.Size);
        Expect.Ok(Native.Close(writer));
    }

    [Fact]
    public void Overlapping_writes_of_two_nodes_end_as_one_of_them()
    {
        using var sides = volume.NewSides("overlap");
        string here = Path.Combine(sides.Subject, "f"), there = Path.Combine(sides.SubjectOnSecond, "f");
        File.WriteAllBytes(here, []);
        int a = Open(here, Native.O_RDWR), b = Open(there, Native.O_RDWR);
        byte[] ones = [.. Enumerable.Repeat((byte)1, 60_000)], twos = [.. Enumerable.Repeat((byte)2, 60_000)];
        var read = new byte[60_000];
        for (int round = 0; round < 50; round++)
        {
            Parallel.Invoke(
                () => Assert.Equal(ones.Length, Native.Pwrite(a, ones, 0)),
                () => Assert.Equal(twos.Length, Native.Pwrite(b, twos, 0)));
            Assert.Equal(read.Length, Native.Pread(a, read, 0));
            Assert.True(read.AsSpan().IndexOfAnyExcept(read[0]) < 0, $"round {round}: the bytes of two writes are mixed");
            var other = new byte[60_000];
            Assert.Equal(other.Length, Native.Pread(b, other, 0));
            Assert.True(read.AsSpan().SequenceEqual(other), $"round {round}: the nodes differ");
        }
        Expect.Ok(Native.Close(a));
        Expect.Ok(Native.Close(b));
    }

    [Fact]
    public void Ficlone_is_refused()
    {
        using var sides = volume.NewSides("ficlone");
        int from = Open(Path.Combine(sides.Subject, "f"), Native.O_CREAT | Native.O_RDWR), to = Open(Path.Combine(sides.Subject, "g"), Native.O_CREAT | Native.O_RDWR);
        Expect.Fails(Errno.EOPNOTSUPP, Native.Ioctl(to, Ficlone, from));
        Expect.Ok(Native.Close(from));
        Expect.Ok(Native.Close(to));
    }

    private static int Open(string path, int flags) => Expect.Fd(Native.Open(path, flags, 0x1A4));

    private static Span<byte> Map(int fd, int length) =>
        new((void*)Expect.Ok(Native.Mmap(fd, (length + Page - 1) / Page * Page, Native.PROT_READ | Native.PROT_WRITE, Native.MAP_SHARED)), length);

    private static nint Address(Span<byte> map)
    {
        fixed (byte* p = map)
        {
            return (nint)p; // unmanaged memory: it does not move
        }
    }

    private static string Text(string path, int offset, int length) => Encoding.UTF8.GetString(File.ReadAllBytes(path), offset, length);
}
