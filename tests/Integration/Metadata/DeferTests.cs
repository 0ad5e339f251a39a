using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>Who may make files without asking, and who is let in when.</summary>
public class DeferTests : MetadataFixture
{
    [Fact]
    public async Task Only_a_session_that_is_alone_may_defer()
    {
        var a = await NodeAsync("a");
        Assert.True(MayDefer(await MakeAsync(a, "f")));
        var b = await NodeAsync("b");
        Assert.True(Assert.Single(a.Forgets).Deferred);
        Assert.False(MayDefer(await MakeAsync(a, "g")));
        Assert.False(MayDefer(await MakeAsync(b, "h")));
        await b.ReadAsync<CloseSessionRequest, Empty>(default);
        Assert.True(MayDefer(await MakeAsync(a, "i")));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_session_is_let_in_when_the_other_one_has_sent_what_it_deferred(bool serverRestarts)
    {
        var a = await NodeAsync("a");
        await MakeAsync(a, "f");
        if (serverRestarts)
        {
            // It does not know any more who may defer.
            Restart();
            a = Track(await a.ResumeAsync());
        }

        var gate = new TaskCompletionSource();
        a.BeforeForgotten = gate.Task;
        var opening = NodeAsync("b");
        await UntilAsync(() => a.Forgets.Any(forget => forget.Deferred), "it is asked to send what it has deferred");
        Assert.Equal(Status.OK, (await MakeAsync(a, "g")).Status);
        Assert.False(opening.IsCompleted);
        gate.SetResult();
        var b = await opening.WaitAsync(Patience);
        Assert.Equal(Status.OK, (await b.ReadAsync<LookupRequest, EntryReply>(new(Ino.Root, TestNode.Name("g")))).Status);
    }

    [Fact]
    public async Task A_session_is_let_in_when_the_other_one_has_ended()
    {
        var a = await NodeAsync("a");
        await MakeAsync(a, "f");
        a.BeforeForgotten = new TaskCompletionSource().Task;
        var opening = NodeAsync("b");
        await UntilAsync(() => !a.Forgets.IsEmpty, "it is asked to send what it has deferred");
        await a.ReadAsync<CloseSessionRequest, Empty>(default);
        await opening.WaitAsync(Patience);
    }

    [Fact]
    public async Task Nothing_is_deferred_that_the_quota_may_refuse()
    {
        using var admin = new RpcClient(Host.Endpoint);
        Assert.Equal(Status.OK, (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(2, "small", 0, Limits.DeferredCreates + Limits.SlotsPerSession + 1))).Status);
        var a = Track(await TestNode.OpenAsync(Host.Endpoint, "small"));
        Assert.True(MayDefer(await MakeAsync(a, "f")));
        Assert.False(MayDefer(await MakeAsync(a, "g")));
    }

    [Fact]
    public async Task A_file_is_made_with_its_first_bytes_and_once()
    {
        var a = await NodeAsync("a");
        var ino = await a.NewInoAsync();
        var create = new CreateRequest(Ino.Root, ino, TestNode.Name("f"), 0x81A4, 1, 2, 7, OpenFlags.Write | OpenFlags.Exclusive);
        var request = new CreateAndCommitRequest(create, 5, new CommitRequest(ino, CommitFlags.HasInline, 3, [], new byte[] { 1, 2, 3 }, 1));
        var made = await a.CallAsync<CreateAndCommitRequest, CreateAndCommitReply>(request);
        Assert.Equal((Status.OK, Status.OK), (made.Status, made.Value.CommitStatus));
        Assert.Equal((3UL, 5L), (made.Value.Committed.Attributes.Size, made.Value.Committed.Attributes.BtimeNs));
        Assert.NotEqual(5, made.Value.Committed.Attributes.MtimeNs); // of the bytes

        // A successor does not know that it was sent.
        var again = await a.CallAsync<CreateAndCommitRequest, CreateAndCommitReply>(request);
        Assert.Equal((Status.OK, Errno.EXDEV.ToStatus()), (again.Status, again.Value.CommitStatus));
        Assert.Equal(made.Value.Committed.Attributes, again.Value.Created.File.Attributes);
        Assert.Equal(made.Value.Committed.Attributes, (await a.CallAsync<CreateRequest, CreateReply>(create)).Value.File.Attributes);
        Assert.Equal(1, Metric("ephemeralfs_metadata_inodes"));

        // The name is somebody else's, the handle is, the inodes differ, it may find a file.
        var other = await a.NewInoAsync();
        Assert.Equal(Errno.EEXIST.ToStatus(), await RefusedAsync(create with { NewIno = other, Handle = 8 }, other));
        Assert.Equal(Status.BadRequest, await RefusedAsync(create with { NewIno = other, Name = TestNode.Name("g") }, other));
        Assert.Equal(Status.BadRequest, await RefusedAsync(create with { NewIno = other, Name = TestNode.Name("g"), Handle = 8 }, ino));
        Assert.Equal(Status.BadRequest, await RefusedAsync(create with { NewIno = other, Name = TestNode.Name("g"), Handle = 8, Flags = OpenFlags.Write }, other));
        Assert.Equal(1, Metric("ephemeralfs_metadata_inodes"));

        async Task<Status> RefusedAsync(CreateRequest wrong, ulong committed) =>
            (await a.CallAsync<CreateAndCommitRequest, CreateAndCommitReply>(request with { Create = wrong, Commit = request.Commit with { Ino = committed } })).Status;
    }

    private static bool MayDefer(RpcResult<CreateReply> result)
    {
        Assert.Equal(Status.OK, result.Status);
        return (result.Flags & FrameFlags.MayDefer) != 0;
    }

    private static async Task<RpcResult<CreateReply>> MakeAsync(TestNode node, string name) => await node.CallAsync<CreateRequest, CreateReply>(
        new(Ino.Root, await node.NewInoAsync(), TestNode.Name(name), 0x81A4, 0, 0, node.NewHandle(), OpenFlags.Exclusive));
}
