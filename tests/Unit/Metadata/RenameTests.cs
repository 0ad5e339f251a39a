using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Metadata;

public class RenameTests
{
    private const ulong Root = Ino.Root;
    private const uint NoReplace = 1;
    private const uint Exchange = 2;
    private readonly TestVolume _v = new();

    /// <summary>The caller's kernel moves its entries as they are: what it has been wrong about it looks up again.</summary>
    [Fact]
    public void A_kernel_that_is_wrong_about_a_name_is_told_so()
    {
        var a = _v.File(Root, "a");
        var b = _v.File(Root, "b");
        Assert.Equal(Errno.ESTALE.ToStatus(), Try(0, b, 0));
        Assert.Equal(Errno.ESTALE.ToStatus(), Try(Exchange, a, a));
        Assert.Equal((a, b), (_v.InoOf(Root, "a"), _v.InoOf(Root, "b")));
        Assert.Equal(Status.OK, Try(Exchange, a, b));
        Assert.Equal(Status.OK, Try(0, b, b)); // what is replaced may be anything
        Assert.Equal(b, _v.InoOf(Root, "b"));

        Status Try(uint flags, ulong believed, ulong newBelieved) => Rename.Apply(
            _v.State, _v.Begin(), new RenameRequest(Root, TestVolume.Name("a"), Root, TestVolume.Name("b"), flags, believed, newBelieved), out _);
    }

    [Fact]
    public void Moves_a_file_and_touches_both_directories_and_the_file()
    {
        var from = _v.Directory(Root, "from");
        var to = _v.Directory(Root, "to");
        var file = _v.File(from, "f");
        Assert.Equal(Status.OK, _v.TryRename(from, "f", to, "g"));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryLookup(from, "f", out _));
        Assert.Equal(file, _v.InoOf(to, "g"));
        var time = _v.Attributes(file).CtimeNs;
        Assert.Equal((time, time), (_v.Attributes(from).MtimeNs, _v.Attributes(to).CtimeNs));
        Assert.True(_v.Attributes(file).MtimeNs < time);
        _v.Check();
    }

    [Fact]
    public void Replaces_a_file_which_lives_on_while_open()
    {
        var file = _v.File(Root, "f");
        var old = _v.File(Root, "g");
        var handle = _v.OpenFile(old, OpenFlags.None, out _);
        Assert.Equal(Status.OK, _v.TryRename(Root, "f", Root, "g"));
        Assert.Equal(file, _v.InoOf(Root, "g"));
        Assert.Equal([".", "..", "g"], _v.List(Root));
        Assert.Equal(0U, _v.Attributes(old).Nlink);
        _v.CloseFile(old, handle);
        Assert.Null(_v.State.Inodes.Find(old));
        _v.Check();
    }

    [Fact]
    public void Moves_a_directory_with_its_dot_dot_and_the_link_counts()
    {
        var a = _v.Directory(Root, "a");
        var b = _v.Directory(Root, "b");
        var moved = _v.Directory(a, "d");
        _v.Directory(b, "d");
        Assert.Equal(Status.OK, _v.TryRename(a, "d", b, "d"));
        Assert.Equal((2U, 3U), (_v.Attributes(a).Nlink, _v.Attributes(b).Nlink));
        Assert.Equal(b, _v.InoOf(moved, ".."));
        _v.Check();
    }

    [Fact]
    public void Refuses_what_the_kernel_refuses_in_its_order()
    {
        var a = _v.Directory(Root, "a");
        var b = _v.Directory(a, "b");
        var c = _v.Directory(b, "c");
        _v.File(Root, "f");
        _v.File(c, "x");
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryRename(Root, "none", Root, "f"));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(Root, "a", Root, "z", flags: 4));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(Root, "a", Root, "z", flags: NoReplace | Exchange));
        Assert.Equal(Errno.EEXIST.ToStatus(), _v.TryRename(Root, "a", Root, "f", NoReplace));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryRename(Root, "a", Root, "z", Exchange));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(Root, "a", a, "z"));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(Root, "a", c, "z"));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(Root, "a", c, "x"));
        Assert.Equal(Errno.ENOTEMPTY.ToStatus(), _v.TryRename(b, "c", Root, "a"));
        Assert.Equal(Errno.ENOTEMPTY.ToStatus(), _v.TryRename(c, "x", Root, "a"));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(c, "x", Root, "a", Exchange));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRename(Root, "a", c, "x", Exchange));
        Assert.Equal(Errno.ENOTDIR.ToStatus(), _v.TryRename(Root, "a", Root, "f"));
        _v.Directory(Root, "e");
        Assert.Equal(Errno.EISDIR.ToStatus(), _v.TryRename(Root, "f", Root, "e"));
        Assert.Equal(Errno.ENOTEMPTY.ToStatus(), _v.TryRename(Root, "e", Root, "a"));
        Assert.Equal(Status.OK, _v.TryRename(Root, "e", Root, "e"));
        _v.Check();
    }

    [Fact]
    public void Two_names_of_one_file_stay_as_they_are()
    {
        var file = _v.File(Root, "f");
        Assert.Equal(Status.OK, _v.TryLink(file, Root, "g"));
        var before = _v.Attributes(file);
        var root = _v.Attributes(Root);
        Assert.Equal(Status.OK, _v.TryRename(Root, "f", Root, "g"));
        Assert.Equal(Status.OK, _v.TryRename(Root, "f", Root, "g", Exchange));
        Assert.Equal(Errno.EEXIST.ToStatus(), _v.TryRename(Root, "f", Root, "g", NoReplace));
        Assert.Equal(before, _v.Attributes(file));
        Assert.Equal(root, _v.Attributes(Root));
        Assert.Equal([".", "..", "f", "g"], _v.List(Root));
    }

    [Fact]
    public void Exchange_swaps_a_file_with_a_directory_of_another_parent()
    {
        var a = _v.Directory(Root, "a");
        var directory = _v.Directory(a, "d");
        _v.File(directory, "inside");
        var file = _v.File(Root, "f");
        Assert.Equal(Status.OK, _v.TryRename(a, "d", Root, "f", Exchange));
        Assert.Equal((file, directory), (_v.InoOf(a, "d"), _v.InoOf(Root, "f")));
        Assert.Equal(Root, _v.InoOf(directory, ".."));
        Assert.Equal((2U, 4U), (_v.Attributes(a).Nlink, _v.Attributes(Root).Nlink));
        _v.Check();
    }

    [Fact]
    public void Exchange_swaps_two_directories()
    {
        var a = _v.Directory(Root, "a");
        var x = _v.Directory(a, "x");
        var y = _v.Directory(Root, "y");
        Assert.Equal(Status.OK, _v.TryRename(a, "x", Root, "y", Exchange));
        Assert.Equal((y, x), (_v.InoOf(a, "x"), _v.InoOf(Root, "y")));
        Assert.Equal((a, Root), (_v.InoOf(y, ".."), _v.InoOf(x, "..")));
        _v.Check();
    }

    [Fact]
    public void A_replaced_empty_directory_that_is_open_lives_on()
    {
        var old = _v.Directory(Root, "old");
        _v.Directory(Root, "new");
        var handle = _v.OpenFile(old, OpenFlags.Directory, out _);
        Assert.Equal(Status.OK, _v.TryRename(Root, "new", Root, "old"));
        Assert.Equal((0U, 3U), (_v.Attributes(old).Nlink, _v.Attributes(Root).Nlink));
        Assert.Empty(_v.List(old));
        _v.CloseFile(old, handle);
        Assert.Null(_v.State.Inodes.Find(old));
        _v.Check();
    }
}
