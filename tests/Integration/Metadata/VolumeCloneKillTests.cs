using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>The server dies as by <c>kill -9</c> while volumes are copied and deleted: each exists or does not, and the blocks are those that are needed.</summary>
public sealed class VolumeCloneKillTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);
    private readonly MetadataProcess _server = new();
    private readonly FakeStorage _storage = new();
    private readonly List<TestNode> _nodes = [];

    public void Dispose()
    {
        _nodes.ForEach(node => node.Dispose());
        _server.Dispose();
        _storage.Dispose();
    }

    [Theory]
    [InlineData("metadata.volume-written:2")]
    [InlineData("metadata.volume-placed:2")]
    [InlineData("metadata.volume-listed:2")]
    [InlineData("metadata.volume-marked:1")]
    [InlineData("metadata.volume-marked:2")]
    [InlineData("metadata.blocks-deleted:1")]
    [InlineData("metadata.blocks-deleted:3")]
    [InlineData("metadata.blocks-deleted:4")]
    [InlineData("metadata.directory-set-aside:2")]
    public async Task Killed_at_any_step_no_block_is_lost_and_none_is_left(string point)
    {
        await _server.StartAsync(point, storage: _storage.Endpoint);
        var story = StoryAsync();
        var died = _server.DiedAsync();
        Assert.True(await Task.WhenAny(died, story) == died, "the kill point was not reached");
        await died;
        await _server.StartAsync(storage: _storage.Endpoint);
        await story;
    }

    /// <summary>Calls are sent again until the server is back, so that the same is done whenever it dies.</summary>
    private async Task StoryAsync()
    {
        using var admin = new RpcClient(_server.Endpoint);
        Assert.Equal(Status.OK, (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(1, "a", 0, 0))).Status);
        var a = await OpenAsync("a");
        var f = await WriteAsync(a, "f");
        var g = await WriteAsync(a, "g");
        await CopyAsync(admin, 1, 2, "b");
        var b = await OpenAsync("b");
        Assert.Equal([f, g], await BlocksAsync(b));

        await VolumeCloneTests.UnlinkAsync(a, "f");
        await VolumeCloneTests.UnlinkAsync(b, "g");
        var h = await WriteAsync(b, "h");
        await CopyAsync(admin, 2, 3, "c");
        await DeleteAsync(admin, 1, "a");
        await StoredAsync("what only the first volume had is deleted", f, h);
        await DeleteAsync(admin, 2, "b");
        var c = await OpenAsync("c");
        Assert.Equal([f, h], (await BlocksAsync(c)).Order());
        Assert.Equal([f, h], _storage.Blocks);
        await VolumeCloneTests.UnlinkAsync(c, "f");
        await StoredAsync("the last reference to a block of a deleted volume is gone", h);
        await DeleteAsync(admin, 3, "c");
        await StoredAsync("nothing is left");
        await UntilAsync(() => _storage.DroppedVolumes.Distinct().Count() == 3, "all volumes are dropped");
        Assert.Empty((await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value.Volumes);
        await UntilAsync(() => Directory.GetDirectories(Path.GetDirectoryName(_server.VolumeDirectory)!).Length == 0, "no directory is left");
    }

    private static async Task CopyAsync(RpcClient admin, uint source, uint id, string name)
    {
        Assert.Equal(Status.OK, (await admin.CallAsync<CloneVolumeRequest, VolumeStatus>(new(source, id, name, 0, 0))).Status);
        Assert.Contains(id, (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value.Volumes.Select(v => v.Id));
    }

    private static async Task DeleteAsync(RpcClient admin, uint id, string name)
    {
        Assert.Equal(Status.OK, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(id, name, true))).Status);
        Assert.DoesNotContain(id, (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value.Volumes.Select(v => v.Id));
    }

    private async Task<TestNode> OpenAsync(string volume)
    {
        var node = await TestNode.OpenAsync(_server.Endpoint, volume);
        _nodes.Add(node);
        return node;
    }

    /// <summary>A closed file of one block; returns the block.</summary>
    private async Task<ulong> WriteAsync(TestNode node, string name)
    {
        var ino = await node.NewInoAsync();
        Assert.Equal(Status.OK, (await node.CallAsync<MknodRequest, NameReply>(new(Ino.Root, ino, TestNode.Name(name), 0x81A4, 0, 0, 0, default))).Status);
        var block = await node.NewBlockAsync();
        _storage.Put(block);
        var extent = new Extent(0, 4096, block, 0, 1);
        Assert.Equal(Status.OK, (await node.CallAsync<CommitRequest, CommitReply>(new(ino, CommitFlags.None, 0, [extent], default, 0))).Status);
        return block;
    }

    private static async Task<ulong[]> BlocksAsync(TestNode node)
    {
        List<ulong> blocks = [];
        foreach (var ino in (await VolumeCloneTests.FilesAsync(node)).OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => f.Value))
        {
            blocks.AddRange(await VolumeCloneTests.BlocksAsync(node, ino));
        }

        return [.. blocks];
    }

    private Task StoredAsync(string what, params ulong[] blocks) => UntilAsync(() => _storage.Blocks.SequenceEqual(blocks), what);

    private static async Task UntilAsync(Func<bool> condition, string what)
    {
        for (var deadline = Environment.TickCount64 + (long)s_patience.TotalMilliseconds; !condition();)
        {
            Assert.True(Environment.TickCount64 < deadline, $"never happened: {what}");
            await Task.Delay(10);
        }
    }
}
