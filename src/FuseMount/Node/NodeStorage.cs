using EphemeralFs.Client.Blocks;

namespace EphemeralFs.FuseMount.Node;

/// <summary>What the mounts of a node share: connections to the storage servers and the cache of blocks.</summary>
internal sealed class NodeStorage(NodeOptions options) : IDisposable
{
    private BlockStore? _blocks;

    public StorageServers Servers { get; } = new();

    public BlockCache Cache { get; } = new(options.ReadCacheBytes);

    public BlockStore Blocks => _blocks ??= new BlockStore(Servers, Cache, options.DeadlineMs);

    public void Dispose() => Servers.Dispose();
}
