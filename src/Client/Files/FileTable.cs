using EphemeralFs.Client.Leases;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>The open files and handles of a mount. Handles live in shared memory; files are rebuilt from them.</summary>
public sealed class FileTable
{
    private const int IndexBits = 16;

    private readonly NodeMemory _memory;
    private readonly SegmentArena _arena;
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, FileNode> _files = [];
    private readonly FreePlaces _free = new(NodeMemory.HandleCount);
    private readonly Dictionary<ulong, ParkedHandle> _parked = [];
    private int _open;
    private ulong _life;

    /// <summary>Takes over the handles and unflushed bytes of a predecessor.</summary>
    public FileTable(NodeMemory memory, SegmentArena arena)
    {
        _memory = memory;
        _arena = arena;
        _life = memory.Header.Life;
        _free.TakeOver(memory.Header.HandlesEnd, index =>
        {
            ref var record = ref memory.Handles[index];
            if (record.Handle == 0)
            {
                return true;
            }

            var flags = (HandleFlags)record.Flags;
            if ((flags & (HandleFlags.Parked | HandleFlags.Closing)) != 0)
            {
                record.Flags = (ulong)(flags | HandleFlags.Closing);
                ClosedByPredecessor.Add(record.Handle);
                return false;
            }

            _open++;
            if ((flags & (HandleFlags.Directory | HandleFlags.Ended)) == 0)
            {
                var file = GetOrAdd(record.Ino);
                file.IsInherited = true;
                Count(file, flags, 1);
            }

            return false;
        });

        foreach (var index in arena.Inherited.OrderBy(i => arena.Header(i).Order))
        {
            GetOrAdd(arena.Header(index).Ino).Attach(index);
        }
    }

    /// <summary>What the server has called back.</summary>
    public DataRecalls Recalls { get; } = new();

    /// <summary>Handles that the kernel has open.</summary>
    public int HandleCount => Volatile.Read(ref _open);

    /// <summary>Handles that the kernel had closed and the server perhaps did not know of it.</summary>
    public List<ulong> ClosedByPredecessor { get; } = [];

    /// <summary>Closed handles that are kept.</summary>
    public int ParkedCount
    {
        get
        {
            lock (_lock)
            {
                return _parked.Count;
            }
        }
    }

    /// <summary>Reserves a handle number; false when the table is full. <see cref="TryPublish"/> or <see cref="Cancel"/> follows.</summary>
    public bool TryReserve(out ulong handle)
    {
        lock (_lock)
        {
            if (!_free.TryTake(out var index))
            {
                handle = 0;
                return false;
            }

            _memory.Header.HandlesEnd = _free.End;
            handle = (++_memory.Header.NextSerial << IndexBits) | (uint)index;
            return true;
        }
    }

    /// <summary>The server is going to be told of a reserved handle that no program has asked for yet. A successor closes it.</summary>
    public void Announce(ulong handle, ulong openId)
    {
        lock (_lock)
        {
            ref var record = ref RecordOf(handle);
            record.Ino = Ino.None;
            record.OpenId = openId;
            record.Unique = 0;
            record.Flags = (ulong)HandleFlags.Closing;
            Volatile.Write(ref record.Handle, handle);
        }
    }

    /// <summary>The server knows the handle: it is open. False when the session under which it was opened has ended meanwhile; <see cref="Cancel"/> follows.</summary>
    public bool TryPublish(ulong handle, ulong ino, ulong openId, HandleFlags flags, ulong life, out FileNode? file)
    {
        lock (_lock)
        {
            file = null;
            if (life != _life)
            {
                return false;
            }

            ref var record = ref RecordOf(handle);
            record.Ino = ino;
            record.OpenId = openId;
            record.Flags = (ulong)flags;
            record.Unique = openId;
            Volatile.Write(ref record.Handle, handle);
            _open++;
            if ((flags & HandleFlags.Directory) == 0)
            {
                file = GetOrAdd(ino);
                Count(file, flags, 1);
            }

            return true;
        }
    }

    /// <summary>
    /// The session has ended: none of its handles works any more, those that the kernel had closed are gone, and its files are returned. What is opened from now
    /// on belongs to the next one.
    /// </summary>
    public FileNode[] EndSession()
    {
        lock (_lock)
        {
            foreach (ref var record in _memory.Handles[.._free.End])
            {
                if (((HandleFlags)record.Flags & (HandleFlags.Parked | HandleFlags.Closing)) == 0)
                {
                    record.Flags |= (ulong)HandleFlags.Ended;
                }
                else if (record.Handle != 0)
                {
                    _free.Return(IndexOf(record.Handle));
                    Volatile.Write(ref record.Handle, 0);
                }
            }

            _parked.Clear();
            _life = _memory.Header.Life + 1;
            FileNode[] ended = [.. _files.Values];
            _files.Clear();
            return ended;
        }
    }

    /// <summary>Whether the session under which a handle was opened has ended.</summary>
    public bool IsEnded(ulong handle) => TryGet(handle, out var record) && ((HandleFlags)record.Flags & HandleFlags.Ended) != 0;

    /// <summary>The handle that a predecessor opened for a kernel request that it did not answer; 0 if there is none.</summary>
    public ulong FindUnanswered(ulong unique)
    {
        foreach (ref readonly var record in _memory.Handles[..Volatile.Read(ref _memory.Header.HandlesEnd)])
        {
            if (record.Handle != 0 && record.Unique == unique && ((HandleFlags)record.Flags & (HandleFlags.Parked | HandleFlags.Closing)) == 0)
            {
                return record.Handle;
            }
        }

        return 0;
    }

    /// <summary>The open failed.</summary>
    public void Cancel(ulong handle)
    {
        lock (_lock)
        {
            _free.Return(IndexOf(handle));
        }
    }

    /// <summary>What a handle is; false when the kernel made it up.</summary>
    public bool TryGet(ulong handle, out HandleRecord record)
    {
        record = RecordOf(handle);
        return handle != 0 && record.Handle == handle;
    }

    /// <summary>The open file, or null.</summary>
    public FileNode? Find(ulong ino)
    {
        lock (_lock)
        {
            return _files.GetValueOrDefault(ino);
        }
    }

    /// <summary>Whether closing this handle closes the file on this node.</summary>
    public bool IsLast(FileNode file)
    {
        lock (_lock)
        {
            return file.Handles == 1;
        }
    }

    /// <summary>The server knows the handle no more: its place is free. Forgets the file with its last one.</summary>
    public void Remove(ulong handle)
    {
        lock (_lock)
        {
            ref var record = ref RecordOf(handle);
            if (record.Handle != handle)
            {
                return;
            }

            Leave(ref record);
            Volatile.Write(ref record.Handle, 0);
            _free.Return(IndexOf(handle));
        }
    }

    /// <summary>The kernel has closed the handle, or a parked one is not kept any longer; <see cref="Remove"/> follows when the server knows.</summary>
    public void Retire(ulong handle)
    {
        lock (_lock)
        {
            ref var record = ref RecordOf(handle);
            if (record.Handle == handle)
            {
                Leave(ref record);
            }
        }
    }

    /// <summary>The kernel has closed the handle, which is kept if it is the last one of what was only read.</summary>
    public bool TryPark(ulong handle, long nowMs)
    {
        lock (_lock)
        {
            ref var record = ref RecordOf(handle);
            var flags = (HandleFlags)record.Flags;
            var file = _files.GetValueOrDefault(record.Ino);
            if ((flags & HandleFlags.Ended) != 0)
            {
                return false;
            }

            var isWorthIt = (flags & HandleFlags.Directory) != 0
                || ((flags & HandleFlags.Write) == 0
                    && file is { Handles: 1, SegmentCount: 0, Mode: DataMode.Cached, Nlink: > 0, IsRegistered: true, IsInherited: false });
            if (!isWorthIt || _parked.ContainsKey(record.Ino))
            {
                return false;
            }

            Leave(ref record);
            record.Flags = (ulong)(flags | HandleFlags.Parked);
            _parked.Add(record.Ino, new ParkedHandle(handle, (flags & HandleFlags.Directory) != 0 ? null : file, nowMs));
            return true;
        }
    }

    /// <summary>An announced handle is open at the server: it is kept for the program that is expected. False when the file is open here, or kept, or has been called back or changed.</summary>
    /// <param name="handle">The handle.</param>
    /// <param name="life">In which it was opened.</param>
    /// <param name="layout">What the server answered.</param>
    /// <param name="asked">When the server was asked, of <see cref="Recalls"/>.</param>
    /// <param name="question">The same of the attributes.</param>
    /// <param name="attributes">Knows whether the question is overtaken.</param>
    /// <param name="pagesVersion">What the kernel's pages of the file agree with, 0 when that is not known.</param>
    /// <param name="nowMs">Milliseconds of the monotonic clock.</param>
    public bool TryParkAhead(ulong handle, ulong life, in LayoutReply layout, long asked, in AttributeCache.Question question, AttributeCache attributes, ulong pagesVersion, long nowMs)
    {
        var ino = layout.Attributes.Ino;
        lock (_lock)
        {
            ref var record = ref RecordOf(handle);
            if (record.Handle != handle || life != _life || _files.ContainsKey(ino) || _parked.ContainsKey(ino)
                || Recalls.IsOvertaken(asked, ino) || attributes.IsOvertaken(question, ino))
            {
                return false;
            }

            var version = layout.Attributes.DataVersion;
            var file = new FileNode(ino, life, _arena)
            {
                IsRegistered = true,
                PagesVersion = pagesVersion == version ? version : 0,
                VersionAhead = version,
            };
            file.Layout.Learn(0, layout);
            file.Learn(layout.Attributes);
            record.Ino = ino;
            record.Flags = (ulong)HandleFlags.Parked;
            _parked.Add(ino, new ParkedHandle(handle, file, nowMs));
            return true;
        }
    }

    /// <summary>Opens a parked handle again, for a request that began in this life of the session.</summary>
    public bool TryUnpark(ulong ino, HandleFlags flags, ulong unique, ulong life, out ulong handle, out FileNode? file)
    {
        lock (_lock)
        {
            if (life != _life || !_parked.TryGetValue(ino, out var parked) || parked.File is { Mode: not DataMode.Cached } || _files.ContainsKey(ino))
            {
                (handle, file) = (0, null);
                return false;
            }

            _parked.Remove(ino);
            (handle, file) = (parked.Handle, parked.File);
            ref var record = ref RecordOf(handle);
            record.Unique = unique;
            record.Flags = (ulong)flags;
            _open++;
            if (file is not null)
            {
                _files.Add(ino, file);
                Count(file, flags, 1);
            }

            return true;
        }
    }

    /// <summary>Takes the parked handle of an inode, to be retired.</summary>
    public bool TakeParked(ulong ino, out ulong handle, out FileNode? file)
    {
        lock (_lock)
        {
            var isParked = _parked.Remove(ino, out var parked);
            (handle, file) = (parked.Handle, parked.File);
            return isParked;
        }
    }

    /// <summary>Inodes whose handles were parked at this time or before, milliseconds of the monotonic clock.</summary>
    public ulong[] ParkedBefore(long timeMs)
    {
        lock (_lock)
        {
            return [.. _parked.Where(parked => parked.Value.SinceMs <= timeMs).Select(parked => parked.Key)];
        }
    }

    /// <summary>The inodes whose handles have been parked longest.</summary>
    public ulong[] OldestParked(int count)
    {
        lock (_lock)
        {
            return [.. _parked.OrderBy(parked => parked.Value.SinceMs).Take(count).Select(parked => parked.Key)];
        }
    }

    /// <summary>The handles of a file that work.</summary>
    public IEnumerable<HandleRecord> HandlesOf(ulong ino)
    {
        for (var index = 0; index < Volatile.Read(ref _memory.Header.HandlesEnd); index++)
        {
            var record = _memory.Handles[index];
            if (record.Handle != 0 && record.Ino == ino
                && ((HandleFlags)record.Flags & (HandleFlags.Ended | HandleFlags.Parked | HandleFlags.Closing)) == 0)
            {
                yield return record;
            }
        }
    }

    /// <summary>All open files.</summary>
    public FileNode[] Snapshot()
    {
        lock (_lock)
        {
            return [.. _files.Values];
        }
    }

    private static int IndexOf(ulong handle) => (int)(handle & ((1 << IndexBits) - 1));

    private ref HandleRecord RecordOf(ulong handle) => ref _memory.Handles[IndexOf(handle)];

    /// <summary>The kernel has the handle open no more; under the lock.</summary>
    private void Leave(ref HandleRecord record)
    {
        var flags = (HandleFlags)record.Flags;
        record.Flags = (ulong)(flags | HandleFlags.Closing);
        if ((flags & (HandleFlags.Parked | HandleFlags.Closing)) != 0)
        {
            return;
        }

        _open--;
        if ((flags & (HandleFlags.Directory | HandleFlags.Ended)) == 0 && _files.TryGetValue(record.Ino, out var file))
        {
            Count(file, flags, -1);
            if (file.Handles == 0 && file.SegmentCount == 0)
            {
                _files.Remove(record.Ino);
            }
        }
    }

    private FileNode GetOrAdd(ulong ino)
    {
        if (!_files.TryGetValue(ino, out var file))
        {
            _files[ino] = file = new FileNode(ino, _life, _arena);
        }

        return file;
    }

    private static void Count(FileNode file, HandleFlags flags, int change)
    {
        file.Handles += change;
        if ((flags & HandleFlags.Write) != 0)
        {
            file.Writers += change;
        }
    }

    private readonly record struct ParkedHandle(ulong Handle, FileNode? File, long SinceMs);
}
