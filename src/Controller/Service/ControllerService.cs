using System.Collections.Concurrent;
using EphemeralFs.Controller.Volumes;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Controller.Service;

/// <summary>Message → operation. What needs a metadata server is answered later, off the connection's thread.</summary>
internal sealed partial class ControllerService(ControllerState state, ControllerOptions options, Func<ServerStatus> self, ILogger logger) : IRpcHandler, IDisposable
{
    private readonly ConcurrentDictionary<string, RpcClient> _metadata = new(StringComparer.Ordinal);
    private readonly NamedLocks _names = new();

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
            case Opcode.GetView when RpcCall.TryRead<GetViewRequest>(head, out var request):
                var asked = View().Where(server => (server.Role, server.Id).CompareTo((request.AfterRole, request.AfterId)) > 0
                    && (request.Only == ServerRole.None || server.Role == request.Only));
                call.Reply(new GetViewReply(WirePage.Of(asked, out var end), end));
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
                Later(call, () => GetVolumesAsync(request));
                break;
            case Opcode.Register or Opcode.GetView or Opcode.AddVolume or Opcode.ChangeVolume or Opcode.RemoveVolume or Opcode.GetVolumes:
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

    private void Register(in RpcCall call, RegisterRequest request)
    {
        if (request.Role is not (ServerRole.Metadata or ServerRole.Storage or ServerRole.Node) || request.Name.Length == 0 || !Endpoint.TryParse(request.Endpoint, out _, out _))
        {
            call.Fail(Status.BadRequest);
            return;
        }

        var reply = state.Register(request, NowMs);
        if (reply is null || (request.Role == ServerRole.Metadata && !state.IsListed(request.Name, request.StartedNs)))
        {
            Later(call, () => RegisterLaterAsync(request));
        }
        else
        {
            call.Reply(WithSelf(reply.Value));
        }
    }

    private RegisterReply WithSelf(in RegisterReply reply) => reply with { Servers = [self(), .. reply.Servers] };

    private void Later<T>(RpcCall call, Func<Task<Outcome<T>>> work)
        where T : struct, IWireMessage<T> => _ = Task.Run(async () =>
        {
            try
            {
                var (status, reply, error) = await work().ConfigureAwait(false);
                if (status == Status.OK)
                {
                    call.Reply(reply);
                }
                else
                {
                    call.Fail(status, error);
                }
            }
            catch (Exception e)
            {
                logger.LogError(e, "{Opcode} failed", call.Header.Opcode);
                call.Fail(Status.Internal);
            }
        });

    private async Task<Outcome<VolumeStatus>> AddVolumeAsync(AddVolumeRequest request)
    {
        using var held = await _names.LockAsync(request.Name).ConfigureAwait(false);
        await ListMetadataAsync().ConfigureAwait(false);
        var status = state.AddVolume(request, NowMs, (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick, out var volume);
        return status == Status.OK ? await MakeAsync(volume!).ConfigureAwait(false) : Failed<VolumeStatus>(status);
    }

    private async Task<Outcome<VolumeStatus>> ChangeVolumeAsync(ChangeVolumeRequest request)
    {
        using var held = await _names.LockAsync(request.Name).ConfigureAwait(false);
        await ListMetadataAsync().ConfigureAwait(false);
        var status = state.ChangeVolume(request, out var volume);
        return status == Status.OK ? await MakeAsync(volume!).ConfigureAwait(false) : Failed<VolumeStatus>(status);
    }

    /// <summary>Has the metadata server make a volume that is written down, or give one that it has these limits and properties.</summary>
    private async Task<Outcome<VolumeStatus>> MakeAsync(Volume volume)
    {
        if (Metadata(volume.MetadataServer) is not { } server)
        {
            return new(Status.Unavailable, Error: $"metadata server {volume.MetadataServer} has never registered");
        }

        var properties = new VolumeProperties(volume.Hints, [.. volume.Labels], volume.CreatedNs);
        var made = volume.SourceId != 0
            ? await server.CallAsync<CloneVolumeRequest, VolumeStatus>(
                new(volume.SourceId, volume.Id, volume.Name, volume.LimitBytes, volume.LimitInodes, properties), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false)
            : await server.CallAsync<CreateVolumeRequest, VolumeStatus>(
                new(volume.Id, volume.Name, volume.LimitBytes, volume.LimitInodes, properties), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false);
        if (made.IsOk)
        {
            logger.LogInformation("volume {Name} has id {Id} on {Server}", volume.Name, volume.Id, volume.MetadataServer);
            return new(Status.OK, Merge(volume, server.Endpoint.Text, made.Value));
        }

        logger.LogWarning("volume {Name} with id {Id} was not made by {Server}: {Status}", volume.Name, volume.Id, volume.MetadataServer, made.Status);
        if (made.Status is Status.VolumeExists)
        {
            // That there is such a volume is said from the journal only: this one is not there, and was only written down.
            state.TakeBack(volume, isTaken: true);
            return new(Status.Unavailable, Error: $"metadata server {volume.MetadataServer} has another volume of that name or id: try again");
        }

        if (made.Status is Status.NoSuchVolume || made.Status == Errno.ENOSPC.ToStatus())
        {
            // Of copies only: the source is gone, or larger than what is asked for. A copy that exists is not answered so.
            state.TakeBack(volume, isTaken: false);
        }

        return new(made.Status, Error: made.Error);
    }

    private async Task<Outcome<Empty>> RemoveVolumeAsync(RemoveVolumeRequest request)
    {
        if (request.Name.Length == 0)
        {
            return new(Status.OK);
        }

        using var held = await _names.LockAsync(request.Name).ConfigureAwait(false);
        await ListMetadataAsync().ConfigureAwait(false);
        var missing = state.Missing(); // before looking: a list that comes in between may have the volume
        if (state.Volumes(request.Name) is not [var volume])
        {
            return missing is null ? new(Status.OK) : new(Status.Unavailable, Error: missing);
        }

        if (Metadata(volume.MetadataServer) is not { } server)
        {
            return new(Status.Unavailable, Error: $"metadata server {volume.MetadataServer} has never registered");
        }

        var gone = await server.CallAsync<DeleteVolumeRequest, Empty>(
            new(volume.Id, volume.Name, request.Force), timeoutMs: options.MetadataTimeoutMs).ConfigureAwait(false);
        if (!gone.IsOk)
        {
            return new(gone.Status, Error: gone.Error);
        }

        state.RemoveVolume(volume.Id);
        logger.LogInformation("volume {Name} (id {Id}) is deleted", volume.Name, volume.Id);
        return new(Status.OK);
    }

    private async Task<Outcome<GetVolumesReply>> GetVolumesAsync(GetVolumesRequest request)
    {
        await ListMetadataAsync().ConfigureAwait(false);
        var missing = state.Missing(); // before looking: a list that comes in between may have the volume
        var volumes = state.Volumes(request.Name, request.After);

        // Neither "there is none" nor "these are all" may be said of what is not known.
        return missing is not null && !request.Known && (request.Name.Length == 0 || volumes.Length == 0)
            ? new(Status.Unavailable, Error: missing)
            : new(Status.OK, await DescribeAsync(volumes).ConfigureAwait(false));
    }

    /// <summary>A page of these volumes with their use, where the metadata server tells it.</summary>
    private async Task<GetVolumesReply> DescribeAsync(Volume[] volumes)
    {
        var servers = View().Where(s => s.Role == ServerRole.Metadata).ToDictionary(s => s.Name, StringComparer.Ordinal);
        var page = WirePage.Of(volumes.Select(v => Merge(v, servers.GetValueOrDefault(v.MetadataServer).Endpoint ?? "", default)), out var end);
        var answers = await Task.WhenAll(volumes.Take(page.Length).GroupBy(v => v.MetadataServer, StringComparer.Ordinal).Select(async group =>
        {
            // A dead one is not waited for.
            if (!servers.TryGetValue(group.Key, out var status) || !status.Alive || Metadata(group.Key) is not { } client)
            {
                return (Server: group.Key, Volumes: []);
            }

            var listed = await ListAsync(client, [.. group.Select(v => v.Id)]).ConfigureAwait(false);
            return (Server: group.Key, Volumes: listed?.Volumes ?? []);
        })).ConfigureAwait(false);

        // By the name too: an id alone may be that of another volume.
        var used = answers.SelectMany(a => a.Volumes.Select(v => (Key: (a.Server, v.Id, v.Name), Status: v))).ToDictionary(v => v.Key, v => v.Status);
        return new(
            [.. page.Zip(volumes, (status, v) => Merge(v, status.MetadataEndpoint, used.GetValueOrDefault((v.MetadataServer, v.Id, v.Name))))],
            end);
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
        volume.CreatedNs,
        volume.SourceId,
        used.IsDescribed);

    /// <summary>A failure; what is missing is its reason, if anything is.</summary>
    private Outcome<T> Failed<T>(Status status)
        where T : struct => new(status, Error: status == Status.Unavailable ? state.Missing() ?? "" : "");

    /// <summary>A client of the metadata server where it is now; null when it never registered.</summary>
    private RpcClient? Metadata(string name)
    {
        var server = state.View(NowMs).FirstOrDefault(s => s.Role == ServerRole.Metadata && s.Name == name);
        return Endpoint.TryParse(server.Endpoint, out var endpoint, out _)
            ? _metadata.GetOrAdd(endpoint.Text, static (_, e) => new RpcClient(e), endpoint)
            : null;
    }

    /// <summary>What a request came to.</summary>
    /// <param name="Status">The outcome.</param>
    /// <param name="Reply">The reply; counts only on success.</param>
    /// <param name="Error">One line for people with a failure, or empty.</param>
    private readonly record struct Outcome<T>(Status Status, T Reply = default, string Error = "")
        where T : struct;
}
