using EphemeralFs.Controller.Journaling;
using EphemeralFs.Controller.Registry;
using EphemeralFs.Controller.Volumes;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Controller.Service;

/// <summary>What the controller knows, and its journal. Thread-safe: one lock over all, held for memory work and a rare append only.</summary>
public sealed partial class ControllerState : IDisposable
{
    /// <summary>The journal is rewritten at the start when fewer than this share of its records still count.</summary>
    private const double UsefulShare = 0.5;

    private const int RewriteFrom = 256;

    private readonly Lock _lock = new(); // guards everything below
    private readonly ServerRegistry _servers;
    private readonly VolumeTable _volumes = new();
    private readonly ControlJournal _journal;
    private readonly ILogger _logger;

    private ControllerState(ServerRegistry servers, ControlJournal journal, ILogger logger)
    {
        _servers = servers;
        _journal = journal;
        _logger = logger;
    }

    /// <summary>Reads the journal of a state directory.</summary>
    public static ControllerState Open(string directory, int aliveTimeoutMs, ILogger logger)
    {
        var journal = ControlJournal.Open(directory);
        var state = new ControllerState(new ServerRegistry(aliveTimeoutMs), journal, logger);
        foreach (var record in journal.Records)
        {
            state.Apply(record);
        }

        if (journal.CutBytes > 0)
        {
            // Most likely a record that was being written when the controller died. If it is damage, more is gone than was not acknowledged.
            logger.LogWarning("cut {Bytes} bytes off the journal, which are no whole record; metadata servers are asked for what it lacks", journal.CutBytes);
            state.Record(new ControlRecord(ControlRecordKind.Incomplete, 0));
        }

        var live = state.LiveRecords();
        if (journal.Records.Count >= RewriteFrom && live.Count < journal.Records.Count * UsefulShare)
        {
            journal.Dispose();
            ControlJournal.Rewrite(directory, live);
            return Open(directory, aliveTimeoutMs, logger);
        }

        return state;
    }

    /// <summary>Takes a heartbeat and gives the id and the view.</summary>
    /// <returns>Null for a storage server that may have an id of which this controller does not know yet (<see cref="Missing"/>): blocks at it would not be found under another one.</returns>
    public RegisterReply? Register(in RegisterRequest request, long nowMs)
    {
        lock (_lock)
        {
            if (request.Role == ServerRole.Storage && _servers.IdOf(request.Role, request.Name) == 0 && Missing() is not null)
            {
                return null;
            }

            var id = _servers.Heartbeat(request, nowMs, out var changed);
            if (changed)
            {
                _journal.Append(new ControlRecord(ControlRecordKind.Server, id, request.Role, request.Name, request.Endpoint));
            }

            var hints = request.Mounts.Select(mount => _volumes.Find(mount.Volume)).OfType<Volume>().Distinct().Select(volume => new Label(volume.Name, volume.Hints));
            return new RegisterReply(id, [.. _servers.View(nowMs).Select(server => server with { Mounts = [] })], [.. hints]);
        }
    }

    /// <summary>All servers.</summary>
    public ServerStatus[] View(long nowMs)
    {
        lock (_lock)
        {
            return _servers.View(nowMs);
        }
    }

    /// <summary>The volume of that name; for "" all whose names come after another one, in order.</summary>
    public Volume[] Volumes(string name, string after = "")
    {
        lock (_lock)
        {
            return name.Length > 0 ? _volumes.Find(name) is { } volume ? [volume] : []
                : [.. _volumes.All.Where(v => string.CompareOrdinal(v.Name, after) > 0)];
        }
    }

    /// <summary>Finds the volume or writes a new one down on the least loaded living metadata server.</summary>
    /// <returns>
    /// VolumeExists when there is one with other limits, hints, labels or another source, NoSuchVolume when there is no such source, NoSuchServer when no metadata
    /// server lives, EINVAL, ENOSPC when ids are used up; Unavailable while there may be volumes that this controller does not know (<see cref="Missing"/>): the new one
    /// might get the id of another one.
    /// </returns>
    public Status AddVolume(in AddVolumeRequest request, long nowMs, long timeNs, out Volume? volume)
    {
        volume = null;
        if (!VolumeName.IsValid(request.Name) || VolumeHints.Parse(request.Hints) is null || !Label.AreFew(request.Labels ?? []))
        {
            return Errno.EINVAL.ToStatus();
        }

        lock (_lock)
        {
            if (_volumes.Find(request.Name) is { } existing)
            {
                volume = existing;
                return existing.IsWhatIsAsked(request) ? Status.OK : Status.VolumeExists;
            }

            if (Missing() is not null)
            {
                return Status.Unavailable;
            }

            if (_volumes.LastId >= VolumeTable.MaxId)
            {
                return Errno.ENOSPC.ToStatus();
            }

            var source = request.Source.Length > 0 ? _volumes.Find(request.Source) : null;
            if (request.Source.Length > 0 && source is null)
            {
                return Status.NoSuchVolume;
            }

            // What begins with the content of another volume shares its blocks, of which that one's server keeps account.
            var server = source is not null ? source.MetadataServer : _servers.View(nowMs)
                .Where(s => s.Role == ServerRole.Metadata && s.Alive)
                .OrderBy(s => _volumes.All.Count(v => v.MetadataServer == s.Name))
                .ThenBy(s => s.Id)
                .Select(s => s.Name)
                .FirstOrDefault();
            if (server is null)
            {
                return Status.NoSuchServer;
            }

            // Written down before the metadata server hears of it: after a crash in between, repeating the request finishes it.
            volume = new Volume(_volumes.LastId + 1, request.Name, server, request.LimitBytes, request.LimitInodes)
            {
                Hints = request.Hints,
                Labels = request.Labels ?? [],
                Source = request.Source,
                SourceId = source?.Id ?? 0,
                CreatedNs = timeNs,
            };
            Record(VolumeRecord(volume));
            return Status.OK;
        }
    }

    /// <summary>Writes down other limits and hints of a volume.</summary>
    /// <returns>NoSuchVolume, or Unavailable while there may be volumes that this controller does not know; EINVAL.</returns>
    public Status ChangeVolume(in ChangeVolumeRequest request, out Volume? volume)
    {
        volume = null;
        if (VolumeHints.Parse(request.Hints) is null)
        {
            return Errno.EINVAL.ToStatus();
        }

        lock (_lock)
        {
            if (_volumes.Find(request.Name) is not { } existing)
            {
                return Missing() is null ? Status.NoSuchVolume : Status.Unavailable;
            }

            volume = existing with { LimitBytes = request.LimitBytes, LimitInodes = request.LimitInodes, Hints = request.Hints };
            if (volume != existing)
            {
                Record(VolumeRecord(volume));
            }

            return Status.OK;
        }
    }

    /// <summary>Forgets a volume for ever: its metadata server has deleted it.</summary>
    public void RemoveVolume(uint id)
    {
        lock (_lock)
        {
            _removed.Add(id);
            if (_volumes.Find(id) is not null)
            {
                Record(new ControlRecord(ControlRecordKind.VolumeRemoved, id));
            }
        }
    }

    /// <summary>Forgets a volume that its metadata server has refused to make.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="isTaken">Its id or name is that of another volume, of which this controller does not know: it is to look again.</param>
    public void TakeBack(Volume volume, bool isTaken)
    {
        lock (_lock)
        {
            if (_volumes.Find(volume.Id)?.Name == volume.Name)
            {
                Record(new ControlRecord(ControlRecordKind.VolumeRemoved, volume.Id));
            }

            if (isTaken)
            {
                _listed.Remove(volume.MetadataServer);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _journal.Dispose();

    private static ControlRecord VolumeRecord(Volume v) => new(
        ControlRecordKind.Volume, v.Id, Name: v.Name, Server: v.MetadataServer, LimitBytes: v.LimitBytes, LimitInodes: v.LimitInodes,
        Hints: v.Hints, Labels: [.. v.Labels], Source: v.Source, SourceId: v.SourceId, CreatedNs: v.CreatedNs);

    private void Record(params IReadOnlyCollection<ControlRecord> records)
    {
        _journal.Append(records);
        foreach (var record in records)
        {
            Apply(record);
        }
    }

    private void Apply(in ControlRecord record)
    {
        switch (record.Kind)
        {
            case ControlRecordKind.Server:
                _servers.Restore(record.Id, record.Role, record.Name, record.Text);
                break;
            case ControlRecordKind.Volume:
                _volumes.Add(new Volume(record.Id, record.Name, record.Server, record.LimitBytes, record.LimitInodes)
                {
                    Hints = record.Hints ?? "",
                    Labels = record.Labels ?? [],
                    Source = record.Source ?? "",
                    SourceId = record.SourceId,
                    CreatedNs = record.CreatedNs,
                });
                break;
            case ControlRecordKind.VolumeRemoved:
                _volumes.Remove(record.Id);
                break;
            case ControlRecordKind.LastVolumeId:
                _volumes.Used(record.Id);
                break;
            case ControlRecordKind.MetadataListed:
                _complete.Add(record.Name);
                break;
            case ControlRecordKind.Incomplete:
                _complete.Clear();
                break;
            case ControlRecordKind.None:
            default:
                throw new InvalidDataException($"a record of unknown kind {record.Kind} in the controller's journal: was it written by a newer version?");
        }
    }

    private List<ControlRecord> LiveRecords() =>
    [
        .. _servers.View(0).Select(s => new ControlRecord(ControlRecordKind.Server, s.Id, s.Role, s.Name, s.Endpoint)),
        .. _volumes.All.Select(VolumeRecord),
        new ControlRecord(ControlRecordKind.LastVolumeId, _volumes.LastId),
        .. _complete.Select(name => new ControlRecord(ControlRecordKind.MetadataListed, 0, Name: name)),
    ];
}
