using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

public class SessionTests : MetadataFixture
{
    [Fact]
    public async Task What_a_dead_daemon_sent_is_refused_when_its_successor_has_asked_before_it_arrived()
    {
        using var node = await TestNode.OpenAsync(Host.Endpoint);
        OpenSessionRequest Asking(ulong connection) => new("tmp", "node", node.Session.Session, node.Session.Epoch, connection);
        var header = new CallHeader(node.Session.Session, node.Session.Epoch);
        using var dead = new RpcClient(Host.Endpoint);
        using var late = new RpcClient(Host.Endpoint);
        Assert.Equal(Status.OK, (await dead.CallAsync<OpenSessionRequest, OpenSessionReply>(Asking(2))).Status);
        using (var successor = new RpcClient(Host.Endpoint))
        {
            Assert.Equal(Status.OK, (await successor.CallAsync<OpenSessionRequest, OpenSessionReply>(Asking(3))).Status);
            Assert.Equal(Status.Unavailable, (await late.CallAsync<OpenSessionRequest, OpenSessionReply>(Asking(1))).Status);
            Assert.Equal(Status.Unavailable, (await dead.CallAsync<RenewSessionRequest, Empty>(default, header)).Status);
            Assert.Equal(Status.OK, (await successor.CallAsync<RenewSessionRequest, Empty>(default, header)).Status);
        }

        // Nor when the successor is gone.
        Assert.Equal(Status.Unavailable, (await dead.CallAsync<RenewSessionRequest, Empty>(default, header)).Status);
        Assert.Equal(Status.OK, (await dead.CallAsync<OpenSessionRequest, OpenSessionReply>(Asking(4))).Status);
    }

    [Fact]
    public async Task A_session_opens_renews_resumes_and_closes()
    {
        var node = await NodeAsync();
        Assert.Equal((1U, 1U, Ino.Root), (node.Session.Epoch, node.Session.Volume, node.Session.Root.Ino));
        Assert.Equal(Status.OK, (await node.ReadAsync<RenewSessionRequest, Empty>(default)).Status);
        Assert.Equal(Status.OK, await node.TryResumeAsync());
        Assert.Equal(Status.StaleEpoch, (await node.SendAsync<StatFsRequest, StatFsReply>(default, 0, 0, epoch: 0)).Status);
        Assert.Equal(Status.BadRequest, (await node.SendAsync<StatFsRequest, StatFsReply>(default, 0, 0, epoch: 2)).Status);
        Assert.Equal(Status.OK, (await node.ReadAsync<CloseSessionRequest, Empty>(default)).Status);
        Assert.Equal(Status.OK, (await node.ReadAsync<CloseSessionRequest, Empty>(default)).Status);
        Assert.Equal(Status.UnknownSession, (await node.ReadAsync<StatFsRequest, StatFsReply>(default)).Status);
        Assert.Equal(Status.UnknownSession, (await node.ReadAsync<RenewSessionRequest, Empty>(default)).Status);
        Assert.Equal(Status.UnknownSession, await node.TryResumeAsync());
    }

    /// <summary>Else one would be left behind for which others wait until it has expired.</summary>
    [Fact]
    public async Task Who_did_not_hear_that_a_session_was_opened_gets_it_when_it_asks_again()
    {
        var client = (await NodeAsync()).Client; // which obeys
        var first = await OpenAsync(client, connection: 1, opening: 77);
        Restart();
        var again = await OpenAsync(client, connection: 2, opening: 77);
        Assert.Equal((Status.OK, Status.OK), (first.Status, again.Status));
        Assert.Equal(first.Value.Session, again.Value.Session);
        Assert.Equal(Status.Unavailable, (await OpenAsync(client, connection: 1, opening: 77)).Status); // of before, and late
        var other = await OpenAsync(client, connection: 1, opening: 78);
        Assert.Equal(Status.OK, other.Status);
        Assert.NotEqual(first.Value.Session, other.Value.Session);

        static async Task<RpcResult<OpenSessionReply>> OpenAsync(RpcClient client, ulong connection, ulong opening) =>
            await client.CallAsync<OpenSessionRequest, OpenSessionReply>(new("tmp", "node", 0, 0, connection, opening));
    }

    /// <summary>What a dead daemon had sent may still lie in the server's socket when its successor has resumed the session.</summary>
    [Fact]
    public async Task A_session_that_was_resumed_is_asked_by_its_newest_connection_only()
    {
        var dead = await NodeAsync();
        Assert.Equal(0UL, dead.Session.GrantBytes);
        var grant = (await dead.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(1 << 20, 16, 0))).Value;
        var create = new CreateRequest(Ino.Root, grant.FirstInode, TestNode.Name("f"), 0x81A4, 0, 0, 1, OpenFlags.Exclusive | OpenFlags.Write);
        Assert.Equal(Status.OK, (await dead.CallAsync<CreateRequest, CreateReply>(create)).Status);
        var commit = new CommitRequest(grant.FirstInode, CommitFlags.HasInline, 3, [], new byte[] { 1, 2, 3 }, 1);
        var charged = (await dead.CallAsync<CommitRequest, CommitReply>(commit)).Value.ChargedBytes;
        Assert.True(charged > 0);

        using var client = new RpcClient(Host.Endpoint);
        var resumed = await client.CallAsync<OpenSessionRequest, OpenSessionReply>(new("tmp", "node", dead.Session.Session, dead.Session.Epoch));
        Assert.Equal(grant.Bytes - charged, resumed.Value.GrantBytes);
        Assert.Equal(Status.Unavailable, (await dead.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("f")))).Status);
        Assert.Equal(Status.Unavailable, (await dead.ReadAsync<RenewSessionRequest, Empty>(default)).Status);
        var header = new CallHeader(dead.Session.Session, dead.Session.Epoch);
        Assert.Equal(Status.OK, (await client.CallAsync<LookupRequest, EntryReply>(new(Ino.Root, TestNode.Name("f")), header)).Status);
    }

    [Fact]
    public async Task Only_known_volumes_have_sessions()
    {
        using var client = new RpcClient(Host.Endpoint);
        Assert.Equal(Status.NoSuchVolume, (await client.CallAsync<OpenSessionRequest, OpenSessionReply>(new("none", "n", 0, 0))).Status);
        Assert.Equal(Status.UnknownSession, (await client.CallAsync<StatFsRequest, StatFsReply>(default, new CallHeader(77, 1))).Status);
        Assert.Equal(Status.UnknownOpcode, (await client.CallAsync<StorageStatusRequest, StorageStatusReply>(default)).Status);
    }

    [Fact]
    public async Task A_repeated_request_is_answered_again_and_not_executed_again()
    {
        var node = await NodeAsync();
        var request = new CreateRequest(Ino.Root, await node.NewInoAsync(), TestNode.Name("f"), 0x81A4, 0, 0, 1, OpenFlags.Exclusive);
        var first = await node.SendAsync<CreateRequest, CreateReply>(request, 3, 5);
        var again = await node.SendAsync<CreateRequest, CreateReply>(request, 3, 5);
        Assert.Equal((Status.OK, Status.OK), (first.Status, again.Status));
        Assert.Equal(first.Value.File.Attributes, again.Value.File.Attributes);
        Assert.Equal(Status.BadRequest, (await node.SendAsync<CreateRequest, CreateReply>(request, 3, 4)).Status);
        Assert.Equal(Status.BadRequest, (await node.SendAsync<CreateRequest, CreateReply>(request, 3, 0)).Status);
        Assert.Equal(Status.BadRequest, (await node.SendAsync<CreateRequest, CreateReply>(request, Limits.SlotsPerSession, 1)).Status);
        Assert.Equal(1, Metric("ephemeralfs_metadata_inodes"));

        var append = new CommitRequest(first.Value.File.Attributes.Ino, CommitFlags.Append | CommitFlags.HasInline, 3, [], new byte[] { 1, 2, 3 }, 1);
        await node.SendAsync<CommitRequest, CommitReply>(append, 4, 1);
        Assert.Equal(3UL, (await node.SendAsync<CommitRequest, CommitReply>(append, 4, 1)).Value.Attributes.Size);
        Assert.Equal(6UL, (await node.SendAsync<CommitRequest, CommitReply>(append, 4, 2)).Value.Attributes.Size);
    }

    [Fact]
    public async Task A_repeated_failure_stays_a_failure()
    {
        var node = await NodeAsync();
        var unlink = new UnlinkRequest(Ino.Root, TestNode.Name("f"));
        Assert.Equal(Errno.ENOENT.ToStatus(), (await node.SendAsync<UnlinkRequest, NameReply>(unlink, 2, 1)).Status);
        await node.CreateAsync("f");
        Assert.Equal(Errno.ENOENT.ToStatus(), (await node.SendAsync<UnlinkRequest, NameReply>(unlink, 2, 1)).Status);
        Assert.Equal(Status.OK, (await node.SendAsync<UnlinkRequest, NameReply>(unlink, 2, 2)).Status);
        Assert.Equal(Status.BadRequest, (await node.SendAsync<UnlinkRequest, NameReply>(unlink, 2, 1)).Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Everything_acknowledged_is_there_after_a_restart(bool clean)
    {
        var node = await NodeAsync();
        var made = (await node.CreateAsync("f")).Value;
        var ino = made.Attributes.Ino;
        await node.WriteInlineAsync(ino, "hello");
        await node.LockAsync(ino, 1, LockType.Write);
        await node.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("f")));
        var before = Host.Dump(1);
        var sequence = node.LastSequence(0);

        Restart(clean);
        Assert.Equal(before, Host.Dump(1));

        // The daemon goes on as if nothing had been: the last request comes again, handles and locks are still held.
        var again = await node.SendAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("f")), 0, sequence);
        Assert.Equal((Status.OK, 0U), (again.Status, again.Value.Attributes.Nlink));
        var layout = await node.ReadAsync<GetLayoutRequest, LayoutReply>(new(ino, 0, 100));
        Assert.Equal("hello"u8.ToArray(), layout.Value.Inline.ToArray());
        var other = await NodeAsync();
        Assert.Equal(LockType.Write, (await other.ReadAsync<GetLockRequest, GetLockReply>(new(ino, 1, new LockRange(LockType.Read, 0, 1, 0)))).Value.Lock.Type);
        using var resumed = await node.ResumeAsync();
        Assert.Equal(Status.OK, (await resumed.CallAsync<CloseRequest, Empty>(new(1))).Status);
        Assert.Equal(0, Metric("ephemeralfs_metadata_inodes"));
        Assert.Equal(0, Metric("ephemeralfs_metadata_locks"));
    }

    [Fact]
    public async Task Requests_under_way_during_a_restart_are_executed_once()
    {
        var node = await NodeAsync();
        var file = (await node.CreateAsync("log")).Value.Attributes.Ino;
        var appends = Enumerable.Range(10, 4).Select(slot => AppendAsync((uint)slot)).ToArray();
        await UntilAsync(() => Metric("ephemeralfs_metadata_journal_bytes_total") > 2000, "some appends");
        for (var i = 0; i < 3; i++)
        {
            Restart();
            var seen = Metric("ephemeralfs_metadata_journal_bytes_total");
            await UntilAsync(() => Metric("ephemeralfs_metadata_journal_bytes_total") > seen || appends.All(a => a.IsCompleted), "more appends");
        }

        await Task.WhenAll(appends).WaitAsync(Patience);
        var layout = await node.ReadAsync<GetLayoutRequest, LayoutReply>(new(file, 0, ulong.MaxValue));
        var bytes = layout.Value.Inline.ToArray();
        Assert.Equal(4 * 200, bytes.Length);
        Assert.All(bytes.GroupBy(b => b), g => Assert.Equal(200, g.Count()));

        async Task AppendAsync(uint slot)
        {
            for (var i = 0U; i < 200; i++)
            {
                var request = new CommitRequest(file, CommitFlags.Append | CommitFlags.HasInline, 1, [], new[] { (byte)slot }, 0);
                var reply = await node.SendAsync<CommitRequest, CommitReply>(request, slot, i + 1);
                Assert.Equal(Status.OK, reply.Status);
            }
        }
    }
}
