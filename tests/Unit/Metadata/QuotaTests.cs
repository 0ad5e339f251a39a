using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Metadata;

public class QuotaTests
{
    private const ulong Root = Ino.Root;
    private const ulong Page = Limits.PageSizeBytes;

    [Fact]
    public void Committed_bytes_and_grants_never_exceed_the_limit()
    {
        var v = new TestVolume(limitBytes: 10 * Page);
        Assert.Equal(6 * Page, Acquire(v, 6 * Page));
        Assert.Equal(4 * Page, Acquire(v, 100 * Page));
        Assert.Equal(0UL, Acquire(v, Page));
        v.Check();
        var file = v.File(Root, "f");
        Assert.Equal(Status.OK, v.TryCommit(file, CommitFlags.None, 0, [new Extent(0, 10 * Page, v.NewBlock(), 0, 1)], null, out var reply));
        Assert.Equal((10 * Page, 0UL, 10 * Page), (v.State.UsedBytes, v.State.GrantedBytes, reply.ChargedBytes));
        Assert.Equal(
            Errno.ENOSPC.ToStatus(), v.TryCommit(file, CommitFlags.None, 0, [new Extent(10 * Page, 1, v.NewBlock(), 0, 1)], null, out _));
        Assert.Equal(Page, v.Last.MissingBytes);
        Assert.Equal(10 * Page, v.Attributes(file).Size);
        v.Check();
        v.TryResize(file, 9 * Page);
        Assert.Equal(Page, v.State.FreeBytes);
        Assert.Equal(
            Status.OK, v.TryCommit(file, CommitFlags.None, 0, [new Extent(9 * Page, 1, v.NewBlock(), 0, 1)], null, out reply));
        Assert.Equal(0UL, reply.ChargedBytes);
        v.Check();
    }

    [Fact]
    public void Growth_comes_out_of_the_grant_first()
    {
        var v = new TestVolume(limitBytes: 10 * Page);
        Acquire(v, 4 * Page);
        var file = v.File(Root, "f");
        v.WriteInline(file, new byte[100]);
        Assert.Equal((3 * Page, Page), (v.State.GrantedBytes, v.State.UsedBytes));
        v.WriteInline(file, new byte[200]);
        Assert.Equal((3 * Page, Page), (v.State.GrantedBytes, v.State.UsedBytes));
        Assert.Equal(Status.OK, v.TryFallocate(file, 0, 0, 5 * Page));
        Assert.Equal((3 * Page, 5 * Page), (v.State.GrantedBytes, v.State.UsedBytes));
        Assert.Equal(Errno.ENOSPC.ToStatus(), v.TryFallocate(file, 0, 0, 8 * Page));
        Assert.Equal(Page, v.Last.MissingBytes);
        Assert.Equal(5 * Page, v.Attributes(file).Size);
        v.Check();
        Assert.Equal(Status.BadRequest, ReturnGrant.Apply(v.State, v.Begin(), new ReturnGrantRequest((3 * Page) + 1), out _));
        Assert.Equal(Status.OK, ReturnGrant.Apply(v.State, v.Begin(), new ReturnGrantRequest(3 * Page), out _));
        Assert.Equal(Status.OK, v.TryFallocate(file, 0, 0, 8 * Page));
        v.Check();
    }

    [Fact]
    public void A_session_that_ends_gives_everything_back()
    {
        var v = new TestVolume(limitBytes: 10 * Page);
        var other = v.NewSession();
        Acquire(v, 4 * Page);
        var file = v.File(Root, "f");
        v.OpenFile(file, OpenFlags.Write, out _);
        v.WriteInline(file, new byte[5000]);
        Assert.Equal(Status.OK, v.TryUnlink(Root, "f"));
        SessionLife.End(v.State, v.Begin());
        Assert.Equal((0UL, 0UL, 0UL), (v.State.UsedBytes, v.State.GrantedBytes, v.State.UsedInodes));
        v.Session = other;
        Assert.Equal(10 * Page, Acquire(v, 20 * Page));
        v.Check();
    }

    [Fact]
    public void A_volume_without_a_limit_grants_what_is_asked()
    {
        var v = new TestVolume();
        Assert.Equal(1UL << 40, Acquire(v, 1UL << 40));
        Assert.True(Acquire(v, ulong.MaxValue) < 1UL << 61);
        v.Check();
    }

    [Fact]
    public void Grants_of_numbers_do_not_overlap_and_are_bounded()
    {
        var v = new TestVolume();
        AcquireGrant.Apply(v.State, v.Begin(), new AcquireGrantRequest(0, 10, 10), out var first);
        v.Session = v.NewSession();
        AcquireGrant.Apply(v.State, v.Begin(), new AcquireGrantRequest(0, uint.MaxValue, uint.MaxValue), out var second);
        Assert.Equal(first.FirstInode + 10, second.FirstInode);
        Assert.Equal(first.FirstBlock + 10, second.FirstBlock);
        Assert.InRange(second.Inodes, 1U, 1U << 16);
        Assert.InRange(second.Blocks, 1U, 1U << 16);
    }

    private static ulong Acquire(TestVolume v, ulong bytes)
    {
        Assert.Equal(Status.OK, AcquireGrant.Apply(v.State, v.Begin(), new AcquireGrantRequest(bytes, 0, 0), out var reply));
        return reply.Bytes;
    }
}
