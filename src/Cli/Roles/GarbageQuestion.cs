using System.Collections.Concurrent;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Roles;

/// <summary>Asks, for a storage server, which of its blocks nobody needs: each volume's metadata server knows its own.</summary>
/// <remarks>
/// Freeing is for ever, so every doubt is an exception. The controller writes a volume down before it exists, so a block's volume that the
/// controller does not know when it is asked after the block was listed has been deleted; all metadata servers must agree to that.
/// </remarks>
internal sealed class GarbageQuestion(Endpoint controller, Func<ServerStatus[]> view) : IDisposable
{
    private const int AnswerMs = 10_000;

    private readonly RpcClient _controller = new(controller);
    private readonly ConcurrentDictionary<string, RpcClient> _metadata = new(StringComparer.Ordinal);

    /// <summary>The blocks of these that may be freed. Throws when that is not certain.</summary>
    public async Task<ulong[]> AskAsync(ulong[] blocks)
    {
        var volumes = await _controller.ListVolumesAsync(timeoutMs: AnswerMs).ConfigureAwait(false);
        if (!volumes.IsOk)
        {
            throw new IOException($"the controller did not tell the volumes: {volumes.Status}");
        }

        var homes = volumes.Value.Volumes.ToDictionary(v => v.Id, v => v.MetadataEndpoint);
        var garbage = new List<ulong>();
        foreach (var group in blocks.GroupBy(block => homes.GetValueOrDefault(BlockId.VolumeOf(block), "")))
        {
            garbage.AddRange(group.Key.Length > 0
                ? await AskAsync(group.Key, [.. group]).ConfigureAwait(false)
                : await AskAllAsync([.. group]).ConfigureAwait(false));
        }

        return [.. garbage];
    }

    public void Dispose()
    {
        _controller.Dispose();
        foreach (var client in _metadata.Values)
        {
            client.Dispose();
        }
    }

    private async Task<ulong[]> AskAllAsync(ulong[] blocks)
    {
        var servers = view().Where(s => s.Role == ServerRole.Metadata).Select(s => s.Endpoint).ToArray();
        if (servers.Length == 0)
        {
            throw new IOException("no metadata server is known");
        }

        IEnumerable<ulong> agreed = blocks;
        foreach (var server in servers)
        {
            agreed = agreed.Intersect(await AskAsync(server, blocks).ConfigureAwait(false));
        }

        return [.. agreed];
    }

    private async Task<ulong[]> AskAsync(string endpoint, ulong[] blocks)
    {
        var client = _metadata.GetOrAdd(endpoint, static text => new RpcClient(Endpoint.Parse(text)));
        var answer = await client.CallAsync<CheckBlocksRequest, CheckBlocksReply>(new(blocks), timeoutMs: AnswerMs).ConfigureAwait(false);
        return answer.IsOk ? answer.Value.Garbage : throw new IOException($"the metadata server at {endpoint} did not answer: {answer.Status}");
    }
}
