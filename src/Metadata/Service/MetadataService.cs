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
internal sealed class MetadataService : IRpcHandler, IDisposable
{
    private const uint VolumeIdMax = (1 << 24) - 1;
    private readonly MetadataOptions _options;
    private readonly ILogger _logger;
    private readonly string _directory;
    private readonly Catalogue _catalogue;
    private readonly Lock _adminLock = new();

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
        foreach (var (id, (name, deleted)) in _catalogue.Volumes)
        {
            if (deleted)
            {
                DeleteDirectory(id);
            }
            else
            {
                _volumes.Add(id, new VolumeService(DirectoryOf(id), id, name, options, Counters, logger) { StorageNews = () => StorageNews?.Invoke() });
            }
        }
    }

    public OperationCounters Counters { get; } = new();

    /// <summary>There is something to tell storage servers.</summary>
    public Action? StorageNews { get; set; }

    public IReadOnlyCollection<VolumeService> Volumes => _volumes.Values;

    /// <summary>Ids of deleted volumes whose blocks storage servers may still hold.</summary>
    public uint[] DeletedVolumes()
    {
        lock (_adminLock)
        {
            return [.. _catalogue.Volumes.Where(v => v.Value.Deleted).Select(v => v.Key)];
        }
    }

    /// <summary>All known storage servers have dropped a deleted volume.</summary>
    public void ForgetDeleted(uint volume)
    {
        lock (_adminLock)
        {
            if (_catalogue.Volumes.TryGetValue(volume, out var entry) && entry.Deleted)
            {
                _catalogue.Remove(volume);
            }
        }
    }

    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        var start = Stopwatch.GetTimestamp();
        var opcode = call.Header.Opcode;
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

        Counters.Count(opcode, start);
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
            case Opcode.DeleteVolume when RpcCall.TryRead<DeleteVolumeRequest>(head, out var delete):
                DeleteVolume(call, delete);
                break;
            case Opcode.ListVolumes when RpcCall.TryRead<ListVolumesRequest>(head, out _):
                call.Reply(new GetVolumesReply([.. _volumes.Values.OrderBy(v => v.Name, StringComparer.Ordinal).Select(v => v.Describe())]));
                break;
            case Opcode.CheckBlocks when RpcCall.TryRead<CheckBlocksRequest>(head, out var check):
                call.Reply(new CheckBlocksReply(FindGarbage(check.BlockIds)));
                break;
            case Opcode.RenewSession or Opcode.CancelLock:
                Fail(call, Status.UnknownSession);
                break;
            case Opcode.OpenSession or Opcode.CreateVolume or Opcode.DeleteVolume or Opcode.ListVolumes or Opcode.CheckBlocks:
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
        if (id is 0 or > VolumeIdMax || name.Length == 0)
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
                // The directory first: what the catalogue names is always there and whole.
                DeleteDirectory(id);
                var timeNs = (_options.Time.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
                VolumeStore.Create(DirectoryOf(id), new VolumeState(id, request.LimitBytes, request.LimitInodes, timeNs));
                _catalogue.Set(id, name, deleted: false);
                volume = new VolumeService(DirectoryOf(id), id, name, _options, Counters, _logger) { StorageNews = () => StorageNews?.Invoke() };
                _volumes = new Dictionary<uint, VolumeService>(_volumes) { [id] = volume };
                _logger.LogInformation("volume {Volume} created with id {Id}", name, id);
            }
            else
            {
                volume.SetLimits(request.LimitBytes, request.LimitInodes);
            }

            call.Reply(volume.Describe());
        }
    }

    private void DeleteVolume(in RpcCall call, in DeleteVolumeRequest request)
    {
        lock (_adminLock)
        {
            if (_volumes.TryGetValue(request.Id, out var volume))
            {
                if (!request.Force && volume.Describe().Sessions > 0)
                {
                    Fail(call, Status.VolumeBusy);
                    return;
                }

                var remaining = new Dictionary<uint, VolumeService>(_volumes);
                remaining.Remove(request.Id);
                _volumes = remaining;
                volume.Close();
                _catalogue.Set(request.Id, volume.Name, deleted: true);
                DeleteDirectory(request.Id);
                _logger.LogInformation("volume {Volume} deleted", volume.Name);
            }

            call.Reply(default(Empty));
        }

        StorageNews?.Invoke();
    }

    private ulong[] FindGarbage(ulong[] blockIds)
    {
        List<ulong> garbage = [];
        foreach (var group in blockIds.GroupBy(BlockId.VolumeOf))
        {
            if (_volumes.TryGetValue(group.Key, out var volume))
            {
                volume.AddGarbage(group, garbage);
                continue;
            }

            lock (_adminLock)
            {
                // Volume ids ascend: one that is missing below the highest was deleted, one above may be on its way from the controller.
                if (group.Key < _catalogue.HighestId || _catalogue.Volumes.TryGetValue(group.Key, out var entry) && entry.Deleted)
                {
                    garbage.AddRange(group);
                }
            }
        }

        return [.. garbage];
    }

    private string DirectoryOf(uint id) => Path.Combine(_directory, "volumes", id.ToString(System.Globalization.CultureInfo.InvariantCulture));

    private void DeleteDirectory(uint id)
    {
        if (Directory.Exists(DirectoryOf(id)))
        {
            Directory.Delete(DirectoryOf(id), recursive: true);
        }
    }
}
