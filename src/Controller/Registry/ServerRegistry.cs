using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Controller.Registry;

/// <summary>The servers that ever registered, with the ids that are theirs for ever. Knows no clock: the time comes with each call.</summary>
/// <remarks>Not thread-safe; the service has one lock.</remarks>
public sealed class ServerRegistry(int aliveTimeoutMs)
{
    private readonly Dictionary<(ServerRole Role, string Name), Entry> _servers = [];
    private uint _lastId;

    /// <summary>Takes a server from the journal: known, but not heard of yet.</summary>
    public void Restore(uint id, ServerRole role, string name, string endpoint)
    {
        _servers[(role, name)] = new Entry(id, new RegisterRequest(role, name, endpoint, "", 0, [], []), null);
        _lastId = Math.Max(_lastId, id);
    }

    /// <summary>Takes a heartbeat.</summary>
    /// <param name="request">What the server says of itself.</param>
    /// <param name="nowMs">Monotonic milliseconds.</param>
    /// <param name="changed">Whether the id or the endpoint has to be written down.</param>
    /// <returns>The server's id.</returns>
    public uint Heartbeat(in RegisterRequest request, long nowMs, out bool changed)
    {
        var key = (request.Role, request.Name);
        var known = _servers.TryGetValue(key, out var old);
        var id = known ? old!.Id : ++_lastId;
        changed = !known || old!.Last.Endpoint != request.Endpoint;
        _servers[key] = new Entry(id, request, nowMs);
        return id;
    }

    /// <summary>All servers, by role and id.</summary>
    public ServerStatus[] View(long nowMs) =>
    [
        .. _servers.Values.OrderBy(e => e.Last.Role).ThenBy(e => e.Id).Select(e => new ServerStatus(
            e.Last.Role,
            e.Id,
            e.Last.Name,
            e.Last.Endpoint,
            e.Last.MetricsEndpoint,
            e.Last.Pid,
            e.SeenMs is { } seen && nowMs - seen < aliveTimeoutMs,
            e.SeenMs is { } at ? (ulong)Math.Max(0, nowMs - at) : ulong.MaxValue,
            e.Last.Tiers,
            e.Last.Mounts,
            e.Last.StartedNs)),
    ];

    private sealed record Entry(uint Id, RegisterRequest Last, long? SeenMs);
}
