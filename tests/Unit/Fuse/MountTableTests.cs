using EphemeralFs.Core;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.Tests.Unit.Fuse;

public class MountTableTests
{
    [Fact]
    public void LinesAreTakenApartAndUnescaped()
    {
        IReadOnlyList<MountEntry> entries = MountTable.Parse(
        [
            "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            @"36 22 0:45 / /mnt/a\040b\134c\011\303\244 rw,nosuid shared:1 master:2 - fuse.ephemeralfs ephemeralfs:tmp rw,user_id=0",
            "37 22 0:46 /sub /mnt/x rw - tmpfs none rw",
            "not a line of the table",
            "1 2 3 4 5 6 7",
            "",
        ]);
        Assert.Equal(3, entries.Count);
        Assert.Equal("/mnt/a b\\c\tä", entries[1].MountPoint);
        Assert.Equal(("fuse.ephemeralfs", "ephemeralfs:tmp", "rw,nosuid", "0:45"), (entries[1].Type, entries[1].Source, entries[1].Options, entries[1].Device));
        Assert.Equal((37, 22, "/sub"), (entries[2].MountId, entries[2].ParentId, entries[2].Root));
    }

    [Theory]
    [InlineData(@"\04", @"\04")]
    [InlineData(@"\999", @"\999")]
    [InlineData(@"a\", @"a\")]
    [InlineData(@"\043\012", "#\n")]
    public void OnlyWholeOctalEscapesAreResolved(string text, string expected) => Assert.Equal(expected, MountTable.Unescape(text));

    [Fact]
    public void OnlyLinesWithTheTextAreTakenApart()
    {
        byte[] table = "1 0 0:1 / /a rw - tmpfs x rw\n2 0 0:2 / /b rw - fuse.e x rw\nbad x line\n3 0 0:3 / /c rw - fuse.e xx rw\n4 0 0:4 / /d rw - tmpfs x rw"u8.ToArray();
        Assert.Equal([1, 2, 4], MountTable.Containing(table, " x ").Select(m => m.MountId));
        Assert.Equal([4], MountTable.Containing(table, " /d ").Select(m => m.MountId));
        Assert.Empty(MountTable.Containing(table, " /e "));
        Assert.Empty(MountTable.Containing([], " x "));
    }

    [Fact]
    public void TheRootAndProcAreFound()
    {
        Assert.NotNull(MountTable.Find("/"));
        Assert.Equal("proc", MountTable.Find("/proc/")!.Type);
        Assert.Null(MountTable.Find("/proc/self/nothing"));
    }

    [Fact]
    public void LinksAreResolvedAndMissingPartsStay()
    {
        DirectoryInfo root = Directory.CreateTempSubdirectory("efs-paths");
        try
        {
            string real = MountPaths.Resolve(root.FullName);
            Directory.CreateDirectory(Path.Combine(real, "a/b"));
            Directory.CreateSymbolicLink(Path.Combine(real, "l"), "a");
            Directory.CreateSymbolicLink(Path.Combine(real, "loop"), "loop");
            Assert.Equal(Path.Combine(real, "a/b/new"), MountPaths.Resolve(Path.Combine(real, "l/./b//new")));
            Assert.Equal(Errno.ELOOP, Assert.Throws<MountException>(() => MountPaths.Resolve(Path.Combine(real, "loop/x"))).Errno);
        }
        finally
        {
            root.Delete(recursive: true);
        }
    }

    [Fact]
    public void UnfitMountPointsAreRefusedInOneLine()
    {
        DirectoryInfo root = Directory.CreateTempSubdirectory("efs-checks");
        try
        {
            string dir = Path.Combine(root.FullName, "dir");
            Refused(Errno.ENOENT, "no such directory", dir);
            Directory.CreateDirectory(dir);
            Assert.Equal(MountPaths.Resolve(dir), FuseMounter.CheckMountPoint(dir, nonEmpty: false));
            File.WriteAllText(Path.Combine(dir, "f"), "");
            Refused(Errno.ENOTDIR, "not a directory", Path.Combine(dir, "f"));
            Refused(Errno.ENOTEMPTY, "not empty", dir);
            Assert.Equal(MountPaths.Resolve(dir), FuseMounter.CheckMountPoint(dir, nonEmpty: true));
            Refused(Errno.EBUSY, "already a mount point", "/proc");
            Assert.Equal(Errno.EINVAL, Assert.Throws<MountException>(() => FuseMounter.Unmount(dir, lazy: false)).Errno);
            Assert.Equal(Errno.EINVAL, Assert.Throws<MountException>(() => FuseMounter.Mount(dir, new() { FsName = "a,allow_other" })).Errno);
        }
        finally
        {
            root.Delete(recursive: true);
        }
    }

    private static void Refused(Errno errno, string text, string directory)
    {
        MountException e = Assert.Throws<MountException>(() => FuseMounter.CheckMountPoint(directory, nonEmpty: false));
        Assert.Equal(errno, e.Errno);
        Assert.Contains(text, e.Message, StringComparison.Ordinal);
        Assert.Contains(directory, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }
}
