using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Controller.Registry;

/// <summary>The servers that ever registered, with the ids that are theirs for ever. Knows no clock: the time comes with each call.</summary>
/// <remarks>Each role counts its own ids, so that those of storage servers, which files carry, depend on nothing else. Not thread-safe; the service has one lock.</remarks>
public sealed class ServerRegistry(int aliveTimeoutMs)
{
    private readonly Dictionary<(ServerRole Role, string Name), Entry> _servers = [];
    private readonly Dictionary<ServerRole, uint> _lastIds = [];

    /// <summary>Takes a server from the journal: known, but not heard of yet.</summary>
    public void Restore(uint id, ServerRole role, string name, string endpoint) => Put(new Entry(id, new RegisterRequest(role, name, endpoint, "", 0, [], []), null));

    /// <summary>The id of a server, or 0 for one that is not known.</summary>
    public uint IdOf(ServerRole role, string name) => _servers.TryGetValue((role, name), out var known) ? known.Id : 0;

    /// <summary>The name of the server of a role that has this id, or null.</summary>
    public string? NameOf(ServerRole role, uint id) => _servers.Where(s => s.Key.Role == role && s.Value.Id == id).Select(s => s.Key.Name).FirstOrDefault();

    /// <summary>The servers of a role.</summary>
    public IEnumerable<string> Names(ServerRole role) => _servers.Keys.Where(key => key.Role == role).Select(key => key.Name);

    /// <summary>The id that the next new server of a role gets.</summary>
    public uint NextId(ServerRole role) => _lastIds.GetValueOrDefault(role) + 1;

    /// <summary>Takes a heartbeat.</summary>
    /// <param name="request">What the server says of itself.</param>
    /// <param name="nowMs">Monotonic milliseconds.</param>
    /// <param name="changed">Whether the id or the endpoint has to be written down.</param>
    /// <returns>The server's id.</returns>
    public uint Heartbeat(in RegisterRequest request, long nowMs, out bool changed)
    {
        var known = _servers.TryGetValue((request.Role, request.Name), out var old);
        var id = known ? old!.Id : NextId(request.Role);
        changed = !known || old!.Last.Endpoint != request.Endpoint;
        Put(new Entry(id, request, nowMs));
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

    private void Put(Entry server)
    {
        _servers[(server.Last.Role, server.Last.Name)] = server;
        _lastIds[server.Last.Role] = Math.Max(_lastIds.GetValueOrDefault(server.Last.Role), server.Id);
    }

    private sealed record Entry(uint Id, RegisterRequest Last, long? SeenMs);
}
