using System.Collections.Concurrent;
using EphemeralFs.Controller.Volumes;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Controller.Service;

/// <summary>Message → operation. What needs a metadata server is answered later, off the connection's thread.</summary>
internal sealed class ControllerService(ControllerState state, ControllerOptions options, Func<ServerStatus> self, ILogger logger) : IRpcHandler, IDisposable
{
    private readonly ConcurrentDictionary<string, RpcClient> _metadata = new(StringComparer.Ordinal);

    /// <summary>Requests answered, by opcode.</summary>
    internal ConcurrentDictionary<Opcode, long> Requests { get; } = [];

    private static long NowMs => Environment.TickCount64;

    /// <inheritdoc/>
    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        Requests.AddOrUpdate(call.Header.Opcode, 1, static (_, count) => count + 1);
        switch (call.Header.Opcode)
        {
            case Opcode.Register when RpcCall.TryRead<RegisterRequest>(head, out var request):
                Register(call, request);
                break;
            case Opcode.GetView when RpcCall.TryRead<GetViewRequest>(head, out _):
                call.Reply(new GetViewReply(View()));
                break;
            case Opcode.AddVolume when RpcCall.TryRead<AddVolumeRequest>(head, out var request):
                Later(call, () => AddVolumeAsync(request));
                break;
            case Opcode.ChangeVolume when RpcCall.TryRead<ChangeVolumeRequest>(head, out var request):
                Later(call, () => ChangeVolumeAsync(request));
                break;
            case Opcode.RemoveVolume when RpcCall.TryRead<RemoveVolumeRequest>(head, out var request):
                Later(call, () => RemoveVolumeAsync(request));
                break;
            case Opcode.GetVolumes when RpcCall.TryRead<GetVolumesRequest>(head, out var request):
                Later(call, async () => (Status.OK, new GetVolumesReply(await VolumesAsync(request.Name).ConfigureAwait(false))));
                break;
            case Opcode.ClusterStatus when RpcCall.TryRead<ClusterStatusRequest>(head, out _):
                Later(call, async () => (Status.OK, new ClusterStatusReply(View(), await VolumesAsync("").ConfigureAwait(false))));
                break;
            case Opcode.Register or Opcode.GetView or Opcode.AddVolume or Opcode.ChangeVolume or Opcode.RemoveVolume or Opcode.GetVolumes or Opcode.ClusterStatus:
                call.Fail(Status.BadRequest);
                break;
            default:
                call.Fail(Status.UnknownOpcode);
                break;
        }
    }

    /// <inheritdoc/>
    public void OnDisconnected(RpcPeer peer)
    {
        // Heartbeats tell who lives, not connections.
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var client in _metadata.Values)
        {
            client.Dispose();
        }
    }

    /// <summary>All servers, the controller first.</summary>
    internal ServerStatus[] View() => [self(), .. state.View(NowMs)];

    private void Register(in RpcCall call, in RegisterRequest request)
    {
        if (request.Role is not (ServerRole.Metadata or ServerRole.Storage or ServerRole.Node) || request.Name.Length == 0 || !Endpoint.TryParse(request.Endpoint, out _, out _))
        {
            call.Fail(Status.BadRequest);
            return;
        }

        var reply = state.Register(request, NowMs);
        call.Reply(reply with { Servers = [self(), .. reply.Servers] });
    }

    private void Later<T>(RpcCall call, Func<Task<(Status Status, T Reply)>> work)
        where T : struct, IWireMessage<T> => _ = Task.Run(async () =>
        {
            try
            {
                var (status, reply) = await work().ConfigureAwait(false);
                if (status == Status.OK)
                {
                    call.Reply(reply);
                }
                else
                {
                    call.Fail(status);
                }
            }
            catch (Exception e)
            {
                logger.LogError(e, "{Opcode} failed", call.Header.Opcode);
                call.Fail(Status.Internal);
            }
        });

    private async Task<(Status Status, VolumeStatus Reply)> AddVolumeAsync(AddVolumeRequest request)
    {
        var status = state.AddVolume(request, NowMs, (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick, out var volume);
        return status == Status.OK ? await MakeAsync(volume!, copy: volume!.SourceId != 0).ConfigureAwait(false) : (status, default);
    }

    private async Task<(Status Status, VolumeStatus Reply)> ChangeVolumeAsync(ChangeVolumeRequest request)
    {
        var status = state.ChangeVolume(request, out var before, out var volume);
        if (status != Status.OK)
        {
            return (status, default);
        }

        // One that was written down and not made yet is not to be made as an empty one.
        status = before!.SourceId == 0 ? Status.OK : (await MakeAsync(before, copy: true).ConfigureAwait(false)).Status;
        return status is Status.OK or Status.VolumeExists ? await MakeAsync(volume!, copy: false).ConfigureAwait(false) : (status, default);
    }

    /// <summary>Has the metadata server make a volume that is written down, or give one that it has these limits.</summary>
    private async Task<(Status Status, VolumeStatus Reply)> MakeAsync(Volume volume, bool copy)
    {
        if (Metadata(volume.MetadataServer) is not { } server)
        {
            return (Status.Unavailable, default);
        }

        var made = copy
            ? await server.CallAsync<CloneVolumeRequest, VolumeStatus>(
                new(volume.SourceId, volume.Id, volume.Name, volume.LimitBytes, volume.LimitInodes), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false)
            : await server.CallAsync<CreateVolumeRequest, VolumeStatus>(
                new(volume.Id, volume.Name, volume.LimitBytes, volume.LimitInodes), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false);
        if (!made.IsOk)
        {
            logger.LogWarning("volume {Name} was not made by {Server}: {Status}", volume.Name, volume.MetadataServer, made.Status);
            return (made.Status, default);
        }

        logger.LogInformation("volume {Name} has id {Id} on {Server}", volume.Name, volume.Id, volume.MetadataServer);
        return (Status.OK, Merge(volume, server.Endpoint.Text, made.Value));
    }

    private async Task<(Status Status, Empty Reply)> RemoveVolumeAsync(RemoveVolumeRequest request)
    {
        if (state.Volumes(request.Name) is not [var volume] || request.Name.Length == 0)
        {
            return (Status.OK, default);
        }

        if (Metadata(volume.MetadataServer) is not { } server)
        {
            return (Status.Unavailable, default);
        }

        var gone = await server.CallAsync<DeleteVolumeRequest, Empty>(
            new(volume.Id, request.Force), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false);
        if (!gone.IsOk)
        {
            return (gone.Status, default);
        }

        state.RemoveVolume(volume.Id);
        logger.LogInformation("volume {Name} (id {Id}) is deleted", volume.Name, volume.Id);
        return (Status.OK, default);
    }

    /// <summary>Volumes with their use, where the metadata server tells it; else with zeros.</summary>
    private async Task<VolumeStatus[]> VolumesAsync(string name)
    {
        var volumes = state.Volumes(name);
        var servers = View().Where(s => s.Role == ServerRole.Metadata).ToDictionary(s => s.Name, StringComparer.Ordinal);
        var answers = await Task.WhenAll(volumes.Select(v => v.MetadataServer).Distinct(StringComparer.Ordinal).Select(async server =>
        {
            // A dead one is not waited for.
            if (!servers.TryGetValue(server, out var status) || !status.Alive || Metadata(server) is not { } client)
            {
                return (server, Volumes: []);
            }

            var wanted = name.Length > 0 ? volumes[0].Id : 0; // a name is that of one volume
            var listed = await client.CallAsync<ListVolumesRequest, GetVolumesReply>(new(wanted), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false);
            if (!listed.IsOk)
            {
                logger.LogWarning("metadata server {Server} did not list its volumes: {Status}", server, listed.Status);
            }

            return (server, Volumes: listed.IsOk ? listed.Value.Volumes : []);
        })).ConfigureAwait(false);
        var used = answers.SelectMany(a => a.Volumes).ToDictionary(v => v.Id);
        return [.. volumes.Select(v => Merge(v, servers.TryGetValue(v.MetadataServer, out var s) ? s.Endpoint : "", used.GetValueOrDefault(v.Id)))];
    }

    private static VolumeStatus Merge(Volume volume, string endpoint, in VolumeStatus used) => new(
        volume.Id,
        volume.Name,
        endpoint,
        volume.LimitBytes,
        used.UsedBytes,
        volume.LimitInodes,
        used.UsedInodes,
        used.Sessions,
        volume.Hints,
        [.. volume.Labels],
        volume.Source,
        volume.CreatedNs);

    /// <summary>A client of the metadata server where it is now; null when it never registered.</summary>
    private RpcClient? Metadata(string name)
    {
        var server = state.View(NowMs).FirstOrDefault(s => s.Role == ServerRole.Metadata && s.Name == name);
        return Endpoint.TryParse(server.Endpoint, out var endpoint, out _)
            ? _metadata.GetOrAdd(endpoint.Text, static (_, e) => new RpcClient(e), endpoint)
            : null;
    }
}
