using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>Two nodes at one file: who must write back or forget before whom is answered.</summary>
public class RecallTests : MetadataFixture
{
    private TestNode _a = null!;
    private TestNode _b = null!;

    public override async Task InitializeAsync()
    {
        await base.InitializeAsync();
        _a = await NodeAsync("a");
        _b = await NodeAsync("b");
    }

    [Fact]
    public async Task An_open_waits_until_the_writer_has_written_back()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        _a.BeforeAcknowledge = async recall =>
        {
            // The flush is let through while the recall is pending.
            Assert.Equal(Status.OK, (await _a.WriteInlineAsync(recall.Ino, "dirty", slot: 7)).Status);
        };
        var opened = (await _b.OpenFileAsync(file, OpenFlags.None).WaitAsync(Patience)).Value;
        Assert.Equal(DataMode.Through, opened.Mode);
        Assert.Equal("dirty"u8.ToArray(), opened.Layout.Inline.ToArray());
        Assert.Equal([new RecallRequest(file, RecallAction.GoThrough)], _a.Recalls);
        Assert.Empty(_b.Recalls);

        // It stays through for everybody, without another recall, until the last close.
        Assert.Equal(DataMode.Through, (await _a.OpenFileAsync(file, OpenFlags.Write)).Value.Mode);
        Assert.Single(_a.Recalls);
    }

    /// <summary>Its node does not know the file as open yet, so that the recalls have changed nothing there. Found by the model of leases.</summary>
    [Fact]
    public async Task An_open_whose_answer_waits_is_told_what_others_have_done_meanwhile()
    {
        var c = await NodeAsync("c");
        Assert.Equal(Errno.ENOENT.ToStatus(), await c.LookupAsync("f"));
        var gate = new TaskCompletionSource();
        c.BeforeForgotten = gate.Task;
        var creating = _a.CreateAsync("f");
        await c.RecallCame.WaitAsync().WaitAsync(Patience);

        var file = (await _b.CreateAsync("f").WaitAsync(Patience)).Value;
        Assert.Equal((DataMode.Through, false), (file.Mode, file.Created));
        Assert.Equal(Status.OK, (await _b.WriteInlineAsync(file.Attributes.Ino, "new").WaitAsync(Patience)).Status);
        Assert.Equal([RecallAction.GoThrough, RecallAction.Invalidate], _a.Recalls.Select(recall => recall.Action));
        Assert.False(creating.IsCompleted);
        gate.SetResult();
        var opened = (await creating.WaitAsync(Patience)).Value;
        Assert.Equal((DataMode.Through, true), (opened.Mode, opened.Created));
        Assert.Equal("new"u8.ToArray(), opened.Layout.Inline.ToArray());
    }

    [Fact]
    public async Task Readers_are_not_disturbed()
    {
        var file = (await _a.CreateAsync("f", OpenFlags.None)).Value.Attributes.Ino;
        Assert.Equal(DataMode.Cached, (await _b.OpenFileAsync(file, OpenFlags.None)).Value.Mode);
        Assert.Empty(_a.Recalls);
        Assert.Equal(DataMode.Through, (await _b.OpenFileAsync(file, OpenFlags.Write).WaitAsync(Patience)).Value.Mode);
        Assert.Equal([new RecallRequest(file, RecallAction.GoThrough)], _a.Recalls);
    }

    [Fact]
    public async Task A_change_is_answered_when_the_others_have_forgotten()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        await _b.OpenFileAsync(file, OpenFlags.None).WaitAsync(Patience);
        var gate = new TaskCompletionSource();
        _b.BeforeAcknowledge = _ => gate.Task;
        var write = _a.WriteInlineAsync(file, "new");
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);

        // B is asked, A is not answered yet, and what B reads now is new.
        Assert.Equal([new RecallRequest(file, RecallAction.Invalidate)], _b.Recalls);
        Assert.Equal(3UL, (await _b.ReadAsync<GetAttrRequest, EntryReply>(new(file))).Value.Attributes.Size);
        Assert.False(write.IsCompleted);
        gate.SetResult();
        Assert.Equal(Status.OK, (await write.WaitAsync(Patience)).Status);

        foreach (var change in new Func<Task<Status>>[]
        {
            async () => (await _a.CallAsync<SetAttrRequest, EntryReply>(new(file, SetAttrFields.Size, 0, 0, 0, 1, 0, 0))).Status,
            async () => (await _a.CallAsync<FallocateRequest, EntryReply>(new(file, 0, 0, 10, false))).Status,
            async () => (await _a.OpenFileAsync(file, OpenFlags.Write | OpenFlags.Truncate)).Status,
            async () => (await _a.WriteBlockAsync(file, 0, 100)).Status,
        })
        {
            var before = _b.Recalls.Count;
            Assert.Equal(Status.OK, await change().WaitAsync(Patience));
            Assert.Equal(before + 1, _b.Recalls.Count);
            Assert.Equal(RecallAction.Invalidate, _b.Recalls.Last().Action);
        }

        Assert.DoesNotContain(_a.Recalls, r => r.Action == RecallAction.Invalidate);
        Assert.Equal(0, Metric("ephemeralfs_metadata_recalls_pending"));
    }

    [Fact]
    public async Task A_change_after_a_recall_was_sent_is_recalled_again()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        await _b.OpenFileAsync(file, OpenFlags.None).WaitAsync(Patience);
        var gates = new[] { new TaskCompletionSource(), new TaskCompletionSource() };
        _b.BeforeAcknowledge = _ => gates[_b.Recalls.Count - 1].Task;
        var first = _a.WriteInlineAsync(file, "1", slot: 1);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        var second = _a.WriteInlineAsync(file, "22", slot: 2);
        while ((await _b.ReadAsync<GetAttrRequest, EntryReply>(new(file))).Value.Attributes.Size != 2)
        {
            Assert.False(second.IsCompleted);
        }

        gates[0].SetResult();
        await first.WaitAsync(Patience);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        Assert.False(second.IsCompleted);
        gates[1].SetResult();
        Assert.Equal(Status.OK, (await second.WaitAsync(Patience)).Status);
        Assert.Equal(2, _b.Recalls.Count);
    }

    [Fact]
    public async Task Truncating_cloning_and_unlinking_wait_for_dirty_data()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        _a.BeforeAcknowledge = async recall =>
        {
            if (recall.Action == RecallAction.GoThrough)
            {
                await _a.WriteInlineAsync(recall.Ino, "0123456789", slot: 7);
            }
        };
        var cut = await _b.CallAsync<SetAttrRequest, EntryReply>(new(file, SetAttrFields.Size, 0, 0, 0, 4, 0, 0)).WaitAsync(Patience);
        Assert.Equal(4UL, cut.Value.Attributes.Size);
        Assert.Equal([RecallAction.GoThrough, RecallAction.Invalidate], _a.Recalls.Select(r => r.Action));

        var source = (await _a.CreateAsync("source")).Value.Attributes.Ino;
        var target = (await _b.CreateAsync("target")).Value.Attributes.Ino;
        var clone = await _b.CallAsync<CloneRequest, CloneReply>(new(source, 0, target, 0, 100)).WaitAsync(Patience);
        Assert.Equal((Status.OK, 10UL), (clone.Status, clone.Value.Copied));

        var doomed = (await _a.CreateAsync("doomed")).Value.Attributes.Ino;
        var unlinked = await _b.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("doomed"))).WaitAsync(Patience);
        Assert.Equal((doomed, 10UL, 0U), (unlinked.Value.Attributes.Ino, unlinked.Value.Attributes.Size, unlinked.Value.Attributes.Nlink));
    }

    [Fact]
    public async Task A_resent_request_takes_the_place_of_the_one_that_waits()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        var gate = new TaskCompletionSource();
        _a.BeforeAcknowledge = _ => gate.Task;
        var request = new OpenRequest(file, _b.NewHandle(), OpenFlags.Write);
        var sequence = _b.NextSequence(3);
        var lost = _b.SendAsync<OpenRequest, OpenReply>(request, 3, sequence);
        await _a.RecallCame.WaitAsync().WaitAsync(Patience);
        _b.Reconnect();
        await lost.WaitAsync(Patience);
        var again = _b.SendAsync<OpenRequest, OpenReply>(request, 3, sequence);

        // Requests of a connection are handled in order: when this one is answered, the other one has been taken up.
        await _b.ReadAsync<StatFsRequest, StatFsReply>(default);
        Assert.False(again.IsCompleted);
        gate.SetResult();
        var reply = await again.WaitAsync(Patience);
        Assert.Equal((Status.OK, DataMode.Through), (reply.Status, reply.Value.Mode));
        Assert.Single(_a.Recalls);
    }

    [Fact]
    public async Task A_recall_that_was_lost_with_its_connection_is_sent_again()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        var never = new TaskCompletionSource();
        _a.BeforeAcknowledge = _ => never.Task;
        var open = _b.OpenFileAsync(file, OpenFlags.None);
        await _a.RecallCame.WaitAsync().WaitAsync(Patience);
        _a.Dispose();
        using var back = await _a.ResumeAsync();
        Assert.Equal(DataMode.Through, (await open.WaitAsync(Patience)).Value.Mode);
        Assert.Equal([new RecallRequest(file, RecallAction.GoThrough)], back.Recalls);
        never.SetResult();
    }

    [Fact]
    public async Task Who_opens_a_file_again_while_it_is_called_back_writes_it_through_from_the_start()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        var obeyed = new TaskCompletionSource();
        _a.BeforeAcknowledge = _ => obeyed.Task;
        var open = _b.OpenFileAsync(file, OpenFlags.None);
        await _a.RecallCame.WaitAsync().WaitAsync(Patience);
        Assert.Equal(DataMode.Through, (await _a.OpenFileAsync(file, OpenFlags.Write, slot: 5).WaitAsync(Patience)).Value.Mode);
        obeyed.SetResult();
        Assert.Equal(DataMode.Through, (await open.WaitAsync(Patience)).Value.Mode);
    }

    [Fact]
    public async Task Closing_the_session_counts_as_an_acknowledgement()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        var never = new TaskCompletionSource();
        _a.BeforeAcknowledge = _ => never.Task;
        var open = _b.OpenFileAsync(file, OpenFlags.None);
        await _a.RecallCame.WaitAsync().WaitAsync(Patience);
        await _a.ReadAsync<CloseSessionRequest, Empty>(default);
        Assert.Equal(DataMode.Cached, (await open.WaitAsync(Patience)).Value.Mode);
        never.SetResult();
    }

    [Fact]
    public async Task An_answer_that_a_restart_overtook_waits_for_the_others_too()
    {
        var file = (await _a.CreateAsync("f")).Value.Attributes.Ino;
        await _b.OpenFileAsync(file, OpenFlags.None).WaitAsync(Patience);
        var never = new TaskCompletionSource();
        _b.BeforeAcknowledge = _ => never.Task;
        var request = new CommitRequest(file, CommitFlags.HasInline, 3, [], TestNode.Name("new"), 1);
        var sequence = _a.NextSequence(2);
        var write = _a.SendAsync<CommitRequest, CommitReply>(request, 2, sequence);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);

        Restart();
        _b.BeforeAcknowledge = null;
        Assert.Equal(Status.OK, await _b.TryResumeAsync());

        // The client has sent it again; it is answered once B has forgotten.
        var reply = await write.WaitAsync(Patience);
        Assert.Equal((Status.OK, 3UL), (reply.Status, reply.Value.Attributes.Size));
        Assert.Equal(2, _b.Recalls.Count(r => r.Action == RecallAction.Invalidate));
        never.SetResult();
    }

    [Fact]
    public async Task A_rename_that_moves_a_directory_is_answered_when_the_others_have_forgotten_its_name()
    {
        var (x, y) = (await DirectoryAsync(Ino.Root, "x"), await DirectoryAsync(Ino.Root, "y"));
        await DirectoryAsync(x, "m");
        var gate = new TaskCompletionSource();
        _b.BeforeForgotten = gate.Task;
        var rename = RenameAsync(x, "m", y, "m");
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        Assert.Equal([(x, "m")], _b.Forgotten);
        Assert.False(rename.IsCompleted);
        gate.SetResult();
        Assert.Equal(Status.OK, await rename.WaitAsync(Patience));

        // An exchange moves two; a rename in one directory, or of a file, none.
        await DirectoryAsync(x, "o");
        Assert.Equal(Status.OK, await RenameAsync(x, "o", y, "m", flags: 2).WaitAsync(Patience));
        Assert.Equal([(x, "m"), (x, "o"), (y, "m")], _b.Forgotten);
        await _a.CreateAsync("f");
        Assert.Equal(Status.OK, await RenameAsync(Ino.Root, "f", x, "f").WaitAsync(Patience));
        Assert.Equal(Status.OK, await RenameAsync(x, "o", x, "p").WaitAsync(Patience));
        Assert.Equal(3, _b.Forgotten.Count);
        Assert.Empty(_a.Forgotten);

        // A node that says nothing holds nobody up for ever.
        _b.BeforeForgotten = new TaskCompletionSource().Task;
        Assert.Equal(Status.OK, await RenameAsync(x, "p", y, "p").WaitAsync(Patience));
    }

    private async Task<ulong> DirectoryAsync(ulong parent, string name)
    {
        var ino = await _a.NewInoAsync();
        Assert.Equal(Status.OK, (await _a.CallAsync<MknodRequest, NameReply>(new(parent, ino, TestNode.Name(name), 0x41ED, 0, 0, 0, default))).Status);
        return ino;
    }

    private async Task<Status> RenameAsync(ulong parent, string name, ulong newParent, string newName, uint flags = 0) =>
        (await _a.CallAsync<RenameRequest, RenameReply>(new(parent, TestNode.Name(name), newParent, TestNode.Name(newName), flags))).Status;
}
