using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Client;

/// <summary>While no other node has the volume, the server hears of a new file together with its first bytes.</summary>
public sealed class DeferredCreateTests : IDisposable
{
    private readonly MiniCluster _cluster = new();
    private readonly TestNode _a;

    public DeferredCreateTests() => _a = _cluster.NewNode("a");

    public void Dispose()
    {
        _a.Dispose();
        _cluster.Dispose();
    }

    [Theory]
    [InlineData(1_000)]
    [InlineData(100_000)]
    public async Task One_request_makes_and_commits_a_file(int bytes)
    {
        await LetDeferAsync();
        var before = Requests();
        var handle = await MakeAsync("f");
        Assert.Equal(1, _a.Volume.Creates.Count);
        await _a.Write(handle, 0, Bytes(bytes));
        await _a.Close(handle);
        Assert.Equal(0, _a.Volume.Creates.Count);
        await _a.Volume.Namespace.StatFsAsync();
        var after = Requests();
        Assert.Equal(before["CreateAndCommit"] + 1, after["CreateAndCommit"]);
        Assert.Equal((before["Create"], before["Commit"]), (after["Create"], after["Commit"]));

        using var b = await _cluster.JoinAsync("b");
        Assert.Equal(Bytes(bytes), await b.Read(await b.Open("f"), 0, bytes + 1));
    }

    [Fact]
    public async Task A_file_without_bytes_is_made_when_it_is_closed()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f");
        Assert.Equal(1, _a.Volume.Creates.Count);
        await _a.Flush(handle);
        Assert.Equal(0, _a.Volume.Creates.Count);
        await _a.Close(handle);
        using var b = await _cluster.JoinAsync("b");
        Assert.Empty(await b.Read(await b.Open("f"), 0, 10));
    }

    [Fact]
    public async Task A_file_that_was_opened_to_be_read_is_made_when_it_is_closed()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f", HandleFlags.None);
        Assert.Equal(1, _a.Volume.Creates.Count);
        await _a.Flush(handle);
        Assert.Equal(0, _a.Volume.Creates.Count);
    }

    /// <summary>The kernel asks for the directory before each file that it makes.</summary>
    [Fact]
    public async Task Many_files_of_one_directory_may_wait()
    {
        await LetDeferAsync();
        await _a.Volume.Namespace.ReadDirAsync(Ino.Root, 0, 4096, false); // so that it knows what is not there
        for (var i = 0; i < Limits.DeferredCreates; i++)
        {
            await MakeAsync($"f{i}");
            Assert.Equal(i + 1, _a.Volume.Creates.Count);
        }

        var told = (await _a.Volume.Namespace.GetAttrAsync(Ino.Root)).Attributes;
        await MakeAsync("one too many");
        Assert.Equal(0, _a.Volume.Creates.Count);
        await _a.Do(o => _a.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("one too many")));
        _a.Volume.Attributes.ForgetEverything();
        Assert.InRange((await _a.Volume.Namespace.GetAttrAsync(Ino.Root)).Attributes.CtimeNs, told.CtimeNs, long.MaxValue);
    }

    /// <summary>Until it can be found here, others must not hear of the file: what they do to it would be missed.</summary>
    [Fact]
    public async Task The_server_is_not_told_before_the_handle_can_be_found()
    {
        await LetDeferAsync();
        var request = await AskToMakeAsync("f");
        Assert.True(_a.Volume.Creates.TryDefer(request, _a.Volume.Session.Life, out _, out _));
        var sending = _a.Volume.Creates.SendAllAsync().AsTask();
        Assert.False(sending.IsCompleted);
        _a.Volume.Creates.Publish(request.NewIno);
        Assert.Equal(Status.OK, await sending);
        Assert.Equal(0, _a.Volume.Creates.Count);
    }

    [Fact]
    public async Task Who_waits_for_a_server_that_is_away_waits_once()
    {
        await LetDeferAsync();
        await MakeAsync("f");
        _cluster.Metadata.Dispose();
        var sending = Enumerable.Range(0, 4).Select(_ => _a.Volume.Creates.SendAllAsync().AsTask()).ToArray();
        Assert.All(await Task.WhenAll(sending), status => Assert.Equal(Status.Unavailable, status)); // 10 s, and not four times that
        Assert.Equal(1, _a.Volume.Creates.Count);
        _cluster.StartMetadata();
        Assert.Equal(Errno.OK, await _a.Volume.SyncAsync());
        Assert.Equal(0, _a.Volume.Creates.Count);
    }

    /// <summary>Whoever came first gives up when its time is over; that is not the time of whoever came later.</summary>
    [Fact]
    public async Task Who_comes_later_waits_for_its_own_time()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f");
        await _a.Write(handle, 0, Bytes(100));
        _cluster.Metadata.Dispose();
        var first = _a.Volume.Creates.SendAllAsync().AsTask();
        await Task.Delay(_a.Volume.Session.DeadlineMs * 2 / 3);
        var asked = _a.Volume.Namespace.StatFsAsync().AsTask();
        var flushed = _a.Flush(handle);
        Assert.Equal(Status.Unavailable, await first);
        _cluster.StartMetadata();
        await flushed; // OK, or it throws
        Assert.Equal(Status.OK, (await asked).Status);
        Assert.Equal(0UL, _a.Volume.Lost.FileCount);
    }

    [Fact]
    public async Task Who_waits_for_a_file_of_a_session_that_ends_is_answered()
    {
        await LetDeferAsync();
        var request = await AskToMakeAsync("f");
        Assert.True(_a.Volume.Creates.TryDefer(request, _a.Volume.Session.Life, out _, out _));
        var sending = _a.Volume.Creates.SendAllAsync().AsTask();
        Assert.False(sending.IsCompleted);
        var lost = new TaskCompletionSource<IReadOnlyList<LostFile>>();
        _a.Volume.Fenced += (_, files) => lost.TrySetResult(files);
        await _cluster.EndSessionAsync(_a.Volume.Session.Header!.Value);
        Assert.Equal(Status.UnknownSession, (await _a.Volume.Session.QueryAsync<RenewSessionRequest, Empty>(default)).Status);
        Assert.Equal(Status.StaleEpoch, await sending);
        Assert.Equal(request.NewIno, Assert.Single(await lost.Task).Ino);
        _a.Volume.Creates.Publish(request.NewIno);
    }

    [Fact]
    public async Task Nothing_is_made_in_a_directory_that_another_node_has_removed()
    {
        await LetDeferAsync();
        var request = await AskToMakeAsync("f");
        var root = (await _a.Volume.Namespace.GetAttrAsync(Ino.Root)).Attributes;
        Assert.True(_a.Volume.Attributes.Learn(_a.Volume.Attributes.Ask(), root with { Nlink = 0 }, FrameFlags.AttributesLeased));
        Assert.False(_a.Volume.Creates.TryDefer(request, _a.Volume.Session.Life, out _, out _));
        Assert.True(_a.Volume.Attributes.Learn(_a.Volume.Attributes.Ask(), root, FrameFlags.AttributesLeased));
        Assert.True(_a.Volume.Creates.TryDefer(request, _a.Volume.Session.Life, out _, out _));
        _a.Volume.Creates.Publish(request.NewIno);
    }

    /// <summary>The answer may be about to tell times of before.</summary>
    [Fact]
    public async Task What_was_asked_of_a_directory_before_a_file_was_made_there_the_kernel_does_not_keep()
    {
        await LetDeferAsync();
        var root = (await _a.Volume.Namespace.GetAttrAsync(Ino.Root)).Attributes;
        var asked = _a.Volume.Attributes.Ask();
        await MakeAsync("f");
        var told = await _a.Files.SeeAsync(asked, new(Status.OK, new EntryReply(root), Flags: FrameFlags.AttributesLeased));
        Assert.Equal(FrameFlags.None, told.Lease.Granted & FrameFlags.AttributesLeased);
    }

    [Fact]
    public async Task Whoever_is_interrupted_waits_for_no_file()
    {
        await LetDeferAsync();
        var request = await AskToMakeAsync("f");
        Assert.True(_a.Volume.Creates.TryDefer(request, _a.Volume.Session.Life, out _, out _));
        await _a.Volume.Session.QueryAsync<CancelLockRequest, Empty>(new(1, 1));
        Assert.Equal(1, _a.Volume.Creates.Count);
        _a.Volume.Creates.Publish(request.NewIno);
    }

    [Fact]
    public async Task A_file_that_stays_open_is_made_all_the_same()
    {
        await LetDeferAsync();
        _a.Volume.Creates.AgeMax = TimeSpan.FromMilliseconds(1);
        await MakeAsync("f");
        while (_a.Volume.Creates.Count > 0)
        {
            await Task.Delay(10);
        }
    }

    [Fact]
    public async Task What_else_is_asked_finds_the_file()
    {
        await LetDeferAsync();
        await MakeAsync("f");
        var names = (await _a.Volume.Namespace.ReadDirAsync(Ino.Root, 0, 4096, false)).Reply.Entries.Select(entry => System.Text.Encoding.UTF8.GetString(entry.Name.Span));
        Assert.Contains("f", names);
        Assert.Equal(0, _a.Volume.Creates.Count);

        var handle = await MakeAsync("g");
        Assert.Equal(1, _a.Volume.Creates.Count);
        Assert.Equal(Status.OK, await _a.Do(o => _a.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("g"))));
        Assert.Equal(0, _a.Volume.Creates.Count);
        await _a.Close(handle);
    }

    [Fact]
    public async Task Another_node_is_let_in_when_the_server_knows_all_and_nothing_is_deferred_then()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f");
        await _a.Write(handle, 0, Bytes(100));
        using (var b = await _cluster.JoinAsync("b"))
        {
            Assert.Equal(0, _a.Volume.Creates.Count);
            Assert.Equal(Status.OK, (await b.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes("f"))).Status);
            await _a.Close(handle);
            Assert.Equal(Bytes(100), await b.Read(await b.Open("f"), 0, 200));
            await MakeAsync("g");
            Assert.Equal(0, _a.Volume.Creates.Count);
            Assert.Equal(Errno.OK, await b.Volume.CloseAsync());
        }

        await LetDeferAsync();
        await MakeAsync("h");
        Assert.Equal(1, _a.Volume.Creates.Count);
    }

    [Fact]
    public async Task A_successor_makes_what_its_predecessor_had_deferred()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f");
        await _a.Write(handle, 0, Bytes(100));
        _a.Restart();
        Assert.Equal(Bytes(100), await _a.Read(handle, 0, 200));
        await _a.Close(handle);
        using var b = await _cluster.JoinAsync("b");
        Assert.Equal(Bytes(100), await b.Read(await b.Open("f"), 0, 200));
    }

    /// <summary>The predecessor had sent it, and died before it heard the answer.</summary>
    [Fact]
    public async Task What_a_successor_sends_again_is_found()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f");
        var ino = _a.Files.Table.TryGet(handle, out var record) ? record.Ino : 0;
        Assert.True(_a.TryGetCreateRecord(ino, out var create));
        await _a.Write(handle, 0, Bytes(100));
        await _a.Flush(handle);
        _a.PutCreateRecord(create);
        var before = Requests();
        _a.Restart();
        Assert.Equal(Bytes(100), await _a.Read(handle, 0, 200));
        await _a.Volume.Namespace.StatFsAsync();
        Assert.Equal(before["CreateAndCommit"] + 1, Requests()["CreateAndCommit"]);
        Assert.Equal(0UL, _a.Volume.Lost.FileCount);
        await _a.Write(handle, 0, Bytes(150));
        await _a.Close(handle);
        using var b = await _cluster.JoinAsync("b");
        Assert.Equal(Bytes(150), await b.Read(await b.Open("f"), 0, 200));
    }

    /// <summary>The daemon died before the kernel had its answer, so the kernel asks the successor.</summary>
    [Fact]
    public async Task A_create_that_the_kernel_sends_again_is_the_same_file()
    {
        await LetDeferAsync();
        const ulong unique = 1000;
        var first = _a.Volume.Session.Begin(unique);
        var (status, _, reply, _) = await CreateAsync(first, "f");
        Assert.Equal(Status.OK, status);
        Assert.Equal(1, _a.Volume.Creates.Count);
        _a.Restart();
        var second = _a.Volume.Session.Begin(unique, resent: true);
        var (again, handle, replyAgain, _) = await CreateAsync(second, "f");
        second.Complete();
        Assert.Equal((Status.OK, reply.Attributes), (again, replyAgain.Attributes));
        Assert.Equal(2, _a.Files.Table.HandleCount);
        await _a.Write(handle, 0, Bytes(10));
        await _a.Close(handle);
    }

    /// <summary>Its successor, or the daemon itself before it died, had told the server, and let another node in.</summary>
    [Fact]
    public async Task A_create_that_the_kernel_sends_again_is_the_same_file_when_it_has_lost_its_name()
    {
        await LetDeferAsync();
        var first = _a.Volume.Session.Begin(1000);
        var (status, _, reply, _) = await CreateAsync(first, "f");
        Assert.Equal(Status.OK, status);
        using var b = await _cluster.JoinAsync("b");
        Assert.Equal(Status.OK, await b.Do(o => b.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("f"))));
        _a.Restart();
        var second = _a.Volume.Session.Begin(1000, resent: true);
        var (again, handle, replyAgain, _) = await _a.Volume.Opener.CreateAsync(second, Ino.Root, TestNode.Bytes("f"), 0x81A4, 0, 0, HandleFlags.Write, OpenFlags.Write);
        second.Complete();
        Assert.Equal((Status.OK, reply.Attributes.Ino, 0U), (again, replyAgain.Attributes.Ino, replyAgain.Attributes.Nlink));
        Assert.Equal(Errno.ENOENT.ToStatus(), (await _a.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes("f"))).Status);
        await _a.Close(handle);
    }

    [Fact]
    public async Task The_end_of_the_session_loses_it_and_says_so()
    {
        await LetDeferAsync();
        var handle = await MakeAsync("f");
        var ino = _a.Files.Table.TryGet(handle, out var record) ? record.Ino : 0;
        var lost = await _a.LoseSessionAsync();
        Assert.Equal((ino, 0UL, LostReason.SessionEnded), (Assert.Single(lost).Ino, lost[0].Bytes, lost[0].Reason));
        Assert.Equal(Errno.EIO, await _a.Files.FlushAsync(handle));
        Assert.Equal(Errno.ENOENT.ToStatus(), (await _a.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes("f"))).Status);
    }

    private static byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        new Random(count).NextBytes(bytes);
        return bytes;
    }

    private Dictionary<string, long> Requests()
    {
        var counted = _cluster.Metadata.Metrics().Where(m => m.Name == "ephemeralfs_metadata_requests_total").ToDictionary(m => m.Labels, m => (long)m.Value);
        return new[] { "Create", "Commit", "CreateAndCommit" }.ToDictionary(name => name, name => counted.GetValueOrDefault($"op=\"{name}\""));
    }

    /// <summary>The answer to a create lets the node defer the next ones.</summary>
    private async Task LetDeferAsync()
    {
        _a.Volume.Creates.AgeMax = Timeout.InfiniteTimeSpan;
        await _a.Create($"first{Guid.NewGuid():N}"); // and stays open: that one is closed the server would be told at any time
        await _a.Volume.Namespace.GetAttrAsync(Ino.Root);
    }

    /// <summary>What would be asked of the server.</summary>
    private async Task<CreateRequest> AskToMakeAsync(string name)
    {
        await _a.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes(name));
        await _a.Volume.Namespace.GetAttrAsync(Ino.Root);
        var (status, ino) = await _a.Volume.Grants.TakeInodeAsync();
        Assert.Equal(Status.OK, status);
        return new CreateRequest(Ino.Root, ino, TestNode.Bytes(name), 0x81A4, 0, 0, 4000, OpenFlags.Write);
    }

    /// <summary>As a kernel does it: after it has looked whether the name is there.</summary>
    private async Task<ulong> MakeAsync(string name, HandleFlags flags = HandleFlags.Write)
    {
        Assert.Equal(Errno.ENOENT.ToStatus(), (await _a.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes(name))).Status);
        await _a.Volume.Namespace.GetAttrAsync(Ino.Root);
        return await _a.Create(name, flags);
    }

    private async Task<(Status Status, ulong Handle, OpenReply Reply, EphemeralFs.Client.Leases.LeaseOffer Lease)> CreateAsync(
        EphemeralFs.Client.Session.Operation operation, string name)
    {
        await _a.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes(name));
        await _a.Volume.Namespace.GetAttrAsync(Ino.Root);
        return await _a.Volume.Opener.CreateAsync(operation, Ino.Root, TestNode.Bytes(name), 0x81A4, 0, 0, HandleFlags.Write, OpenFlags.Write);
    }
}
