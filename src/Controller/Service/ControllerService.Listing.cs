using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Controller.Service;

/// <content>Asks metadata servers what they have, before anything is said of volumes.</content>
internal sealed partial class ControllerService
{
    /// <summary>How long a registration waits for what it depends on, milliseconds: less than the heartbeat waits for its answer, which is tried again.</summary>
    private const int RegistrationWaitMs = 2000;

    private readonly Dictionary<(string Name, long StartedNs), Task> _listings = []; // guarded by itself

    /// <summary>Completes when another metadata server was asked, and is replaced then.</summary>
    private TaskCompletionSource _news = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>A metadata server whose volumes are not known is asked for them; a storage server without an id gets one when it is certain that it had none.</summary>
    private async Task<Outcome<RegisterReply>> RegisterLaterAsync(RegisterRequest request)
    {
        if (request.Role == ServerRole.Metadata)
        {
            _ = ListMetadataAsync(); // never fails
        }

        var patience = Task.Delay(RegistrationWaitMs);
        while (true)
        {
            var news = Volatile.Read(ref _news).Task; // before looking, so that none is missed
            var waits = request.Role == ServerRole.Metadata ? !state.IsListed(request.Name, request.StartedNs) : state.Missing() is not null;
            if (!waits || await Task.WhenAny(news, patience).ConfigureAwait(false) == patience)
            {
                break;
            }
        }

        return state.Register(request, NowMs) is { } reply ? new(Status.OK, WithSelf(reply)) : Failed<RegisterReply>(Status.Unavailable);
    }

    /// <summary>Asks the living metadata servers that were not asked since they, or the controller, started. Returns when each has answered or failed; never throws.</summary>
    private Task ListMetadataAsync() => state.Unlisted(NowMs) is { Length: > 0 } unlisted ? Task.WhenAll(unlisted.Select(ListMetadataAsync)) : Task.CompletedTask;

    /// <summary>Asks one of them, once for all who wait for it.</summary>
    private Task ListMetadataAsync(ServerStatus server)
    {
        var key = (server.Name, server.StartedNs);
        lock (_listings)
        {
            if (!_listings.TryGetValue(key, out var listing))
            {
                _listings.Add(key, listing = Task.Run(async () =>
                {
                    await AdoptAsync(server).ConfigureAwait(false);
                    lock (_listings)
                    {
                        _listings.Remove(key);
                    }

                    Interlocked.Exchange(ref _news, new(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
                }));
            }

            return listing;
        }
    }

    private async Task AdoptAsync(ServerStatus server)
    {
        try
        {
            if (Metadata(server.Name) is { } client && await ListAsync(client, []).ConfigureAwait(false) is { } listed)
            {
                state.Adopt(server, listed.Volumes, listed.HighestId, listed.Servers);
            }
        }
        catch (Exception e)
        {
            // It stays unlisted, and requests that need it are answered so.
            logger.LogError(e, "what metadata server {Server} has cannot be written down", server.Name);
        }
    }

    /// <summary>The volumes of a metadata server, page by page; null when it does not tell them.</summary>
    /// <param name="server">The metadata server.</param>
    /// <param name="ids">Those of these that it has; none for all.</param>
    private async Task<ListVolumesReply?> ListAsync(RpcClient server, uint[] ids)
    {
        var volumes = new List<VolumeStatus>();
        KnownServer[] servers = [];
        while (true)
        {
            var page = await server.CallAsync<ListVolumesRequest, ListVolumesReply>(
                new(ids, volumes.Count == 0 ? 0 : volumes[^1].Id), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false);
            if (!page.IsOk)
            {
                logger.LogWarning("the metadata server at {Endpoint} did not list its volumes: {Status}", server.Endpoint, page.Status);
                return null;
            }

            servers = volumes.Count == 0 ? page.Value.Servers : servers;
            volumes.AddRange(page.Value.Volumes);
            if (page.Value.End)
            {
                return new([.. volumes], End: true, page.Value.HighestId, servers);
            }
        }
    }
}
