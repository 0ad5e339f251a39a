using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Mount.Protocol;

/// <summary>Changes behind the kernel's back are seen after their notification, whatever the time-outs.</summary>
public class NotificationTests
{
    private static string Size(FuseRig rig, string name) => Program.Output("stat", "-c", "%s", rig.PathOf(name)).Trim();

    private static (MemoryFs Fs, MemoryFsHandler Handler, FuseRig Rig) Cached()
    {
        var fs = new MemoryFs { ValidSeconds = 3600 };
        var handler = new MemoryFsHandler(fs);
        return (fs, handler, new FuseRig(handler));
    }

    [Fact]
    public async Task SizesAndPagesOfAnInode()
    {
        (MemoryFs fs, _, FuseRig rig) = Cached();
        using FuseRig mounted = rig;
        MemoryNode node = fs.File("f", "short");
        Assert.Equal("5", Size(rig, "f"));
        Assert.Equal("short", Program.Output("cat", rig.PathOf("f")));
        lock (fs.Gate)
        {
            node.Data = Encoding.UTF8.GetBytes("rather longer");
        }
        Assert.Equal("5", Size(rig, "f"));
        Assert.Equal(Errno.OK, await rig.Connection.Notifier.InvalidateInodeAsync(node.Id));
        Assert.Equal("13", Size(rig, "f"));
        Assert.Equal("rather longer", Program.Output("cat", rig.PathOf("f")));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Names(bool expireOnly)
    {
        (MemoryFs fs, _, FuseRig rig) = Cached();
        using FuseRig mounted = rig;
        fs.File("old", "1");
        Assert.Equal("1", Size(rig, "old"));
        lock (fs.Gate)
        {
            fs.Root.Remove("old");
        }
        Assert.Equal("1", Size(rig, "old"));
        Assert.Equal(Errno.OK, await rig.Connection.Notifier.InvalidateEntryAsync(1, "old"u8.ToArray(), expireOnly));
        Assert.Equal(1, Program.Run("stat", rig.PathOf("old")).Exit);
        Assert.Equal(Errno.ENOENT, await rig.Connection.Notifier.InvalidateEntryAsync(1, "never"u8.ToArray(), expireOnly));
    }

    [Fact]
    public async Task AllNamesByTheEpoch()
    {
        (MemoryFs fs, MemoryFsHandler handler, FuseRig rig) = Cached();
        using FuseRig mounted = rig;
        if (rig.Connection.Negotiated.Minor < 44)
        {
            Assert.Equal(Errno.EOPNOTSUPP, await rig.Connection.Notifier.IncrementEpochAsync());
            return;
        }
        fs.File("f", "1");
        Size(rig, "f");
        int before = handler.Count(FuseOpcode.LOOKUP);
        Size(rig, "f");
        Assert.Equal(before, handler.Count(FuseOpcode.LOOKUP));
        Assert.Equal(Errno.OK, await rig.Connection.Notifier.IncrementEpochAsync());
        Size(rig, "f");
        Assert.Equal(before + 1, handler.Count(FuseOpcode.LOOKUP));
    }

    [Fact]
    public async Task RemovedNames()
    {
        (MemoryFs fs, _, FuseRig rig) = Cached();
        using FuseRig mounted = rig;
        MemoryNode node = fs.File("f", "1");
        Size(rig, "f");
        lock (fs.Gate)
        {
            fs.Root.Remove("f");
        }
        Assert.Equal(Errno.OK, await rig.Connection.Notifier.DeleteAsync(1, node.Id, "f"u8.ToArray()));
        Assert.Equal(1, Program.Run("stat", rig.PathOf("f")).Exit);
    }

    /// <summary>A name notification blocks in the kernel while a CREATE holds the directory: other kinds and requests must go on.</summary>
    [Fact]
    public async Task AStuckNameDelaysNobodyElse()
    {
        var fs = new MemoryFs { ValidSeconds = 3600 };
        var handler = new SlowCreate(fs);
        using var rig = new FuseRig(handler);
        fs.File("f", "1");
        Size(rig, "f");
        using System.Diagnostics.Process touch = Program.Start("touch", rig.PathOf("new"));
        Assert.True(handler.Creating.TryTake(out FuseRequest? create, TimeSpan.FromSeconds(30)));
        Task<Errno> stuck = rig.Connection.Notifier.InvalidateEntryAsync(1, "f"u8.ToArray(), expireOnly: true).AsTask();
        Assert.Equal(Errno.OK, await rig.Connection.Notifier.InvalidateInodeAsync(2, -1).AsTask().WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal("1", Size(rig, "f"));
        Assert.False(stuck.IsCompleted);
        handler.Answer(create!);
        Assert.Equal(Errno.OK, await stuck.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal(0, Program.Finish(touch).Exit);
    }

    private sealed class SlowCreate(MemoryFs fs) : MemoryFsHandler(fs)
    {
        public System.Collections.Concurrent.BlockingCollection<FuseRequest> Creating { get; } = [];

        public override void Create(FuseRequest request) => Creating.Add(request);

        public void Answer(FuseRequest request) => base.Create(request);
    }
}
