using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Client;

/// <summary>A copy of a volume on real servers: its bytes are there when the source is gone, and gone when it is.</summary>
public sealed class VolumeCloneClientTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private readonly MiniCluster _cluster = new();

    public void Dispose() => _cluster.Dispose();

    [Fact]
    public async Task A_copy_is_read_and_written_after_its_source_was_deleted_and_leaves_nothing()
    {
        var (old, small, fresh) = (Random(1, 3 << 20), Random(2, 100), Random(3, 1 << 20));
        using var admin = new RpcClient(_cluster.MetadataEndpoint);
        using (var node = _cluster.NewNode("first"))
        {
            await WriteAsync(node, "large", old);
            await WriteAsync(node, "small", small);
            await WriteAsync(node, "dropped", Random(4, 2 << 20));
            var open = await node.Create("unflushed");
            await node.Write(open, 0, fresh);
            Assert.Equal(Status.OK, (await admin.CallAsync<CloneVolumeRequest, VolumeStatus>(new(1, 2, "copy", 0, 0))).Status);
            var large = await node.Open("large", HandleFlags.Write);
            await node.Write(large, 1 << 20, fresh);
            await node.Close(large);
        }

        var all = await BlocksAsync();
        Assert.True(all.Length >= 6);
        Assert.Equal(Status.OK, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(1, "v", true))).Status);
        using (var node = _cluster.NewNode("second", volume: "copy"))
        {
            // What was written after the copy was made is nobody's.
            await UntilAsync(async () => (await BlocksAsync()).Length < all.Length);
            Assert.Equal(old, await ReadAsync(node, "large", old.Length));
            Assert.Equal(small, await ReadAsync(node, "small", small.Length));
            Assert.Empty(await ReadAsync(node, "unflushed", 10));
            Assert.Equal(Status.OK, await node.Do(o => node.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("dropped"))));
            var large = await node.Open("large", HandleFlags.Write);
            await node.Write(large, 0, fresh);
            await node.Close(large);
            fresh.CopyTo(old, 0);
            Assert.Equal(old, await ReadAsync(node, "large", old.Length));

            // Nothing of it is in anybody's memory.
            _cluster.Metadata.Abort();
            _cluster.StartMetadata();
            node.Restart();
            Assert.Equal(old, await ReadAsync(node, "large", old.Length));
        }

        Assert.Equal(Status.OK, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(2, "copy", true))).Status);
        await UntilAsync(async () => (await BlocksAsync()).Length == 0);
    }

    private static byte[] Random(int seed, int length)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static async Task WriteAsync(TestNode node, string name, byte[] bytes)
    {
        var handle = await node.Create(name);
        await node.Write(handle, 0, bytes);
        await node.Close(handle);
    }

    private static async Task<byte[]> ReadAsync(TestNode node, string name, int length)
    {
        var handle = await node.Open(name);
        var bytes = await node.Read(handle, 0, length);
        await node.Close(handle);
        return bytes;
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        for (var deadline = Environment.TickCount64 + (long)s_patience.TotalMilliseconds; !await condition();)
        {
            Assert.True(Environment.TickCount64 < deadline, "never happened");
            await Task.Delay(20);
        }
    }

    /// <summary>The blocks that all storage servers have.</summary>
    private async Task<ulong[]> BlocksAsync()
    {
        List<ulong> all = [];
        foreach (var server in _cluster.View())
        {
            using var client = new RpcClient(Endpoint.Parse(server.Endpoint));
            var list = await client.CallAsync<ListBlocksRequest, ListBlocksReply>(new(0, 1000));
            Assert.Equal((Status.OK, true), (list.Status, list.Value.End));
            all.AddRange(list.Value.BlockIds);
        }

        return [.. all];
    }
}
