using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Tests.Unit.Metadata;

public class NamespaceOperationTests
{
    private const ulong Root = Ino.Root;
    private readonly TestVolume _v = new();

    [Fact]
    public void A_new_volume_has_a_root_like_tmp()
    {
        var root = _v.Attributes(Root);
        Assert.Equal((FileMode.Directory | FileMode.Sticky | 0x1FFU, 2U, 0U, 0U), (root.Mode, root.Nlink, root.Uid, root.Gid));
        Assert.Equal(0UL, _v.State.UsedInodes);
    }

    [Fact]
    public void Lookup_finds_names_dot_and_dot_dot()
    {
        var directory = _v.Directory(Root, "d");
        var file = _v.File(directory, "f");
        Assert.Equal(Status.OK, _v.TryLookup(directory, "f", out var found));
        Assert.Equal(file, found.Ino);
        Assert.Equal(Status.OK, _v.TryLookup(directory, ".", out found));
        Assert.Equal(directory, found.Ino);
        Assert.Equal(Status.OK, _v.TryLookup(directory, "..", out found));
        Assert.Equal(Root, found.Ino);
        Assert.Equal(Status.OK, _v.TryLookup(Root, "..", out found));
        Assert.Equal(Root, found.Ino);
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryLookup(directory, "g", out _));
        Assert.Equal(Errno.ENOTDIR.ToStatus(), _v.TryLookup(file, "g", out _));
        Assert.Equal(Errno.ESTALE.ToStatus(), _v.TryLookup(9999, "g", out _));
    }

    [Fact]
    public void Mknod_makes_every_type_and_touches_the_directory()
    {
        foreach (var (type, content) in new (uint, string)[]
        {
            (FileMode.Regular, ""), (FileMode.Fifo, ""), (FileMode.Socket, ""), (FileMode.CharDevice, ""), (FileMode.BlockDevice, ""),
            (FileMode.Symlink, "some/target"), (FileMode.Directory, ""),
        })
        {
            var name = $"t{type:x}";
            Assert.Equal(Status.OK, _v.TryMknod(Root, name, type | 0x1A4, out var made, content, rdev: 0x103));
            Assert.Equal((type | 0x1A4, 10U, 20U, 1U), (made.Mode, made.Uid, made.Gid, made.Generation));
            Assert.Equal(type is FileMode.CharDevice or FileMode.BlockDevice ? 0x103U : 0U, made.Rdev);
            Assert.Equal((ulong)content.Length, made.Size);
            Assert.Equal(type == FileMode.Directory ? 2U : 1U, made.Nlink);
            Assert.Equal((_v.TimeNs, _v.TimeNs, _v.TimeNs, _v.TimeNs), (made.AtimeNs, made.MtimeNs, made.CtimeNs, made.BtimeNs));
            Assert.Equal(_v.TimeNs, _v.State.Inodes.Find(Root)!.Attributes.MtimeNs);
            Assert.Equal(_v.TimeNs, _v.State.Inodes.Find(Root)!.Attributes.CtimeNs);
            Assert.Equal(Errno.EEXIST.ToStatus(), _v.TryMknod(Root, name, type, out _, content));
        }

        Assert.Equal(3U, _v.Attributes(Root).Nlink);
        Assert.Equal(Status.OK, ReadLink.Apply(_v.State, _v.Begin(), new ReadLinkRequest(_v.InoOf(Root, $"t{FileMode.Symlink:x}")), out var link));
        Assert.Equal("some/target"u8.ToArray(), link.Target.ToArray());
        Assert.Equal(Errno.EINVAL.ToStatus(), ReadLink.Apply(_v.State, _v.Begin(), new ReadLinkRequest(Root), out _));
        _v.Check();
    }

    [Fact]
    public void Mknod_refuses_bad_names_types_and_numbers()
    {
        foreach (var name in new[] { "", ".", "..", "a/b", "a\0b" })
        {
            Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryMknod(Root, name, TestVolume.FileBits, out _));
        }

        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryMknod(Root, "x", 0x1A4, out _));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryMknod(Root, "x", FileMode.Symlink | 0x1FF, out _));
        var used = _v.File(Root, "f");
        foreach (var number in new[] { used, Root, 0UL, _v.State.NextIno, ulong.MaxValue })
        {
            var request = new MknodRequest(Root, number, TestVolume.Name("x"), TestVolume.FileBits, 0, 0, 0, default);
            Assert.Equal(Status.BadRequest, Mknod.Apply(_v.State, _v.Begin(), request, out _));
        }

        var other = _v.NewSession();
        var mine = _v.NewIno();
        _v.Session = other;
        var stolen = new MknodRequest(Root, mine, TestVolume.Name("x"), TestVolume.FileBits, 0, 0, 0, default);
        Assert.Equal(Status.BadRequest, Mknod.Apply(_v.State, _v.Begin(), stolen, out _));
        _v.Check();
    }

    [Fact]
    public void Set_group_id_directories_hand_their_group_on()
    {
        var directory = _v.Directory(Root, "d", FileMode.Directory | FileMode.SetGid | 0x1ED);
        SetAttr.Apply(_v.State, _v.Begin(), new SetAttrRequest(directory, SetAttrFields.Gid, 0, 0, 77, 0, 0, 0), out _);
        var below = _v.Attributes(_v.Directory(directory, "sub"));
        Assert.Equal((77U, FileMode.SetGid), (below.Gid, below.Mode & FileMode.SetGid));
        var file = _v.Attributes(_v.File(directory, "f"));
        Assert.Equal((77U, 0U), (file.Gid, file.Mode & FileMode.SetGid));
    }

    [Fact]
    public void Unlink_keeps_an_open_inode_until_its_last_close()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 0, 4096);
        var first = _v.OpenFile(file, OpenFlags.Write, out _);
        var second = _v.OpenFile(file, OpenFlags.None, out _);
        Assert.Equal(Status.OK, _v.TryUnlink(Root, "f"));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryUnlink(Root, "f"));
        Assert.Equal(0U, _v.Attributes(file).Nlink);
        Assert.Equal(4096UL, _v.State.UsedBytes);
        _v.CloseFile(file, first);
        _v.Check();
        Assert.Equal(0U, _v.Attributes(file).Nlink);
        _v.CloseFile(file, second);
        Assert.Null(_v.State.Inodes.Find(file));
        Assert.Equal((0UL, 0UL), (_v.State.UsedBytes, _v.State.UsedInodes));
        Assert.Equal(1, _v.State.Blocks.DeleteQueues[1].Count);
        _v.Check();
    }

    [Fact]
    public void Unlink_and_rmdir_check_the_type()
    {
        var directory = _v.Directory(Root, "d");
        _v.File(Root, "f");
        Assert.Equal(Errno.EISDIR.ToStatus(), _v.TryUnlink(Root, "d"));
        Assert.Equal(Errno.ENOTDIR.ToStatus(), _v.TryRmdir(Root, "f"));
        _v.File(directory, "x");
        Assert.Equal(Errno.ENOTEMPTY.ToStatus(), _v.TryRmdir(Root, "d"));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryRmdir(directory, "."));
        Assert.Equal(Errno.ENOTEMPTY.ToStatus(), _v.TryRmdir(directory, ".."));
        Assert.Equal(Status.OK, _v.TryUnlink(directory, "x"));
        Assert.Equal(Status.OK, _v.TryRmdir(Root, "d"));
        Assert.Equal(2U, _v.Attributes(Root).Nlink);
        _v.Check();
    }

    [Fact]
    public void A_removed_directory_that_is_open_is_empty_and_takes_nothing()
    {
        var directory = _v.Directory(Root, "d");
        var handle = _v.OpenFile(directory, OpenFlags.Directory, out _);
        Assert.Equal(Status.OK, _v.TryRmdir(Root, "d"));
        Assert.Equal(0U, _v.Attributes(directory).Nlink);
        Assert.Empty(_v.List(directory));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryMknod(directory, "x", TestVolume.FileBits, out _));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryCreate(directory, "x", OpenFlags.None, out _));
        _v.CloseFile(directory, handle);
        Assert.Null(_v.State.Inodes.Find(directory));
        _v.Check();
    }

    [Fact]
    public void Link_counts_names_up_to_the_limit()
    {
        var file = _v.File(Root, "f");
        var directory = _v.Directory(Root, "d");
        Assert.Equal(Status.OK, _v.TryLink(file, directory, "g"));
        Assert.Equal(2U, _v.Attributes(file).Nlink);
        Assert.Equal(Errno.EEXIST.ToStatus(), _v.TryLink(file, directory, "g"));
        Assert.Equal(Errno.EPERM.ToStatus(), _v.TryLink(directory, Root, "h"));
        Assert.Equal(Errno.ENOTDIR.ToStatus(), _v.TryLink(file, file, "h"));
        Assert.Equal(Errno.ESTALE.ToStatus(), _v.TryLink(4444, Root, "h"));
        for (var i = 2; i < Limits.LinkMax; i++)
        {
            Assert.Equal(Status.OK, _v.TryLink(file, directory, $"l{i}"));
        }

        Assert.Equal(Errno.EMLINK.ToStatus(), _v.TryLink(file, directory, "one more"));
        Assert.Equal(Status.OK, _v.TryUnlink(Root, "f"));
        Assert.Equal(Limits.LinkMax - 1, _v.Attributes(file).Nlink);
        _v.Check();
    }

    [Fact]
    public void Tmpfile_gets_a_name_once_unless_exclusive_and_goes_with_its_last_handle()
    {
        ulong Make(OpenFlags flags, out ulong handle)
        {
            handle = _v.NewHandle();
            var request = new TmpfileRequest(Root, _v.NewIno(), TestVolume.FileBits, 1, 2, handle, flags);
            Assert.Equal(Status.OK, Tmpfile.Apply(_v.State, _v.Begin(), request, out var reply));
            Assert.Equal(0U, reply.Attributes.Nlink);
            return reply.Attributes.Ino;
        }

        var forgotten = Make(OpenFlags.Write, out var first);
        _v.Write(forgotten, 0, 100);
        _v.CloseFile(forgotten, first);
        Assert.Null(_v.State.Inodes.Find(forgotten));

        var linked = Make(OpenFlags.Write, out var second);
        Assert.Equal(Status.OK, _v.TryLink(linked, Root, "named"));
        Assert.Equal(Status.OK, _v.TryUnlink(Root, "named"));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryLink(linked, Root, "again"));
        _v.CloseFile(linked, second);

        var exclusive = Make(OpenFlags.Write | OpenFlags.Exclusive, out _);
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryLink(exclusive, Root, "never"));
        _v.Check();
    }

    [Fact]
    public void Create_finds_or_makes()
    {
        Assert.Equal(Status.OK, _v.TryCreate(Root, "f", OpenFlags.Write | OpenFlags.Exclusive, out var made));
        Assert.True(made.Created);
        Assert.Equal(DataMode.Cached, made.Mode);
        Assert.Equal(Status.OK, _v.TryCreate(Root, "f", OpenFlags.Write, out var found));
        Assert.False(found.Created);
        Assert.Equal(made.Attributes.Ino, found.Attributes.Ino);
        Assert.Equal(Errno.EEXIST.ToStatus(), _v.TryCreate(Root, "f", OpenFlags.Exclusive, out _));
        _v.Directory(Root, "d");
        Assert.Equal(Errno.EISDIR.ToStatus(), _v.TryCreate(Root, "d", OpenFlags.Write, out _));
        Assert.Equal(Status.OK, _v.TryMknod(Root, "p", FileMode.Fifo, out _));
        Assert.Equal(Errno.ESTALE.ToStatus(), _v.TryCreate(Root, "p", OpenFlags.Write, out _));

        // The handle is known: whoever asks again with it has made the file, which may have another name by now.
        Assert.Equal(Status.OK, _v.TryCreate(Root, "g", OpenFlags.Write, out var again, handle: 1));
        Assert.Equal((true, made.Attributes.Ino), (again.Created, again.Attributes.Ino));
        Assert.Equal(Errno.ENOENT.ToStatus(), _v.TryLookup(Root, "g", out _));
        _v.WriteInline(made.Attributes.Ino, new byte[100]);
        Assert.Equal(Status.OK, _v.TryCreate(Root, "f", OpenFlags.Write | OpenFlags.Truncate, out var cut));
        Assert.Equal((0UL, 0UL), (cut.Attributes.Size, cut.Attributes.AllocatedBytes));
        _v.Check();
    }

    [Fact]
    public void Open_checks_the_type()
    {
        var file = _v.File(Root, "f");
        Assert.Equal(Status.OK, _v.TryMknod(Root, "p", FileMode.Fifo, out var fifo));
        Assert.Equal(Errno.EISDIR.ToStatus(), TryOpen(Root, OpenFlags.None));
        Assert.Equal(Errno.ENOTDIR.ToStatus(), TryOpen(file, OpenFlags.Directory));
        Assert.Equal(Errno.EINVAL.ToStatus(), TryOpen(fifo.Ino, OpenFlags.None));
        Assert.Equal(Errno.ESTALE.ToStatus(), TryOpen(12345, OpenFlags.None));
        Assert.Empty(_v.Session.Handles);
        Assert.Equal(Status.OK, Close.Apply(_v.State, _v.Begin(), new CloseRequest(99), out _));

        Status TryOpen(ulong ino, OpenFlags flags) => Open.Apply(_v.State, _v.Begin(), new OpenRequest(ino, _v.NewHandle(), flags), out _);
    }

    [Fact]
    public void Setattr_changes_what_its_fields_say()
    {
        var file = _v.File(Root, "f");
        var before = _v.Attributes(file);
        var after = Set(SetAttrFields.Mode, mode: FileMode.Directory | 0xFC0);
        Assert.Equal(FileMode.Regular | 0xFC0U, after.Mode);
        Assert.Equal((before.MtimeNs, _v.TimeNs), (after.MtimeNs, after.CtimeNs));
        after = Set(SetAttrFields.Uid, uid: 5);
        Assert.Equal((5U, before.Gid), (after.Uid, after.Gid));
        after = Set(SetAttrFields.Mode, mode: 0xDC8);
        after = Set(SetAttrFields.Gid | SetAttrFields.KillSuidgid, gid: 6);
        Assert.Equal((FileMode.Regular | 0x1C8U, 6U), (after.Mode, after.Gid));
        Set(SetAttrFields.Mode, mode: 0xDC0);
        after = Set(SetAttrFields.KillSuidgid);
        Assert.Equal(FileMode.Regular | FileMode.SetGid | 0x1C0U, after.Mode);
        after = Set(SetAttrFields.Atime | SetAttrFields.Mtime, atime: -5, mtime: 6);
        Assert.Equal((-5L, 6L, _v.TimeNs), (after.AtimeNs, after.MtimeNs, after.CtimeNs));
        after = Set(SetAttrFields.Atime | SetAttrFields.AtimeNow | SetAttrFields.Mtime | SetAttrFields.MtimeNow);
        Assert.Equal((_v.TimeNs, _v.TimeNs), (after.AtimeNs, after.MtimeNs));

        InodeAttributes Set(SetAttrFields fields, uint mode = 0, uint uid = 0, uint gid = 0, long atime = 0, long mtime = 0)
        {
            Assert.Equal(
                Status.OK, SetAttr.Apply(_v.State, _v.Begin(), new SetAttrRequest(file, fields, mode, uid, gid, 0, atime, mtime), out var reply));
            return reply.Attributes;
        }
    }

    [Fact]
    public void Directories_keep_their_set_id_bits_when_privileges_are_killed()
    {
        var directory = _v.Directory(Root, "d", FileMode.Directory | FileMode.SetUid | FileMode.SetGid | 0x1FF);
        SetAttr.Apply(
            _v.State, _v.Begin(), new SetAttrRequest(directory, SetAttrFields.Uid | SetAttrFields.KillSuidgid, 0, 1, 0, 0, 0, 0), out var reply);
        Assert.Equal(FileMode.SetUid | FileMode.SetGid, reply.Attributes.Mode & (FileMode.SetUid | FileMode.SetGid));
    }

    [Fact]
    public void Readdir_gives_dot_dot_dot_and_all_names_in_pieces_of_any_size()
    {
        var directory = _v.Directory(Root, "d");
        var expected = new List<string> { ".", ".." };
        for (var i = 0; i < 100; i++)
        {
            _v.File(directory, $"f{i}");
            expected.Add($"f{i}");
        }

        Assert.Equal(expected, _v.List(directory));
        foreach (var maxBytes in new uint[] { 0, 1, 50, 1000, uint.MaxValue })
        {
            var entries = TestVolume.ListAll(_v.State, _v.Begin(), directory, maxBytes);
            Assert.Equal(102, entries.Count);
            Assert.Equal([1UL, 2UL, 3UL], entries.Take(3).Select(e => e.Cookie));
            Assert.Equal((directory, Root), (entries[0].Ino, entries[1].Ino));
            Assert.All(entries, e => Assert.Equal(e.Ino, e.Attributes.Ino));
            Assert.All(entries, e => Assert.Equal(FileMode.DirentType(e.Attributes.Mode), e.Type));
        }

        Assert.Equal(Errno.ENOTDIR.ToStatus(), ReadDir.Apply(
            _v.State, _v.Begin(), new ReadDirRequest(_v.File(Root, "f"), 0, 100, false), out _));
    }

    [Fact]
    public void The_inode_quota_is_exact()
    {
        var v = new TestVolume(limitInodes: 3);
        v.File(Root, "a");
        v.Directory(Root, "b");
        v.File(Root, "c");
        Assert.Equal(Errno.ENOSPC.ToStatus(), v.TryMknod(Root, "d", TestVolume.FileBits, out _));
        Assert.Equal(Errno.ENOSPC.ToStatus(), v.TryCreate(Root, "d", OpenFlags.None, out _));
        Assert.Equal(Errno.EEXIST.ToStatus(), v.TryMknod(Root, "a", TestVolume.FileBits, out _));
        Assert.Equal(Status.OK, v.TryUnlink(Root, "a"));
        Assert.Equal(Status.OK, v.TryMknod(Root, "d", TestVolume.FileBits, out _));
        v.Check();
    }
}
