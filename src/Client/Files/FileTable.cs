using EphemeralFs.Client.State;

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

    /// <summary>Takes over the handles and unflushed bytes of a predecessor.</summary>
    public FileTable(NodeMemory memory, SegmentArena arena)
    {
        _memory = memory;
        _arena = arena;
        _free.TakeOver(memory.Header.HandlesEnd, index =>
        {
            ref var record = ref memory.Handles[index];
            if (record.Handle == 0)
            {
                return true;
            }

            var flags = (HandleFlags)record.Flags;
            if ((flags & HandleFlags.Directory) == 0)
            {
                Count(GetOrAdd(record.Ino), flags, 1);
            }

            return false;
        });

        foreach (var index in arena.Inherited.OrderBy(i => arena.Header(i).Order))
        {
            GetOrAdd(arena.Header(index).Ino).Attach(index);
        }
    }

    /// <summary>Open handles.</summary>
    public int HandleCount
    {
        get
        {
            lock (_lock)
            {
                return _free.InUse;
            }
        }
    }

    /// <summary>Reserves a handle number; false when the table is full. <see cref="Publish"/> or <see cref="Cancel"/> follows.</summary>
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

    /// <summary>The server knows the handle: it is open.</summary>
    public FileNode? Publish(ulong handle, ulong ino, ulong openId, HandleFlags flags)
    {
        ref var record = ref _memory.Handles[(int)(handle & ((1 << IndexBits) - 1))];
        record.Ino = ino;
        record.OpenId = openId;
        record.Flags = (ulong)flags;
        Volatile.Write(ref record.Handle, handle);
        if ((flags & HandleFlags.Directory) != 0)
        {
            return null;
        }

        lock (_lock)
        {
            var file = GetOrAdd(ino);
            Count(file, flags, 1);
            return file;
        }
    }

    /// <summary>The open failed.</summary>
    public void Cancel(ulong handle)
    {
        lock (_lock)
        {
            _free.Return((int)(handle & ((1 << IndexBits) - 1)));
        }
    }

    /// <summary>What a handle is; false when the kernel made it up.</summary>
    public bool TryGet(ulong handle, out HandleRecord record)
    {
        record = _memory.Handles[(int)(handle & ((1 << IndexBits) - 1))];
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

    /// <summary>The handle is closed; forgets the file with its last one.</summary>
    public void Remove(ulong handle)
    {
        var index = (int)(handle & ((1 << IndexBits) - 1));
        lock (_lock)
        {
            ref var record = ref _memory.Handles[index];
            if (record.Handle != handle)
            {
                return;
            }

            var flags = (HandleFlags)record.Flags;
            if ((flags & HandleFlags.Directory) == 0 && _files.TryGetValue(record.Ino, out var file))
            {
                Count(file, flags, -1);
                if (file.Handles == 0 && file.SegmentCount == 0)
                {
                    _files.Remove(record.Ino);
                }
            }

            Volatile.Write(ref record.Handle, 0);
            _free.Return(index);
        }
    }

    /// <summary>The handles of a file.</summary>
    public IEnumerable<HandleRecord> HandlesOf(ulong ino)
    {
        for (var index = 0; index < Volatile.Read(ref _memory.Header.HandlesEnd); index++)
        {
            var record = _memory.Handles[index];
            if (record.Handle != 0 && record.Ino == ino)
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

    private FileNode GetOrAdd(ulong ino)
    {
        if (!_files.TryGetValue(ino, out var file))
        {
            _files[ino] = file = new FileNode(ino, _arena);
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
}
