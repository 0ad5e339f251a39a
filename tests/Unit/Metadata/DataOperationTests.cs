using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Tests.Unit.Metadata;

public class DataOperationTests
{
    private const ulong Root = Ino.Root;
    private const ulong Page = Limits.PageSizeBytes;
    private readonly TestVolume _v = new();

    [Fact]
    public void Commit_makes_extents_part_of_the_file_and_counts_touched_pages()
    {
        var file = _v.File(Root, "f");
        var version = _v.Attributes(file).DataVersion;
        _v.Write(file, 100, 10);
        var attributes = _v.Attributes(file);
        Assert.Equal((110UL, Page, version + 1), (attributes.Size, attributes.AllocatedBytes, attributes.DataVersion));
        _v.Write(file, 4090, 10);
        Assert.Equal((4100UL, 2 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        _v.Write(file, 20, 8000);
        Assert.Equal((8020UL, 2 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        Assert.Equal(2, _v.State.Blocks.DeleteQueues[1].Count);
        Assert.Equal(1, _v.State.Blocks.Count);
        _v.Check();
    }

    [Fact]
    public void Commit_stamps_times_unless_told_otherwise()
    {
        var file = _v.File(Root, "f");
        _v.TryCommit(file, CommitFlags.KeepMtime, 10, [], null, out var kept);
        Assert.True(kept.Attributes.MtimeNs < _v.TimeNs && kept.Attributes.CtimeNs < _v.TimeNs);
        _v.TryCommit(file, CommitFlags.None, 20, [], null, out var stamped);
        Assert.Equal((_v.TimeNs, _v.TimeNs, 20UL), (stamped.Attributes.MtimeNs, stamped.Attributes.CtimeNs, stamped.Attributes.Size));
        SetAttr.Apply(_v.State, _v.Begin(), new SetAttrRequest(file, SetAttrFields.Mode, 0xDED, 0, 0, 0, 0, 0), out _);
        _v.TryCommit(file, CommitFlags.KillSuidgid, 0, [], null, out var killed);
        Assert.Equal(FileMode.Regular | 0x1EDU, killed.Attributes.Mode);
    }

    [Fact]
    public void Commit_appends_at_the_end_that_the_server_knows()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 0, 5000);
        var block = _v.NewBlock();
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.Append, 30, [new Extent(0, 30, block, 0, 1)], null, out var reply));
        Assert.Equal((5000UL, 5030UL), (reply.Offset, reply.Attributes.Size));
        Assert.Equal((5000UL, block), (_v.Layout(file).Extents[1].FileOffset, _v.Layout(file).Extents[1].BlockId));
        _v.Check();
    }

    [Fact]
    public void Commit_refuses_extents_that_are_malformed_or_not_the_sessions()
    {
        var file = _v.File(Root, "f");
        var block = _v.NewBlock();
        Extent good = new(0, 100, block, 0, 1);
        Assert.Equal(Status.BadRequest, Try(good with { Length = 0 }));
        Assert.Equal(Status.BadRequest, Try(good with { Length = Limits.BlockSizeBytes + 1 }));
        Assert.Equal(Status.BadRequest, Try(good with { BlockOffset = Limits.BlockSizeBytes - 50 }));
        Assert.Equal(Status.BadRequest, Try(good with { BlockOffset = uint.MaxValue }));
        Assert.Equal(Status.BadRequest, Try(good with { Server = 0 }));
        Assert.Equal(Status.BadRequest, Try(good with { BlockId = 0 }));
        Assert.Equal(Status.BadRequest, Try(good with { BlockId = block + 1 }));
        Assert.Equal(Status.BadRequest, Try(good with { BlockId = BlockId.Make(TestVolume.Id + 1, 1) }));
        Assert.Equal(Status.BadRequest, Try(good, good with { FileOffset = 99 }));
        Assert.Equal(Status.BadRequest, Try(good with { FileOffset = 200 }, good));
        Assert.Equal(Errno.EFBIG.ToStatus(), Try(good with { FileOffset = long.MaxValue - 50 }));
        Assert.Equal(Errno.EFBIG.ToStatus(), _v.TryCommit(file, CommitFlags.None, ulong.MaxValue, [], null, out _));
        Assert.Equal(Status.BadRequest, _v.TryCommit(file, CommitFlags.HasInline, 0, [good], [1], out _));
        Assert.Equal(Status.BadRequest, _v.TryCommit(file, CommitFlags.None, 0, [], [1], out _));
        Assert.Equal(Errno.EISDIR.ToStatus(), _v.TryCommit(Root, CommitFlags.None, 0, [], null, out _));
        Assert.Equal(0UL, _v.State.UsedBytes);
        Assert.Equal(Status.OK, Try(good, good with { FileOffset = 300, BlockOffset = 100 }));
        _v.Session = _v.NewSession();
        Assert.Equal(Status.OK, Try(good));
        _v.Check();

        Status Try(params Extent[] extents) => _v.TryCommit(file, CommitFlags.None, 0, extents, null, out _);
    }

    [Fact]
    public void Committing_a_block_over_its_own_extents_keeps_it()
    {
        var file = _v.File(Root, "f");
        var block = _v.Write(file, 0, 8192);
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.None, 0, [new Extent(0, 8192, block, 0, 1)], null, out _));
        Assert.Equal(1, _v.State.Blocks.ReferencesTo(block));
        Assert.Empty(_v.State.Blocks.DeleteQueues);
    }

    [Fact]
    public void A_block_that_was_freed_never_comes_back()
    {
        var file = _v.File(Root, "f");
        var block = _v.Write(file, 0, 8192);
        _v.TryResize(file, 0);
        Assert.Equal(Status.BadRequest, _v.TryCommit(file, CommitFlags.None, 0, [new Extent(0, 8192, block, 0, 1)], null, out _));
        _v.Check();
    }

    [Fact]
    public void Inline_bytes_replace_extents_and_extents_replace_inline_bytes()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 0, 10_000);
        _v.WriteInline(file, [1, 2, 3]);
        var layout = _v.Layout(file);
        Assert.True(layout.IsInline);
        Assert.Empty(layout.Extents);
        Assert.Equal((10_000UL, Page), (layout.Attributes.Size, layout.Attributes.AllocatedBytes));
        _v.Write(file, 0, 100);
        layout = _v.Layout(file);
        Assert.False(layout.IsInline);
        Assert.Single(layout.Extents);
        _v.Check();
    }

    [Fact]
    public void Inline_bytes_are_never_lost_to_a_commit_that_does_not_bring_them()
    {
        var file = _v.File(Root, "f");
        _v.WriteInline(file, new byte[1000]);
        var block = _v.NewBlock();
        Assert.Equal(
            Errno.EXDEV.ToStatus(), _v.TryCommit(file, CommitFlags.None, 0, [new Extent(0, 500, block, 0, 1)], null, out _));
        Assert.Equal(
            Errno.EXDEV.ToStatus(),
            _v.TryCommit(file, CommitFlags.None, 0, [new Extent(0, 400, block, 0, 1), new Extent(500, 600, block, 500, 1)], null, out _));
        Assert.Equal(1000, _v.Layout(file).Inline.Length);

        // Its tail may be replaced alone, and what is appended lies behind it.
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.None, 0, [new Extent(600, 500, block, 600, 1)], null, out _));
        Assert.Equal((600, 1100UL), (_v.Layout(file).Inline.Length, _v.Attributes(file).Size));
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.Append, 0, [new Extent(0, 5, _v.NewBlock(), 0, 1)], null, out var reply));
        Assert.Equal((1100UL, 1105UL), (reply.Offset, reply.Attributes.Size));
        Assert.True(_v.Layout(file).IsInline);
        _v.Check();
    }

    [Fact]
    public void Bytes_that_were_joined_with_an_old_version_do_not_become_the_file()
    {
        var file = _v.File(Root, "f");
        _v.WriteInline(file, [1, 2, 3, 4]);
        var old = _v.Attributes(file).DataVersion;
        _v.WriteInline(file, [9, 2, 3, 4]);

        // A node that does not know the 9 has put its 8 next to the 1.
        Assert.Equal(Errno.EXDEV.ToStatus(), _v.TryCommit(file, CommitFlags.HasInline, 4, [], [1, 8, 3, 4], old, out _));
        Assert.Equal(
            Errno.EXDEV.ToStatus(), _v.TryCommit(file, CommitFlags.None, 0, [new Extent(0, 9000, _v.NewBlock(), 0, 1)], null, old, out _));
        Assert.Equal([9, 2, 3, 4], _v.Layout(file).Inline.ToArray());

        // What lies behind them is joined with nothing.
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.None, 0, [new Extent(4096, 10, _v.NewBlock(), 0, 1)], null, old, out _));
        _v.Check();
    }

    [Fact]
    public void Inline_bytes_can_be_appended_while_they_fit()
    {
        var file = _v.File(Root, "f");
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.Append | CommitFlags.HasInline, 3, [], [1, 2, 3], out var first));
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.Append | CommitFlags.HasInline, 2, [], [4, 5], out var second));
        Assert.Equal((0UL, 3UL, 5UL), (first.Offset, second.Offset, second.Attributes.Size));
        Assert.Equal([1, 2, 3, 4, 5], _v.Layout(file).Inline.ToArray());
        Assert.Equal(
            Errno.EXDEV.ToStatus(), _v.TryCommit(file, CommitFlags.Append | CommitFlags.HasInline, 0, [], new byte[Limits.InlineMaxBytes], out _));
        _v.TryResize(file, 10);
        Assert.Equal(Status.OK, _v.TryCommit(file, CommitFlags.Append | CommitFlags.HasInline, 1, [], [9], out _));
        Assert.Equal([1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 9], _v.Layout(file).Inline.ToArray());
        _v.Check();
    }

    [Fact]
    public void Truncation_cuts_extents_exactly_so_that_growing_reads_zeros()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 0, 10_000);
        _v.Write(file, 10_000, 10_000);
        Assert.Equal(Status.OK, _v.TryResize(file, 5000));
        Assert.Equal((5000UL, 2 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        Assert.Equal(Status.OK, _v.TryResize(file, 20_000));
        var extent = Assert.Single(_v.Layout(file).Extents);
        Assert.Equal((0UL, 5000UL), (extent.FileOffset, extent.Length));
        Assert.Equal(1, _v.State.Blocks.DeleteQueues[1].Count);
        var time = _v.Attributes(file).CtimeNs;
        var version = _v.Attributes(file).DataVersion;
        Assert.Equal(Status.OK, _v.TryResize(file, 20_000));
        Assert.True(_v.Attributes(file).CtimeNs > time, "a truncation moves the times, to whatever size");
        Assert.Equal(version, _v.Attributes(file).DataVersion);
        Assert.Equal(Errno.EFBIG.ToStatus(), _v.TryResize(file, 1UL << 63));
        Assert.Equal(Errno.EISDIR.ToStatus(), _v.TryResize(Root, 0));
        Assert.Equal(Status.OK, _v.TryMknod(Root, "p", FileMode.Fifo, out var fifo));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryResize(fifo.Ino, 0));
        _v.Check();
    }

    [Fact]
    public void Truncation_cuts_inline_bytes()
    {
        var file = _v.File(Root, "f");
        _v.WriteInline(file, [1, 2, 3, 4]);
        _v.TryResize(file, 2);
        _v.TryResize(file, 100);
        Assert.Equal([1, 2], _v.Layout(file).Inline.ToArray());
        _v.TryResize(file, 0);
        Assert.Null(_v.State.Inodes.Find(file)!.Content);
        Assert.Equal(0UL, _v.State.UsedBytes);
    }

    [Fact]
    public void Fallocate_allocates_holes_only()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 4096, 4096);
        Assert.Equal(Status.OK, _v.TryFallocate(file, 0, 0, 5 * Page));
        Assert.Equal((5 * Page, 5 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        Assert.Equal([true, false, true], _v.Layout(file).Extents.Select(e => e.IsUnwritten));
        Assert.Equal(Status.OK, _v.TryFallocate(file, 1, 5 * Page, Page));
        Assert.Equal((5 * Page, 6 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        _v.Write(file, 0, 4096);
        Assert.Equal(6 * Page, _v.Attributes(file).AllocatedBytes);
        _v.TryResize(file, 5 * Page);
        Assert.Equal(5 * Page, _v.Attributes(file).AllocatedBytes);
        _v.Check();
    }

    [Fact]
    public void Fallocate_punches_and_zeroes()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 0, 5 * Page);
        Assert.Equal(Status.OK, _v.TryFallocate(file, 3, Page, Page));
        Assert.Equal((5 * Page, 4 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        Assert.Equal(2, _v.Layout(file).Extents.Length);
        Assert.Equal(Status.OK, _v.TryFallocate(file, 16, 0, 6 * Page));
        Assert.Equal((6 * Page, 6 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        Assert.True(Assert.Single(_v.Layout(file).Extents).IsUnwritten);
        Assert.Equal(Status.OK, _v.TryFallocate(file, 17, 6 * Page, Page));
        Assert.Equal(6 * Page, _v.Attributes(file).Size);
        Assert.Equal(Errno.EOPNOTSUPP.ToStatus(), _v.TryFallocate(file, 8, 0, Page));
        Assert.Equal(Errno.EOPNOTSUPP.ToStatus(), _v.TryFallocate(file, 2, 0, Page));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryFallocate(file, 0, 0, 0));
        Assert.Equal(Errno.EFBIG.ToStatus(), _v.TryFallocate(file, 0, long.MaxValue, 1));
        Assert.Equal(Errno.EISDIR.ToStatus(), _v.TryFallocate(Root, 0, 0, 1));
        _v.Check();
    }

    [Fact]
    public void Fallocate_works_on_inline_bytes()
    {
        var file = _v.File(Root, "f");
        _v.WriteInline(file, [1, 2, 3, 4, 5, 6]);
        Assert.Equal(Status.OK, _v.TryFallocate(file, 3, 1, 2));
        Assert.Equal([1, 0, 0, 4, 5, 6], _v.Layout(file).Inline.ToArray());
        Assert.Equal(Status.OK, _v.TryFallocate(file, 3, 4, 100));
        Assert.Equal([1, 0, 0, 4], _v.Layout(file).Inline.ToArray());
        Assert.Equal(6UL, _v.Attributes(file).Size);
        Assert.Equal(Status.OK, _v.TryFallocate(file, 16, 3, 1));
        Assert.Equal([1, 0, 0, 0], _v.Layout(file).Inline.ToArray());
        Assert.Equal(Status.OK, _v.TryFallocate(file, 0, 0, 3 * Page));
        Assert.Equal((3 * Page, 3 * Page), (_v.Attributes(file).Size, _v.Attributes(file).AllocatedBytes));
        _v.WriteInline(file, new byte[5000]);
        Assert.Equal((5000, 3 * Page), (_v.Layout(file).Inline.Length, _v.Attributes(file).AllocatedBytes));
        _v.Check();
    }

    [Fact]
    public void Clone_shares_blocks()
    {
        var source = _v.File(Root, "s");
        var target = _v.File(Root, "t");
        var block = _v.Write(source, 0, 10_000);
        _v.Write(target, 0, 3 * Page);
        Assert.Equal(Status.OK, _v.TryClone(source, 100, target, 5000, 1_000_000, out var reply));
        Assert.Equal((9900UL, 14_900UL), (reply.Copied, reply.Attributes.Size));
        Assert.Equal(2, _v.State.Blocks.ReferencesTo(block));
        Assert.Equal(4 * Page, _v.Attributes(target).AllocatedBytes);
        _v.Check();
        Assert.Equal(Status.OK, _v.TryUnlink(Root, "s"));
        Assert.Equal(1, _v.State.Blocks.ReferencesTo(block));
        Assert.Equal(Status.OK, _v.TryClone(target, 0, target, 20_000, 5, out reply));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TryClone(target, 0, target, 5, 10, out _));
        Assert.Equal(Status.OK, _v.TryClone(target, 1_000_000, target, 0, 5, out reply));
        Assert.Equal(0UL, reply.Copied);
        Assert.Equal(Errno.EFBIG.ToStatus(), _v.TryClone(target, 0, target, long.MaxValue, 5, out _));
        _v.Check();
    }

    [Fact]
    public void Clone_copies_holes_too()
    {
        var source = _v.File(Root, "s");
        var target = _v.File(Root, "t");
        _v.TryResize(source, 4 * Page);
        _v.Write(source, 0, 10);
        _v.Write(target, 0, 4 * Page);
        Assert.Equal(Status.OK, _v.TryClone(source, 0, target, 0, 4 * Page, out _));
        Assert.Equal(Page, _v.Attributes(target).AllocatedBytes);
        Assert.Single(_v.Layout(target).Extents);
        _v.Check();
    }

    [Fact]
    public void Clone_takes_inline_bytes_only_as_a_whole_copy()
    {
        var source = _v.File(Root, "s");
        var target = _v.File(Root, "t");
        _v.WriteInline(source, [1, 2, 3, 4]);
        Assert.Equal(Errno.EXDEV.ToStatus(), _v.TryClone(source, 1, target, 0, 3, out _));
        Assert.Equal(Errno.EXDEV.ToStatus(), _v.TryClone(source, 0, target, 0, 3, out _));
        Assert.Equal(Status.OK, _v.TryClone(source, 0, target, 0, 100, out var reply));
        Assert.Equal((4UL, Page), (reply.Copied, reply.Attributes.AllocatedBytes));
        Assert.Equal([1, 2, 3, 4], _v.Layout(target).Inline.ToArray());
        Assert.Equal(Errno.EXDEV.ToStatus(), _v.TryClone(source, 0, target, 0, 4, out _));
        var blocks = _v.File(Root, "b");
        _v.Write(blocks, 0, 100);
        Assert.Equal(Errno.EXDEV.ToStatus(), _v.TryClone(blocks, 0, target, 0, 2, out _));
        Assert.Equal(Status.OK, _v.TryClone(blocks, 0, target, 2, 100, out _));
        Assert.Equal([1, 2], _v.Layout(target).Inline.ToArray());
        _v.Check();
    }

    [Fact]
    public void Seek_finds_data_and_holes()
    {
        var file = _v.File(Root, "f");
        _v.Write(file, 1000, 500);
        _v.Write(file, 1500, 500);
        _v.Write(file, 5000, 500);
        _v.TryResize(file, 8000);
        _v.TryFallocate(file, 0, 6000, 1000);
        Assert.Equal(1000UL, Find(0, 3));
        Assert.Equal(1200UL, Find(1200, 3));
        Assert.Equal(2000UL, Find(1200, 4));
        Assert.Equal(0UL, Find(0, 4));
        Assert.Equal(5000UL, Find(2000, 3));
        Assert.Equal(5500UL, Find(5000, 4));
        Assert.Equal(Errno.ENXIO.ToStatus(), _v.TrySeek(file, 5500, 3, out _));
        Assert.Equal(6500UL, Find(6500, 4));
        Assert.Equal(Errno.ENXIO.ToStatus(), _v.TrySeek(file, 8000, 4, out _));
        Assert.Equal(Errno.ENXIO.ToStatus(), _v.TrySeek(file, 9000, 3, out _));
        Assert.Equal(Errno.EINVAL.ToStatus(), _v.TrySeek(file, 0, 5, out _));
        var inline = _v.File(Root, "i");
        _v.WriteInline(inline, new byte[100]);
        Assert.Equal(Status.OK, _v.TrySeek(inline, 10, 4, out var hole));
        Assert.Equal(100UL, hole);
        _v.TryResize(inline, 200);
        Assert.Equal(Status.OK, _v.TrySeek(inline, 99, 3, out var data));
        Assert.Equal(99UL, data);
        Assert.Equal(Errno.ENXIO.ToStatus(), _v.TrySeek(inline, 100, 3, out _));

        ulong Find(ulong offset, uint whence)
        {
            Assert.Equal(Status.OK, _v.TrySeek(file, offset, whence, out var found));
            return found;
        }
    }

    [Fact]
    public void A_layout_comes_in_pieces_that_say_how_far_they_reach()
    {
        var file = _v.File(Root, "f");
        for (var i = 0UL; i < 100; i++)
        {
            _v.Write(file, i * 10, 5);
        }

        var first = Layouts.Of(_v.State.Inodes.Find(file)!, 0, ulong.MaxValue, 64);
        Assert.Equal((64, 640UL), (first.Extents.Length, first.CoveredEnd));
        var rest = Layouts.Of(_v.State.Inodes.Find(file)!, first.CoveredEnd, 300, 64);
        Assert.Equal((30, 940UL), (rest.Extents.Length, rest.CoveredEnd));
        Assert.Equal(640UL, rest.Extents[0].FileOffset);
    }

    [Fact]
    public void Privileges_of_a_file_go_when_its_bytes_change()
    {
        var file = _v.File(Root, "f");
        var set = new SetXattrRequest(file, TestVolume.Name("security.capability"), new byte[] { 1 }, 0);
        Assert.Equal(Status.OK, SetXattr.Apply(_v.State, _v.Begin(), set, out _));
        _v.Write(file, 0, 1);
        var get = new GetXattrRequest(file, TestVolume.Name("security.capability"));
        Assert.Equal(Errno.ENODATA.ToStatus(), GetXattr.Apply(_v.State, _v.Begin(), get, out _));
    }
}
