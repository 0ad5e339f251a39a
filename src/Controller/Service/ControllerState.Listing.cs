using EphemeralFs.Controller.Journaling;
using EphemeralFs.Controller.Volumes;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Controller.Service;

/// <content>
/// Volumes belong to the metadata servers; the journal is what the controller has heard and decided of them. After it was lost, or a part of it, the metadata servers
/// are asked: until each of them has told once what it has, an unknown volume may exist, and an id that looks free may be another one's.
/// </content>
public sealed partial class ControllerState
{
    /// <summary>Metadata servers of which the journal has everything that they had when they were listed. What came after came through this journal.</summary>
    private readonly HashSet<string> _complete = new(StringComparer.Ordinal);

    /// <summary>Metadata servers that were listed since this controller started, with the start of the life in which they were.</summary>
    private readonly Dictionary<string, long> _listed = new(StringComparer.Ordinal);

    /// <summary>Ids of volumes that were deleted since this controller started: a list that was on its way may still have them.</summary>
    private readonly HashSet<uint> _removed = [];

    /// <summary>Living metadata servers that were not listed since the controller, or they, started.</summary>
    public ServerStatus[] Unlisted(long nowMs)
    {
        lock (_lock)
        {
            return [.. _servers.View(nowMs).Where(s => s.Role == ServerRole.Metadata && s.Alive && !IsListed(s.Name, s.StartedNs))];
        }
    }

    /// <summary>Whether a metadata server was listed since the controller, and it, started.</summary>
    public bool IsListed(string name, long startedNs)
    {
        lock (_lock)
        {
            return _listed.TryGetValue(name, out var started) && started == startedNs;
        }
    }

    /// <summary>Why there may be volumes of which this controller does not know, for people; null when there are none.</summary>
    public string? Missing()
    {
        lock (_lock)
        {
            string[] servers = [.. _servers.Names(ServerRole.Metadata)];
            string[] missing = [.. servers.Where(name => !_complete.Contains(name))];
            return servers.Length == 0 ? "no metadata server has registered yet"
                : missing.Length > 0 ? $"the controller has no list yet of the volumes on metadata server {string.Join(", ", missing)}"
                : null;
        }
    }

    /// <summary>
    /// Writes down what a metadata server has and the journal has not. Of what is on itself the server knows best; a volume that the journal has on another server
    /// stays, and a line of the log says so.
    /// </summary>
    /// <param name="server">The metadata server, as it was when it was asked.</param>
    /// <param name="volumes">All its volumes.</param>
    /// <param name="highestId">The highest volume id that it ever had.</param>
    /// <param name="servers">Other servers of which it knows.</param>
    public void Adopt(in ServerStatus server, IReadOnlyCollection<VolumeStatus> volumes, uint highestId, IReadOnlyCollection<KnownServer> servers)
    {
        lock (_lock)
        {
            foreach (var known in servers)
            {
                AdoptServer(server.Name, known);
            }

            var name = server.Name;
            var (fresh, stale) = (new List<VolumeStatus>(), new HashSet<Volume>());
            foreach (var volume in volumes.Where(v => !_removed.Contains(v.Id)))
            {
                Volume[] known = [.. new[] { _volumes.Find(volume.Name), _volumes.Find(volume.Id) }.OfType<Volume>().Distinct()];
                if (known is [var same] && (same.Id, same.Name, same.MetadataServer) == (volume.Id, volume.Name, name))
                {
                    continue;
                }

                if (Array.Find(known, v => v.MetadataServer != name) is { } elsewhere)
                {
                    _logger.LogError(
                        "volume {Name} with id {Id} on metadata server {Server} is left alone: the journal has {KnownName} with id {KnownId} on {KnownServer}",
                        volume.Name, volume.Id, name, elsewhere.Name, elsewhere.Id, elsewhere.MetadataServer);
                    continue;
                }

                // Ids and names are unique on a server: what has either of them in the journal, and not both, is not there.
                stale.UnionWith(known);
                fresh.Add(volume);
            }

            List<ControlRecord> records =
            [
                .. stale.Select(v => new ControlRecord(ControlRecordKind.VolumeRemoved, v.Id)),
                .. fresh.Select(v => VolumeRecord(new Volume(v.Id, v.Name, name, v.LimitBytes, v.LimitInodes)
                {
                    Hints = v.Hints,
                    Labels = v.Labels ?? [],
                    Source = v.Source,
                    SourceId = v.SourceId,
                    CreatedNs = v.CreatedNs,
                })),
            ];
            if (highestId > _volumes.LastId)
            {
                records.Add(new ControlRecord(ControlRecordKind.LastVolumeId, highestId));
            }

            // Last: after a crash in between it is listed again.
            if (!_complete.Contains(name))
            {
                records.Add(new ControlRecord(ControlRecordKind.MetadataListed, 0, Name: name));
            }

            if (records.Count > 0)
            {
                Record(records);
            }

            _listed[name] = server.StartedNs;
            if (fresh.Count > 0)
            {
                _logger.LogWarning(
                    "{Count} volumes that metadata server {Server} has were not in the journal, and are known from now on; {Stale} in the journal were not there", fresh.Count, name, stale.Count);
            }
        }
    }

    private void AdoptServer(string from, in KnownServer known)
    {
        if (_servers.IdOf(known.Role, known.Name) is var id && id != 0)
        {
            if (known.Role == ServerRole.Storage && id != known.Id)
            {
                _logger.LogError("storage server {Name} has id {Id}, and metadata server {Server} knows it with id {KnownId}: blocks may not be found", known.Name, id, from, known.Id);
            }
        }
        else if (known.Role == ServerRole.Storage && _servers.NameOf(known.Role, known.Id) is { } other)
        {
            _logger.LogError("storage server {Name} has id {Id} at metadata server {Server}, and here that is {Other}: blocks may not be found", known.Name, known.Id, from, other);
        }
        else if (known.Role is ServerRole.Storage or ServerRole.Metadata)
        {
            // Nothing but views carries the ids of metadata servers, so that one which is given away already does not matter.
            var free = known.Role == ServerRole.Storage ? known.Id : _servers.NextId(known.Role);
            Record(new ControlRecord(ControlRecordKind.Server, free, known.Role, known.Name, known.Endpoint));
        }
    }
}
