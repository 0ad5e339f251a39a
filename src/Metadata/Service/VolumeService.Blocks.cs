using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Service;

/// <content>What storage servers must know: blocks that nobody needs, sessions that live; and what there is to see.</content>
internal sealed partial class VolumeService
{
    public uint[] ServersWithDeletes()
    {
        lock (_lock)
        {
            return [.. _state.Blocks.DeleteQueues.Keys];
        }
    }

    public ulong[] NextDeletes(uint server, int max)
    {
        lock (_lock)
        {
            if (_isBroken || !_state.Blocks.DeleteQueues.TryGetValue(server, out var queue))
            {
                return [];
            }

            return queue.Ids[..Math.Min(max, queue.Count)].ToArray();
        }
    }

    public void Deleted(uint server, int count)
    {
        lock (_lock)
        {
            try
            {
                if (!_isBroken && _state.Blocks.Deleted(server, count))
                {
                    var record = _store.Journal.Begin();
                    Records.BlocksDeleted(ref record, server, (uint)count);
                    _store.Journal.Append(record);
                    Flush();
                }
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }
    }

    /// <summary>Adds those blocks of this volume that no file refers to and no live session may still commit.</summary>
    public void AddGarbage(IEnumerable<ulong> blockIds, List<ulong> garbage)
    {
        lock (_lock)
        {
            if (_isBroken)
            {
                return;
            }

            foreach (var id in blockIds)
            {
                if (_state.Blocks.ReferencesTo(id) == 0
                    && !_state.Sessions.Values.Any(s => s.Blocks.CanTake(BlockId.SequenceOf(id))))
                {
                    garbage.Add(id);
                }
            }
        }
    }

    /// <summary>How many sessions have ended since the volume was created.</summary>
    public long SessionsEnded
    {
        get
        {
            lock (_lock)
            {
                return _state.SessionsOpened - (long)_state.Sessions.Count;
            }
        }
    }

    /// <summary>Which sessions live, for storage servers.</summary>
    public LiveSessionsRequest LiveSessions()
    {
        lock (_lock)
        {
            return new LiveSessionsRequest(Id, _state.SessionsOpened, [.. _state.Sessions.Keys.Select(id => (uint)id)]);
        }
    }

    /// <summary>Waits until no snapshot is being made in the background.</summary>
    public Task CompactionAsync()
    {
        lock (_lock)
        {
            return _store.CompactionAsync();
        }
    }

    /// <summary>Values to watch.</summary>
    public (string Name, string Labels, double Value)[] Metrics()
    {
        var labels = $"volume=\"{Name}\"";
        lock (_lock)
        {
            return
            [
                ("ephemeralfs_metadata_inodes", labels, _state.UsedInodes),
                ("ephemeralfs_metadata_dentries", labels, _state.Dentries),
                ("ephemeralfs_metadata_blocks", labels, _state.Blocks.Count),
                ("ephemeralfs_metadata_blocks_of_others", labels, _state.Blocks.CountOfOthers),
                ("ephemeralfs_metadata_blocks_to_delete", labels, _state.Blocks.DeleteQueues.Values.Sum(q => (double)q.Count)),
                ("ephemeralfs_metadata_used_bytes", labels, _state.UsedBytes),
                ("ephemeralfs_metadata_granted_bytes", labels, _state.GrantedBytes),
                ("ephemeralfs_metadata_limit_bytes", labels, _state.LimitBytes),
                ("ephemeralfs_metadata_sessions", labels, _state.Sessions.Count),
                ("ephemeralfs_metadata_locks", labels, _state.Locks.HeldCount),
                ("ephemeralfs_metadata_lock_waiters", labels, _state.Locks.WaiterCount),
                ("ephemeralfs_metadata_recalls_total", labels, _recalls.Issued),
                ("ephemeralfs_metadata_recalls_pending", labels, _recalls.Count),
                ("ephemeralfs_metadata_journal_bytes_total", labels, _store.JournalBytes),
            ];
        }
    }
}
