using System.Diagnostics;
using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Service;

/// <summary>Takes requests from connections: finds the volume and hands over. Administration is done here.</summary>
internal sealed partial class MetadataService : IRpcHandler, IDisposable
{
    private const uint VolumeIdMax = (1 << 24) - 1;

    /// <summary>Directories of volumes that do not exist yet, or any more.</summary>
    private const string UnfinishedSuffix = ".new";
    private const string UnwantedSuffix = ".old";

    private readonly MetadataOptions _options;
    private readonly ILogger _logger;
    private readonly string _directory;
    private readonly Catalogue _catalogue;
    private readonly Lock _adminLock = new();

    /// <summary>Storage servers that the controller calls otherwise than it did: said once of each. Under the lock of administration.</summary>
    private readonly HashSet<KnownServer> _disputed = [];

    /// <summary>Volumes that are served, by id; replaced whole, so that requests read it without a lock.</summary>
    private volatile Dictionary<uint, VolumeService> _volumes = [];

    /// <summary>Loads the catalogue and all volumes.</summary>
    /// <exception cref="DamagedStateException">Something cannot be loaded without losing acknowledged operations.</exception>
    public MetadataService(MetadataOptions options, ILogger logger)
    {
        _options = options;
        _logger = logger;
        _directory = Path.Combine(options.StateDirectory, "metadata");
        Directory.CreateDirectory(Path.Combine(_directory, "volumes"));
        _catalogue = new Catalogue(Path.Combine(_directory, "catalogue"));
        foreach (var suffix in new[] { UnfinishedSuffix, UnwantedSuffix })
        {
            foreach (var directory in Directory.GetDirectories(Path.Combine(_directory, "volumes"), "*" + suffix))
            {
                Directory.Delete(directory, recursive: true);
            }
        }

        foreach (var (id, entry) in _catalogue.Volumes.Where(v => !v.Value.Deleted))
        {
            _volumes.Add(id, Load(id, entry));
        }

        foreach (var (id, entry) in _catalogue.Volumes.Where(v => v.Value.Deleted))
        {
            TakeApartAfterRestart(id, entry.Source);
        }
    }

    public OperationCounters Counters { get; } = new();

    /// <summary>There is something to tell storage servers.</summary>
    public Action? StorageNews { get; set; }

    public IReadOnlyCollection<VolumeService> Volumes => _volumes.Values;

    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        var start = Stopwatch.GetTimestamp();
        var opcode = call.Header.Opcode;
        Counters.Begin(opcode);
        if (OperationTable.Find(opcode) is { } row)
        {
            if (VolumeOf(call) is { } volume)
            {
                volume.Handle(call, row, head);
            }
            else
            {
                Fail(call, Status.UnknownSession);
            }
        }
        else
        {
            Dispatch(call, opcode, head);
        }

        Counters.End(opcode, start);
    }

    /// <summary>Remembers which servers there are, for a controller that has lost its state: files name storage servers by the ids that it gave them.</summary>
    public void Remember(IEnumerable<ServerStatus> view)
    {
        KnownServer[] told = [.. view.Where(s => s.Role is ServerRole.Storage or ServerRole.Metadata).Select(s => new KnownServer(s.Role, s.Id, s.Name, s.Endpoint))];
        if (told.All(_catalogue.Servers.Contains))
        {
            return;
        }

        lock (_adminLock)
        {
            var known = _catalogue.Servers.ToList();
            foreach (var server in told)
            {
                if (server.Role == ServerRole.Storage && known.Find(k => k.Role == server.Role && (k.Id == server.Id) != (k.Name == server.Name)) is { Id: not 0 } other)
                {
                    if (_disputed.Add(server))
                    {
                        _logger.LogError(
                            "the controller says that storage server {Name} has id {Id}, and it said before that {KnownName} has id {KnownId}: blocks may not be found",
                            server.Name, server.Id, other.Name, other.Id);
                    }

                    continue;
                }

                known.RemoveAll(k => k.Role == server.Role && k.Name == server.Name);
                known.Add(server);
            }

            if (!known.ToHashSet().SetEquals(_catalogue.Servers))
            {
                _catalogue.Keep([.. known]);
            }
        }
    }

    public void OnDisconnected(RpcPeer peer)
    {
        foreach (var volume in _volumes.Values)
        {
            volume.Disconnected(peer);
        }
    }

    public void Tick()
    {
        foreach (var volume in _volumes.Values)
        {
            volume.Tick();
        }
    }

    public void Checkpoint()
    {
        foreach (var volume in _volumes.Values)
        {
            volume.Checkpoint();
        }
    }

    public void Dispose()
    {
        foreach (var volume in _volumes.Values)
        {
            volume.Dispose();
        }
    }

    private VolumeService? VolumeOf(in RpcCall call) => _volumes.GetValueOrDefault((uint)(call.Header.Session >> 32));

    private void Dispatch(in RpcCall call, Opcode opcode, ReadOnlyMemory<byte> head)
    {
        switch (opcode)
        {
            case Opcode.OpenSession when RpcCall.TryRead<OpenSessionRequest>(head, out var open):
                OpenSession(call, open);
                break;
            case Opcode.RenewSession when VolumeOf(call) is { } volume:
                volume.RenewSession(call);
                break;
            case Opcode.CloseSession:
                if (VolumeOf(call) is { } closing)
                {
                    closing.CloseSession(call);
                }
                else
                {
                    call.Reply(default(Empty));
                }

                break;
            case Opcode.CancelLock when RpcCall.TryRead<CancelLockRequest>(head, out var cancel) && VolumeOf(call) is { } volume:
                volume.CancelLock(call, cancel);
                break;
            case Opcode.CreateVolume when RpcCall.TryRead<CreateVolumeRequest>(head, out var create):
                CreateVolume(call, create);
                break;
            case Opcode.CloneVolume when RpcCall.TryRead<CloneVolumeRequest>(head, out var clone):
                CloneVolume(call, clone);
                break;
            case Opcode.DeleteVolume when RpcCall.TryRead<DeleteVolumeRequest>(head, out var delete):
                DeleteVolume(call, delete);
                break;
            case Opcode.ListVolumes when RpcCall.TryRead<ListVolumesRequest>(head, out var list):
                call.Reply(List(list));
                break;
            case Opcode.CheckBlocks when RpcCall.TryRead<CheckBlocksRequest>(head, out var check):
                call.Reply(new CheckBlocksReply(FindGarbage(check.BlockIds)));
                break;
            case Opcode.RenewSession or Opcode.CancelLock:
                Fail(call, Status.UnknownSession);
                break;
            case Opcode.OpenSession or Opcode.CreateVolume or Opcode.DeleteVolume or Opcode.ListVolumes or Opcode.CheckBlocks
                or Opcode.CloneVolume:
                Fail(call, Status.BadRequest);
                break;
            default:
                Fail(call, Status.UnknownOpcode);
                break;
        }
    }

    private void Fail(in RpcCall call, Status status)
    {
        Counters.Failed(call.Header.Opcode, status);
        call.Fail(status);
    }

    private void OpenSession(in RpcCall call, in OpenSessionRequest request)
    {
        var name = request.Volume;
        if (_volumes.Values.FirstOrDefault(v => v.Name == name) is { } volume)
        {
            volume.OpenSession(call, request);
        }
        else
        {
            Fail(call, request.ResumeSession != 0 ? Status.UnknownSession : Status.NoSuchVolume);
        }
    }

    private void CreateVolume(in RpcCall call, in CreateVolumeRequest request)
    {
        var (id, name) = (request.Id, request.Name);
        if (!IsVolume(id, name, request.Properties))
        {
            Fail(call, Status.BadRequest);
            return;
        }

        lock (_adminLock)
        {
            var volume = _volumes.GetValueOrDefault(id);
            if (_volumes.Values.Any(v => v.Name == name && v.Id != id) || (volume is not null && volume.Name != name)
                || (volume is null && _catalogue.Volumes.ContainsKey(id)))
            {
                Fail(call, Status.VolumeExists);
                return;
            }

            if (volume is null)
            {
                var timeNs = (_options.Time.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
                var state = new VolumeState(id, request.LimitBytes, request.LimitInodes, timeNs);
                MakeDirectory(id, target =>
                {
                    Snapshot.Write(target, state, 1, 1);
                    return Status.OK;
                });
                volume = Publish(id, new CatalogueEntry(name, Deleted: false, Source: 0, SourceName: "", request.Properties));
                _logger.LogInformation("volume {Volume} created with id {Id}", name, id);
            }
            else
            {
                Change(volume, request.LimitBytes, request.LimitInodes, request.Properties);
            }

            call.Reply(volume.Describe());
        }
    }

    private void DeleteVolume(in RpcCall call, in DeleteVolumeRequest request)
    {
        lock (_adminLock)
        {
            if (_volumes.TryGetValue(request.Id, out var volume) && volume.Name != request.Name)
            {
                // A controller that has lost its state, or has an old one, may take another volume for this one. What it asks for is not here.
                _logger.LogWarning("volume {Asked} is not deleted: its id {Id} is that of {Volume}", request.Name, request.Id, volume.Name);
            }
            else if (volume is not null)
            {
                if (!request.Force && volume.Describe().Sessions > 0)
                {
                    Fail(call, Status.VolumeBusy);
                    return;
                }

                // The catalogue first: nothing that this volume refers to may be deleted while a restart would bring it back.
                _catalogue.MarkDeleted(request.Id);
                KillPoint.Hit("metadata.volume-marked");
                var remaining = new Dictionary<uint, VolumeService>(_volumes);
                remaining.Remove(request.Id);
                _volumes = remaining;
                volume.Close();
                TakeApart(volume);
                _logger.LogInformation("volume {Volume} deleted", volume.Name);
            }

            call.Reply(default(Empty));
        }

        StorageNews?.Invoke();
    }

    private ulong[] FindGarbage(ulong[] blockIds)
    {
        List<ulong> garbage = [];
        lock (_adminLock)
        {
            foreach (var group in blockIds.GroupBy(BlockId.VolumeOf))
            {
                // Volume ids ascend: one that is missing below the highest was deleted, one above may be on its way from the controller.
                if (_volumes.TryGetValue(group.Key, out var volume))
                {
                    volume.AddGarbage(group, garbage);
                }
                else if (group.Key < _catalogue.HighestId || (_catalogue.Volumes.TryGetValue(group.Key, out var entry) && entry.Deleted))
                {
                    garbage.AddRange(group);
                }
            }

            return WithoutUsed([.. garbage]);
        }
    }

    private static bool IsVolume(uint id, string name, in VolumeProperties properties) =>
        id is > 0 and <= VolumeIdMax && name.Length > 0 && Label.AreFew(properties.Labels ?? []);

    private ListVolumesReply List(in ListVolumesRequest request)
    {
        // Not while a volume comes or goes: the highest id is that of all volumes in the list, or above.
        lock (_adminLock)
        {
            var after = request.After;
            var isOfAll = request.Ids is not { Length: > 0 };
            var wanted = isOfAll ? _volumes.Values : request.Ids!.Distinct().Select(id => _volumes.GetValueOrDefault(id)).OfType<VolumeService>();
            var page = WirePage.Of(wanted.Where(v => v.Id > after).OrderBy(v => v.Id).Select(v => v.Describe()), out var end);
            return new ListVolumesReply(page, end, _catalogue.HighestId, after == 0 && isOfAll ? _catalogue.Servers : []);
        }
    }

    /// <summary>Gives a volume other limits, and other things to keep for the controller. Under the lock of administration.</summary>
    private void Change(VolumeService volume, ulong limitBytes, ulong limitInodes, in VolumeProperties properties)
    {
        volume.SetLimits(limitBytes, limitInodes);
        if (_catalogue.Volumes[volume.Id].Properties != properties)
        {
            _catalogue.Keep(volume.Id, properties);
            volume.Keep(properties);
        }
    }

    private VolumeService Load(uint id, CatalogueEntry entry) =>
        new(DirectoryOf(id), id, entry, _options, Counters, _logger) { StorageNews = () => StorageNews?.Invoke() };

    /// <summary>Makes the directory of a new volume, whole or not at all. The catalogue does not name it yet.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="write">Makes the first snapshot, or says why there is none.</param>
    private Status MakeDirectory(uint id, Func<Stream, Status> write)
    {
        var unfinished = DirectoryOf(id) + UnfinishedSuffix;
        if (Directory.Exists(unfinished))
        {
            Directory.Delete(unfinished, recursive: true);
        }

        var status = Status.OK;
        VolumeStore.Create(unfinished, target => status = write(target));
        KillPoint.Hit("metadata.volume-written");
        if (status != Status.OK)
        {
            Directory.Delete(unfinished, recursive: true);
            return status;
        }

        DeleteDirectory(id);
        Directory.Move(unfinished, DirectoryOf(id));
        KillPoint.Hit("metadata.volume-placed");
        return Status.OK;
    }

    /// <summary>A volume whose directory was made comes into being: with the entry in the catalogue.</summary>
    private VolumeService Publish(uint id, CatalogueEntry entry)
    {
        // Loaded before: a copy that is in the catalogue and does not serve could not say which blocks it needs.
        var volume = Load(id, entry);
        try
        {
            _catalogue.Add(id, entry.Name, entry.Source, entry.SourceName, entry.Properties);
        }
        catch
        {
            volume.Dispose();
            throw;
        }

        KillPoint.Hit("metadata.volume-listed");
        _volumes = new Dictionary<uint, VolumeService>(_volumes) { [id] = volume };
        return volume;
    }

    private string DirectoryOf(uint id) => Path.Combine(_directory, "volumes", id.ToString(System.Globalization.CultureInfo.InvariantCulture));

    /// <summary>Whole or not at all: half a directory would look like a damaged one.</summary>
    private void DeleteDirectory(uint id)
    {
        if (Directory.Exists(DirectoryOf(id)))
        {
            var unwanted = DirectoryOf(id) + UnwantedSuffix;
            if (Directory.Exists(unwanted))
            {
                Directory.Delete(unwanted, recursive: true);
            }

            Directory.Move(DirectoryOf(id), unwanted);
            KillPoint.Hit("metadata.directory-set-aside");
            Directory.Delete(unwanted, recursive: true);
        }
    }
}
