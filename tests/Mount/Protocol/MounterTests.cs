using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.Tests.Mount.Protocol;

public partial class MounterTests
{
    private const uint Nobody = 65534;

    [Fact]
    public void OptionsReachTheKernel()
    {
        var fs = new MemoryFs();
        fs.File("f", "x");
        using var rig = new FuseRig(
            new MemoryFsHandler(fs), mount: new() { ReadOnly = true, NoSuid = true, NoDev = true, NoExec = true, MaxReadBytes = 65536, FsName = "a name" });
        MountEntry entry = MountTable.Find(rig.Dir)!;
        Assert.Equal(("fuse.ephemeralfs", "a name"), (entry.Type, entry.Source));
        Assert.Subset(entry.Options.Split(',').ToHashSet(), new HashSet<string> { "ro", "nosuid", "nodev", "noexec" });
        Assert.Subset(entry.SuperOptions.Split(',').ToHashSet(), new HashSet<string> { "allow_other", "default_permissions", "max_read=65536" });
        Assert.Contains("Read-only file system", Program.Run("touch", rig.PathOf("new")).Error, StringComparison.Ordinal);
        Assert.Equal("x", Program.Output("cat", rig.PathOf("f")));
    }

    [Fact]
    public void AMountedDirectoryIsRefusedEvenWhenItsDaemonIsDead()
    {
        using var rig = new FuseRig(new MemoryFsHandler(new MemoryFs()));
        MountException e = Assert.Throws<MountException>(() => FuseMounter.Mount(rig.Dir, new FuseMountOptions()));
        Assert.Equal(Errno.EBUSY, e.Errno);
        Assert.True(rig.Connection.Stop(TimeSpan.FromSeconds(10)));
        Assert.Equal(Errno.EBUSY, Assert.Throws<MountException>(() => FuseMounter.Mount(rig.Dir, new FuseMountOptions())).Errno);
    }

    [Fact]
    public async Task ABusyMountIsUnmountedLazilyOnly()
    {
        var fs = new MemoryFs();
        fs.File("f", "x");
        using var rig = new FuseRig(new MemoryFsHandler(fs));
        FileStream open = File.OpenRead(rig.PathOf("f"));
        MountException e = Assert.Throws<MountException>(() => FuseMounter.Unmount(rig.Dir, lazy: false));
        Assert.Equal(Errno.EBUSY, e.Errno);
        Assert.Contains("in use", e.Message, StringComparison.Ordinal);
        FuseMounter.Unmount(rig.Dir, lazy: true);
        Assert.Null(MountTable.Find(rig.Dir));
        Assert.Equal('x', open.ReadByte());
        Assert.False(rig.Connection.Completion.IsCompleted);
        await open.DisposeAsync();
        Assert.Equal(FuseEndReason.Unmounted, (await rig.Connection.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason);
    }

    [Fact]
    public void FusermountGivesADescriptorToo()
    {
        var fs = new MemoryFs();
        fs.File("f", "by fusermount");
        using var rig = new FuseRig(new MemoryFsHandler(fs), mount: new() { ForceFusermount = true, NoExec = true });
        Assert.True(rig.Point.ByFusermount);
        Assert.Equal("by fusermount", Program.Output("cat", rig.PathOf("f")));
        MountEntry entry = MountTable.Find(rig.Dir)!;
        Assert.Equal("fuse.ephemeralfs", entry.Type);
        Assert.Contains("noexec", entry.Options.Split(','));
    }

    [Fact]
    public async Task AUserWithoutRightsMountsByFusermount()
    {
        FuseRig.Require();
        string dir = Directory.CreateTempSubdirectory("efs-nobody-").FullName;
        var fs = new MemoryFs();
        fs.File("f", "for nobody");
        UnixFileMode mode = File.GetUnixFileMode("/dev/fuse");
        try
        {
            Program.Output("chown", "65534:65534", dir);
            if ((mode & UnixFileMode.OtherWrite) == 0)
            {
                AsNobody(() =>
                {
                    MountException e = Assert.Throws<MountException>(() => FuseMounter.Mount(dir, new FuseMountOptions()));
                    Assert.Equal(Errno.EACCES, e.Errno);
                    Assert.Contains("chmod 666 /dev/fuse", e.Message, StringComparison.Ordinal);
                });
            }
            // As distributions have it.
            File.SetUnixFileMode("/dev/fuse", mode | UnixFileMode.OtherRead | UnixFileMode.OtherWrite);
            FuseConnection? connection = null;
            AsNobody(() =>
            {
                // Without user_allow_other in /etc/fuse.conf the helper says so, in one line.
                FuseMountPoint point = FuseMounter.Mount(dir, new FuseMountOptions { AllowOther = false });
                Assert.True(point.ByFusermount);
                connection = FuseConnection.Open(new MemoryFsHandler(fs), new FuseConnectionOptions { Workers = 2 }, point.Device);
            });
            connection!.Start();
            using (connection)
            {
                Assert.Equal("for nobody", Program.Output("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", Path.Combine(dir, "f")));
                AsNobody(() => FuseMounter.Unmount(dir, lazy: false));
                Assert.Null(MountTable.Find(dir));
                Assert.Equal(FuseEndReason.Unmounted, (await connection.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason);
            }
            AsNobody(() =>
            {
                MountException e = Assert.Throws<MountException>(() => FuseMounter.Mount("/", new FuseMountOptions { NonEmpty = true }));
                Assert.Equal(Errno.EBUSY, e.Errno);
            });
        }
        finally
        {
            File.SetUnixFileMode("/dev/fuse", mode);
            if (MountTable.Find(dir) is not null)
            {
                FuseMounter.Unmount(dir, lazy: true);
            }
            Directory.Delete(dir, recursive: true);
        }
    }

    /// <summary>Runs on a thread that has given up root: on Linux the raw system call concerns the calling thread only.</summary>
    private static void AsNobody(Action action)
    {
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                (nint setresuid, nint setresgid) = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? (117, 119) : ((nint)147, (nint)149);
                Assert.Equal(0, Syscall(setresgid, Nobody, Nobody, Nobody));
                Assert.Equal(0, Syscall(setresuid, Nobody, Nobody, Nobody));
                action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        Assert.True(thread.Join(TimeSpan.FromMinutes(1)));
        if (failure is not null)
        {
            throw new InvalidOperationException("as nobody: " + failure.Message, failure);
        }
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint Syscall(nint number, nuint a, nuint b, nuint c);
}
