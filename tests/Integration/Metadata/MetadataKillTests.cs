using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>The server dies as by <c>kill -9</c>, at named places and at any time, with requests under way: each is executed exactly once.</summary>
public sealed class MetadataKillTests : IDisposable
{
    private const int Names = 40;
    private readonly MetadataProcess _server = new();

    public void Dispose() => _server.Dispose();

    [Theory]
    [InlineData("metadata.after-apply")]
    [InlineData("metadata.after-journal")]
    [InlineData("metadata.before-reply")]
    public async Task Killed_between_applying_and_replying_nothing_happens_twice_or_not_at_all(string point)
    {
        await _server.StartAsync();
        using var node = await NodeAsync();
        var log = (await node.CreateAsync("log", OpenFlags.Write | OpenFlags.Exclusive)).Value.Attributes.Ino;
        var work = WorkAsync(node, log);
        foreach (var hit in new[] { 1, 5, 14, 33 })
        {
            await _server.KillAsync();
            await _server.StartAsync($"{point}:{hit}", snapshotAfterBytes: 4000);
            await Task.WhenAny(_server.DiedAsync(), work);
            if (work.IsCompleted)
            {
                break;
            }
        }

        await _server.KillAsync();
        await _server.StartAsync();
        await work;
        await CheckAsync(node, log);
    }

    [Fact]
    public async Task Killed_at_any_time_nothing_happens_twice_or_not_at_all()
    {
        await _server.StartAsync();
        using var node = await NodeAsync();
        var log = (await node.CreateAsync("log", OpenFlags.Write | OpenFlags.Exclusive)).Value.Attributes.Ino;
        var work = WorkAsync(node, log);
        var random = new Random(4);
        for (var i = 0; i < 6 && !work.IsCompleted; i++)
        {
            // Not to wait for something: the moment of death shall be any.
            await Task.Delay(random.Next(100));
            await _server.KillAsync();
            await _server.StartAsync(snapshotAfterBytes: 2000);
        }

        await work;
        await CheckAsync(node, log);
    }

    [Fact]
    public async Task A_journal_that_cannot_be_written_fails_the_request_and_nothing_else()
    {
        await _server.StartAsync();
        using var node = await NodeAsync();
        Assert.Equal(Status.OK, (await node.CreateAsync("before")).Status);
        var inode = await node.NewInoAsync();
        var journal = Assert.Single(Directory.GetFiles(_server.VolumeDirectory, "journal-*"));

        // The next record fits only in part.
        await _server.LimitFileSizeAsync(new FileInfo(journal).Length + 20);
        var refused = await node.CallAsync<CreateRequest, CreateReply>(
            new CreateRequest(Ino.Root, inode, TestNode.Name("refused"), 0x81A4, 0, 0, 77, OpenFlags.Write));
        Assert.Equal(Errno.EIO.ToStatus(), refused.Status);
        Assert.Equal(Errno.ENOENT.ToStatus(), await node.LookupAsync("refused"));
        Assert.Equal(Status.OK, await node.LookupAsync("before"));

        await _server.LimitFileSizeAsync(null);
        var accepted = await node.CallAsync<CreateRequest, CreateReply>(
            new CreateRequest(Ino.Root, inode, TestNode.Name("after"), 0x81A4, 0, 0, 77, OpenFlags.Write));
        Assert.Equal(Status.OK, accepted.Status);
        await _server.KillAsync();
        await _server.StartAsync();
        Assert.Equal(Status.OK, await node.LookupAsync("after"));
        Assert.Equal(Errno.ENOENT.ToStatus(), await node.LookupAsync("refused"));
    }

    private async Task<TestNode> NodeAsync()
    {
        using var admin = new RpcClient(_server.Endpoint);
        Assert.Equal(Status.OK, (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(1, "tmp", 0, 0))).Status);
        return await TestNode.OpenAsync(_server.Endpoint);
    }

    /// <summary>Operations that show when they are executed twice: exclusive creation, append, exchange, removal. Each must succeed.</summary>
    private static async Task WorkAsync(TestNode node, ulong log)
    {
        for (var i = 0; i < Names; i++)
        {
            Assert.Equal(Status.OK, (await node.CreateAsync($"n{i}", OpenFlags.Write | OpenFlags.Exclusive, slot: 1)).Status);
            Assert.Equal(Status.OK, (await node.CallAsync<MknodRequest, NameReply>(
                new(Ino.Root, await node.NewInoAsync(), TestNode.Name($"d{i}"), 0x41ED, 0, 0, 0, default), slot: 2)).Status);
            Assert.Equal(Status.OK, (await node.CallAsync<RenameRequest, RenameReply>(
                new(Ino.Root, TestNode.Name($"n{i}"), Ino.Root, TestNode.Name($"d{i}"), 2), slot: 3)).Status);
            Assert.Equal(Status.OK, (await node.CallAsync<CommitRequest, CommitReply>(
                new(log, CommitFlags.Append | CommitFlags.HasInline, 1, [], new[] { (byte)i }, 0), slot: 4)).Status);
            if (i % 2 == 1)
            {
                Assert.Equal(Status.OK, (await node.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name($"d{i}")), slot: 5)).Status);
                Assert.Equal(Status.OK, (await node.CallAsync<RmdirRequest, NameReply>(new(Ino.Root, TestNode.Name($"n{i}")), slot: 6)).Status);
            }
        }
    }

    private static async Task CheckAsync(TestNode node, ulong log)
    {
        var layout = await node.ReadAsync<GetLayoutRequest, LayoutReply>(new(log, 0, 1000));
        Assert.Equal(Enumerable.Range(0, Names).Select(i => (byte)i), layout.Value.Inline.ToArray());
        var list = await node.ReadAsync<ReadDirRequest, ReadDirReply>(new(Ino.Root, 0, 1 << 20, true));
        var names = list.Value.Entries.ToDictionary(e => System.Text.Encoding.UTF8.GetString(e.Name.Span), e => e.Attributes);
        Assert.Equal(Names + 3, names.Count);
        for (var i = 0; i < Names; i += 2)
        {
            Assert.True(names[$"n{i}"].IsDirectory && names[$"d{i}"].IsRegular);
        }
    }
}
