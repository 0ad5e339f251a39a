using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Metadata;

public class XattrTests
{
    private readonly TestVolume _v = new();

    [Fact]
    public void Values_are_set_replaced_listed_and_removed()
    {
        var file = _v.File(Ino.Root, "f");
        Assert.Equal(Status.OK, Set(file, "user.a", [1, 2]));
        Assert.Equal(_v.TimeNs, _v.State.Inodes.Find(file)!.Attributes.CtimeNs);
        Assert.Equal(Status.OK, Set(file, "trusted.b", []));
        Assert.Equal(Errno.EEXIST.ToStatus(), Set(file, "user.a", [3], flags: 1));
        Assert.Equal(Errno.ENODATA.ToStatus(), Set(file, "user.c", [3], flags: 2));
        Assert.Equal(Errno.EINVAL.ToStatus(), Set(file, "user.c", [3], flags: 3));
        Assert.Equal(Status.OK, Set(file, "user.a", [3], flags: 2));
        Assert.Equal([3], Get(file, "user.a"));
        Assert.Empty(Get(file, "trusted.b"));
        Assert.Equal("user.a\0trusted.b\0"u8.ToArray(), List(file));
        Assert.Equal(Status.OK, Remove(file, "user.a"));
        Assert.Equal(Errno.ENODATA.ToStatus(), Remove(file, "user.a"));
        Assert.Equal(Status.OK, Remove(file, "trusted.b"));
        Assert.Empty(List(file));
        Assert.Null(_v.State.Inodes.Find(file)!.Extras);
    }

    [Fact]
    public void Names_need_a_known_prefix_and_something_behind_it()
    {
        var file = _v.File(Ino.Root, "f");
        foreach (var name in new[] { "", "user", "system.posix_acl_access", "other.x", "USER.a" })
        {
            Assert.Equal(Errno.EOPNOTSUPP.ToStatus(), Set(file, name, [1]));
        }

        Assert.Equal(Errno.EINVAL.ToStatus(), Set(file, "user.", [1]));
        Assert.Equal(Errno.EINVAL.ToStatus(), Set(file, "user.a\0b", [1]));
        Assert.Equal(Status.OK, Set(file, "security.selinux", [1]));
    }

    [Fact]
    public void An_inode_holds_so_much_and_no_more()
    {
        var file = _v.File(Ino.Root, "f");
        Assert.Equal(Status.OK, Set(file, "user.big", new byte[Limits.XattrValueMaxBytes]));
        var status = Status.OK;
        var count = 0;
        while (status == Status.OK && count < 10_000)
        {
            status = Set(file, $"user.n{count++}", new byte[100]);
        }

        Assert.Equal(Errno.ENOSPC.ToStatus(), status);
        Assert.InRange(count, 100, 1000);
        Assert.Equal(Status.OK, Set(file, "user.big", []));
        Assert.Equal(Status.OK, Set(file, "user.more", new byte[100]));
    }

    private Status Set(ulong ino, string name, byte[] value, uint flags = 0) =>
        SetXattr.Apply(_v.State, _v.Begin(), new SetXattrRequest(ino, TestVolume.Name(name), value, flags), out _);

    private Status Remove(ulong ino, string name) => RemoveXattr.Apply(_v.State, _v.Begin(), new RemoveXattrRequest(ino, TestVolume.Name(name)), out _);

    private byte[] Get(ulong ino, string name)
    {
        Assert.Equal(Status.OK, GetXattr.Apply(_v.State, _v.Begin(), new GetXattrRequest(ino, TestVolume.Name(name)), out var reply));
        return reply.Value.ToArray();
    }

    private byte[] List(ulong ino)
    {
        Assert.Equal(Status.OK, ListXattr.Apply(_v.State, _v.Begin(), new ListXattrRequest(ino), out var reply));
        return reply.Value.ToArray();
    }
}
