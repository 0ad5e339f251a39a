using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using static EphemeralFs.Tests.Unit.Fuse.FuseConnectionTests;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseNotifierTests
{
    [Fact]
    public async Task NotificationsAreWrittenAsTheKernelReadsThem()
    {
        using var rig = new Rig();
        FuseNotifier notifier = rig.Connection.Notifier;
        Assert.Equal(Errno.OK, await notifier.InvalidateInodeAsync(5, -1, 0));
        Assert.Equal(Errno.OK, await notifier.InvalidateEntryAsync(6, "name"u8.ToArray(), expireOnly: true));
        Assert.Equal(Errno.OK, await notifier.DeleteAsync(7, 8, "gone"u8.ToArray()));
        Assert.Equal(Errno.OK, await notifier.IncrementEpochAsync());
        byte[][] sent = [.. rig.Kernel.Notifications];
        Assert.Equal(4, sent.Length);

        Assert.Equal((uint)sent[0].Length, Header(sent[0], FuseNotifyCode.INVAL_INODE).Length);
        FuseNotifyInvalInodeOut inode = MemoryMarshal.Read<FuseNotifyInvalInodeOut>(sent[0].AsSpan(16));
        Assert.Equal((5UL, -1L, 0L), (inode.Ino, inode.Offset, inode.Length));

        Header(sent[1], FuseNotifyCode.INVAL_ENTRY);
        FuseNotifyInvalEntryOut entry = MemoryMarshal.Read<FuseNotifyInvalEntryOut>(sent[1].AsSpan(16));
        Assert.Equal((6UL, 4u, FuseExpireFlags.EXPIRE_ONLY), (entry.Parent, entry.NameLength, entry.Flags));
        Assert.Equal("name\0", Encoding.UTF8.GetString(sent[1].AsSpan(32)));

        Header(sent[2], FuseNotifyCode.DELETE);
        FuseNotifyDeleteOut delete = MemoryMarshal.Read<FuseNotifyDeleteOut>(sent[2].AsSpan(16));
        Assert.Equal((7UL, 8UL, 4u), (delete.Parent, delete.Child, delete.NameLength));
        Assert.Equal("gone\0", Encoding.UTF8.GetString(sent[2].AsSpan(40)));

        Header(sent[3], FuseNotifyCode.INC_EPOCH);
        Assert.Equal(16, sent[3].Length);
        Assert.Equal(4, notifier.Sent);
    }

    [Fact]
    public async Task OldKernelsGetThePlainFormOfExpiry()
    {
        using var rig = new Rig(change: o => o with { Flags = o.Flags & ~FuseInitFlags.HAS_EXPIRE_ONLY });
        await rig.Connection.Notifier.InvalidateEntryAsync(6, "n"u8.ToArray(), expireOnly: true);
        FuseNotifyInvalEntryOut entry = MemoryMarshal.Read<FuseNotifyInvalEntryOut>(Assert.Single(rig.Kernel.Notifications).AsSpan(16));
        Assert.Equal(FuseExpireFlags.None, entry.Flags);
    }

    [Fact]
    public async Task NamesTooLongAreRefusedAndTheEndCancels()
    {
        var rig = new Rig();
        FuseNotifier notifier = rig.Connection.Notifier;
        Assert.Equal(Errno.ENAMETOOLONG, await notifier.InvalidateEntryAsync(1, new byte[1025], expireOnly: false));
        rig.Dispose();
        Assert.Equal(Errno.ECANCELED, await notifier.InvalidateInodeAsync(1));
        Assert.False(notifier.TryPost(FuseNotification.IncrementEpoch()));
        Assert.Empty(rig.Kernel.Notifications);
    }

    /// <summary>What the kernel is stuck in may wait for another node, which waits for the next notification: of another inode, that one must not wait behind it.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task OneInWhichTheKernelIsStuckDelaysOnlyThoseOfItsOwnNode(bool names)
    {
        using var rig = new Rig();
        using var free = new ManualResetEventSlim();
        rig.Kernel.Held = (1, free);
        Task<Errno>[] stuck = [.. Enumerable.Range(0, 3).Select(i => Notify(1, i))];
        for (ulong other = 2; other < 100; other++)
        {
            Assert.Equal(Errno.OK, await Notify(other, 0).WaitAsync(TimeSpan.FromSeconds(30)));
        }
        Assert.Equal(Errno.OK, await rig.Connection.Notifier.InvalidateInodeAsync(1000, offset: -1).AsTask().WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.DoesNotContain(stuck, task => task.IsCompleted);
        Assert.Equal(2, rig.Connection.Notifier.Queued);
        free.Set();
        await Task.WhenAll(stuck).WaitAsync(TimeSpan.FromSeconds(30));
        byte[][] held = [.. rig.Kernel.Notifications.Where(sent => MemoryMarshal.Read<ulong>(sent.AsSpan(16)) == 1)];
        Assert.Equal([0, 1, 2], held.Select(sent => names ? sent[32] - 'a' : (int)MemoryMarshal.Read<FuseNotifyInvalInodeOut>(sent.AsSpan(16)).Offset));

        Task<Errno> Notify(ulong node, int number) => names
            ? rig.Connection.Notifier.InvalidateEntryAsync(node, new[] { (byte)('a' + number) }, expireOnly: true).AsTask()
            : rig.Connection.Notifier.InvalidateInodeAsync(node, offset: number).AsTask();
    }

    private static FuseOutHeader Header(byte[] message, FuseNotifyCode code)
    {
        FuseOutHeader header = MemoryMarshal.Read<FuseOutHeader>(message);
        Assert.Equal(((int)code, 0UL), (header.Error, header.Unique));
        return header;
    }
}
