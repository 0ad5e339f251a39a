using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Service;

/// <content>
/// Copies of volumes, and which blocks may be deleted although several volumes refer to blocks of each other. No reference is counted twice: each volume knows
/// its own, and whoever wants to delete a block asks the others. A block that no volume refers to will never be referred to again, because only a copy takes
/// references over, from a volume that has them; <see cref="_adminLock"/> keeps copies from being made while the volumes are asked one after the other.
/// </content>
internal sealed partial class MetadataService
{
    /// <summary>Deleted volumes that are to be taken apart block by block.</summary>
    private readonly Dictionary<uint, DeletedVolume> _deleted = [];

    /// <summary>Everything that has blocks to delete.</summary>
    public IUnneededBlocks[] UnneededBlocks()
    {
        lock (_adminLock)
        {
            return [.. _volumes.Values, .. _deleted.Values];
        }
    }

    /// <summary>The next blocks that a storage server may have to delete.</summary>
    /// <param name="from">Who does not need them any more.</param>
    /// <param name="server">Storage server.</param>
    /// <param name="max">At most so many.</param>
    /// <param name="count">How many were looked at; 0 when there are no more.</param>
    /// <returns>Those of them that nobody else needs either. The others are left to whoever refers to them.</returns>
    public ulong[] NextDeletes(IUnneededBlocks from, uint server, int max, out int count)
    {
        lock (_adminLock)
        {
            var blockIds = from.NextDeletes(server, max);
            count = blockIds.Length;
            return WithoutUsed(blockIds);
        }
    }

    /// <summary>Ids of deleted volumes of which no block is needed any more, and storage servers may still hold some.</summary>
    public uint[] DeletedVolumes()
    {
        lock (_adminLock)
        {
            foreach (var (id, _) in _deleted.Where(d => d.Value.IsDone).ToArray())
            {
                DeleteDirectory(id);
                _deleted.Remove(id);
            }

            return [.. _catalogue.Volumes.Where(v => v.Value.Deleted && !IsUsed(v.Key)).Select(v => v.Key)];
        }
    }

    /// <summary>All known storage servers have dropped a deleted volume. False when it is still needed for blocks of others.</summary>
    public bool ForgetDeleted(uint volume)
    {
        lock (_adminLock)
        {
            if (_deleted.ContainsKey(volume))
            {
                return false;
            }

            if (_catalogue.Volumes.TryGetValue(volume, out var entry) && entry.Deleted)
            {
                _catalogue.Remove(volume);
            }

            return true;
        }
    }

    /// <summary>Values to watch.</summary>
    public (string Name, string Labels, double Value)[] Metrics()
    {
        lock (_adminLock)
        {
            return [("ephemeralfs_metadata_deleted_volumes", "", _catalogue.Volumes.Values.Count(v => v.Deleted))];
        }
    }

    private void CloneVolume(in RpcCall call, in CloneVolumeRequest request)
    {
        var (id, name, sourceId) = (request.Id, request.Name, request.SourceId);
        if (!IsVolume(id, name, request.Properties) || sourceId == id)
        {
            Fail(call, Status.BadRequest);
            return;
        }

        lock (_adminLock)
        {
            if (_volumes.GetValueOrDefault(id) is { } volume)
            {
                if (volume.Name != name || volume.Source != sourceId)
                {
                    Fail(call, Status.VolumeExists);
                    return;
                }

                Change(volume, request.LimitBytes, request.LimitInodes, request.Properties);
                call.Reply(volume.Describe());
                return;
            }

            if (_catalogue.Volumes.ContainsKey(id) || _volumes.Values.Any(v => v.Name == name))
            {
                Fail(call, Status.VolumeExists);
                return;
            }

            if (!_volumes.TryGetValue(sourceId, out var source))
            {
                Fail(call, Status.NoSuchVolume);
                return;
            }

            var (limitBytes, limitInodes) = (request.LimitBytes, request.LimitInodes);
            var written = MakeDirectory(id, target => source.WriteCopy(target, id, limitBytes, limitInodes));
            if (written != Status.OK)
            {
                Fail(call, written);
                return;
            }

            call.Reply(Publish(id, new CatalogueEntry(name, Deleted: false, sourceId, source.Name, request.Properties)).Describe());
            _logger.LogInformation("volume {Volume} with id {Id} made as a copy of {Source}", name, id, source.Name);
        }
    }

    /// <summary>A volume has left <see cref="_volumes"/>: its directory is deleted, or kept for the list of blocks that it does not share with others.</summary>
    private void TakeApart(VolumeService volume)
    {
        var isUsed = IsUsed(volume.Id);
        if ((isUsed || volume.Source != 0) && volume.BlocksLeft(withOwn: isUsed) is { Count: > 0 } left)
        {
            _deleted.Add(volume.Id, new DeletedVolume(left));
        }
        else
        {
            DeleteDirectory(volume.Id);
        }
    }

    /// <summary>The server died before a deleted volume was taken apart, or while it was. All other volumes are loaded.</summary>
    private void TakeApartAfterRestart(uint id, uint source)
    {
        var isUsed = IsUsed(id);
        if ((isUsed || source != 0) && Directory.Exists(DirectoryOf(id)))
        {
            try
            {
                var (store, state) = VolumeStore.Open(DirectoryOf(id), id, long.MaxValue, _logger);
                store.Dispose();
                if (state.BlocksLeft(withOwn: isUsed) is { Count: > 0 } left)
                {
                    _deleted.Add(id, new DeletedVolume(left));
                    return;
                }
            }
            catch (DamagedStateException e)
            {
                // Not a reason to refuse the start: it does not exist any more, and the others know which blocks they need.
                _logger.LogWarning("deleted volume {Id}: what only it referred to is left to the scrubbers of the storage servers: {Error}", id, e.Message);
            }
        }

        DeleteDirectory(id);
    }

    /// <summary>Whether any volume refers to a block of a volume that was deleted. Only copies refer to blocks of others.</summary>
    private bool IsUsed(uint deleted) => _volumes.Values.Any(v => v.Source != 0 && v.UsesBlocksOf(deleted));

    /// <summary>Those blocks to which no volume refers. Under the lock of administration.</summary>
    private ulong[] WithoutUsed(ulong[] blockIds)
    {
        var owners = blockIds.Select(BlockId.VolumeOf).ToHashSet();
        var used = new bool[blockIds.Length];
        foreach (var volume in _volumes.Values)
        {
            if (volume.Source != 0 || owners.Contains(volume.Id))
            {
                volume.MarkUsed(blockIds, owners, used);
            }
        }

        return Array.TrueForAll(used, u => !u) ? blockIds : [.. blockIds.Where((_, i) => !used[i])];
    }
}
