using System.Text;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Mount.Protocol;

public sealed class OperationsTests : IDisposable
{
    private readonly MemoryFs _fs = new();
    private readonly MemoryFsHandler _handler;
    private readonly FuseRig _rig;

    public OperationsTests()
    {
        _handler = new MemoryFsHandler(_fs);
        _rig = new FuseRig(_handler);
    }

    public void Dispose() => _rig.Dispose();

    private void NoFaults() => Assert.Empty(_rig.Faults);

    [Fact]
    public void ProgramsListReadAndWrite()
    {
        _fs.File("hello", "content of a file\n");
        Assert.Equal("hello\n", Program.Output("ls", _rig.Dir));
        Assert.Equal("content of a file\n", Program.Output("cat", _rig.PathOf("hello")));
        Program.Output("sh", "-c", $"cd {_rig.Dir} && echo one > a && echo two >> a && mkdir d && mv a d/b && ln -s d/b l && cat l");
        Assert.Equal("one\ntwo\n", Program.Output("cat", _rig.PathOf("l")));
        Assert.Equal("d\nhello\nl\n", Program.Output("ls", _rig.Dir));
        Program.Output("rm", "-r", _rig.PathOf("d"));
        Assert.Equal("hello\nl\n", Program.Output("ls", _rig.Dir));
        (int exit, _, string error) = Program.Run("cat", _rig.PathOf("absent"));
        Assert.Equal(1, exit);
        Assert.Contains("No such file or directory", error, StringComparison.Ordinal);
        NoFaults();
    }

    [Fact]
    public void TheNewestMinorIsSpokenWithAllThatIsWanted()
    {
        FuseNegotiated negotiated = _rig.Connection.Negotiated;
        Assert.InRange(negotiated.Minor, FuseAbi.OldestMinor, FuseAbi.NewestMinor);
        if (negotiated.Minor == FuseAbi.NewestMinor)
        {
            Assert.Equal(FuseConnectionOptions.DefaultFlags, negotiated.Flags);
        }
        Assert.Equal(2, _rig.Connection.Descriptors.Count);
    }

    [Fact]
    public void LargeFilesGoThroughInLargeRequests()
    {
        byte[] data = new byte[(9 << 20) + 123];
        new Random(1).NextBytes(data);
        string source = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(source, data);
            Program.Output("dd", $"if={source}", $"of={_rig.PathOf("big")}", "bs=1M", "status=none");
            Assert.Equal(data, _fs.Root.Child("big")!.Data);
            Program.Output("cmp", source, _rig.PathOf("big"));
        }
        finally
        {
            File.Delete(source);
        }
        FuseOperationCounts writes = _rig.Connection.Counters.Snapshot().Single(c => c.Name == "WRITE");
        Assert.InRange(writes.Count, 10, 12);
        NoFaults();
    }

    [Fact]
    public void ThousandsOfEntriesAreListedOnceEach()
    {
        _fs.ValidSeconds = 3600;
        lock (_fs.Gate)
        {
            for (int i = 0; i < 3000; i++)
            {
                _fs.Make(_fs.Root, $"a-rather-long-name-{i:D5}", MemoryFs.Regular);
            }
        }
        string[] lines = Program.Output("ls", "-l", _rig.Dir).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3001, lines.Length);
        Assert.Equal(3000, lines[1..].Select(l => l.Split(' ')[^1]).Distinct().Count());
        // The first part comes with attributes, which are not asked for one by one; READDIRPLUS_AUTO leaves the rest to READDIR.
        Assert.InRange(_handler.Count(FuseOpcode.READDIRPLUS), 1, 1000);
        Assert.InRange(_handler.Count(FuseOpcode.LOOKUP), 0, 2990);
        NoFaults();
    }

    [Fact]
    public void NamesMayHaveAnyBytes()
    {
        string name = "\u00e4 \"\\\n\t\u0001 name";
        File.WriteAllText(_rig.PathOf(name), "x");
        Assert.NotNull(_fs.Root.Child(name));
        Assert.Equal([_rig.PathOf(name)], Directory.GetFiles(_rig.Dir));
        NoFaults();
    }

    [Fact]
    public void BirthTimesAndFreeSpaceAreAsked()
    {
        _fs.File("f", "x");
        Assert.StartsWith("1600000000", Program.Output("stat", "-c", "%W", _rig.PathOf("f")), StringComparison.Ordinal);
        Assert.Equal("1000 900 800 255\n", Program.Output("stat", "-f", "-c", "%b %f %a %l", _rig.Dir));
        Assert.Equal("fuse.ephemeralfs", Program.Output("findmnt", "-no", "FSTYPE", _rig.Dir).Trim());
        Assert.Equal("ephemeralfs:protocol test", Program.Output("findmnt", "-no", "SOURCE", _rig.Dir).Trim());
    }

    [Fact]
    public void FilesWithoutANameCanBeMade()
    {
        string script = $"import os; f=os.open('{_rig.Dir}', os.O_TMPFILE|os.O_RDWR); os.write(f, b'abc'); print(os.pread(f, 9, 0).decode(), os.fstat(f).st_nlink)";
        Assert.Equal("abc 0\n", Program.Output("python3", "-c", script));
        Assert.Equal("", Program.Output("ls", _rig.Dir));
        NoFaults();
    }

    [Fact]
    public void NoReplaceReachesTheHandler()
    {
        _fs.File("a", "1");
        _fs.File("b", "2");
        string script = $"""
            import ctypes, os
            libc = ctypes.CDLL(None, use_errno=True)
            r = libc.renameat2(-100, b'{_rig.PathOf("a")}', -100, b'{_rig.PathOf("b")}', 1)
            print(r, os.strerror(ctypes.get_errno()))
            """;
        // The kernel finds the name itself when it has looked it up; one that appears behind its back is the handler's to see.
        Assert.Equal("-1 File exists\n", Program.Output("python3", "-c", script));
        Assert.Equal("1", Encoding.UTF8.GetString(_fs.Root.Child("a")!.Data));
    }

    [Fact]
    public async Task UnmountingEndsTheConnection()
    {
        Assert.Equal("", Program.Output("ls", _rig.Dir));
        FuseMount.Mounting.FuseMounter.Unmount(_rig.Dir, lazy: false);
        FuseEnd end = await _rig.Connection.Completion.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(FuseEndReason.Unmounted, end.Reason);
    }

    [Fact]
    public async Task AbortingEndsTheConnection()
    {
        string minor = FuseMount.Mounting.MountTable.Find(_rig.Dir)!.Device.Split(':')[1];
        DirectoryInfo control = Directory.CreateTempSubdirectory("efs-fusectl-");
        Program.Output("mount", "-t", "fusectl", "none", control.FullName);
        try
        {
            await File.WriteAllTextAsync(Path.Combine(control.FullName, minor, "abort"), "1");
        }
        finally
        {
            Program.Output("umount", control.FullName);
            control.Delete();
        }
        FuseEnd end = await _rig.Connection.Completion.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(FuseEndReason.Aborted, end.Reason);
    }
}
