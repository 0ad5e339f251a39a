using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>A file that is open on this node: what is known of its committed bytes, and what is not committed yet.</summary>
/// <remarks>
/// <see cref="Lock"/> guards every field and is never held over an await. <see cref="Gate"/> is held by whoever changes committed
/// state (flush, truncate, clone …), so that these come one after the other; take it before the lock.
/// </remarks>
public sealed class FileNode(ulong ino, ulong life, SegmentArena arena)
{
    /// <summary>Inode number.</summary>
    public ulong Ino { get; } = ino;

    /// <summary>The life of the session (<see cref="Session.MetadataSession.Life"/>) in which it was opened.</summary>
    public ulong Life { get; } = life;

    /// <summary>Guards the fields.</summary>
    public Lock Lock { get; } = new();

    /// <summary>Held while committed state changes.</summary>
    public SemaphoreSlim Gate { get; } = new(1);

    /// <summary>Open handles on this node, and those of them that may write.</summary>
    public int Handles, Writers;

    /// <summary>How the server lets us treat the data.</summary>
    public DataMode Mode;

    /// <summary>Whether the server knows of our handles: false after a daemon restart until they were announced again.</summary>
    public bool IsRegistered;

    /// <summary>Whether a predecessor opened it: locks that it took through handles are not known here.</summary>
    public bool IsInherited;

    /// <summary>Whether the server was told that nobody here writes (<see cref="CommitFlags.Quiet"/>): it is told before somebody does.</summary>
    public bool IsQuiet;

    /// <summary>Names of the inode as last heard; 0 = nobody will read it after the last close.</summary>
    public uint Nlink = 1;

    /// <summary>The attributes that belong to the newest version of the bytes of which an answer has told; of version 0 when none has.</summary>
    public InodeAttributes Committed { get; private set; }

    /// <summary>Committed size as last heard.</summary>
    public ulong CommittedSize => Committed.Size;

    /// <summary>The version of the file's bytes that the kernel's pages agree with (<see cref="InodeAttributes.DataVersion"/>); 0 when that is not known.</summary>
    public ulong PagesVersion;

    /// <summary>The version of the bytes that <see cref="Layout"/> tells of, while no program has opened the file that was opened ahead; else 0.</summary>
    public ulong VersionAhead;

    /// <summary>Where committed bytes are.</summary>
    public FileLayout Layout { get; } = new();

    /// <summary>Unflushed segments by window, oldest first.</summary>
    public SortedDictionary<ulong, List<int>> Segments { get; } = [];

    /// <summary>Errors of lost bytes by the handles that were not told of them yet; null while there are none.</summary>
    private Dictionary<ulong, Errno>? _untold;

    /// <summary>Whether the session under which it was opened has ended: nothing of it is written any more, by nobody.</summary>
    public bool IsEnded { get; private set; }

    /// <summary>Whether a background flush runs.</summary>
    public bool IsFlushing;

    /// <summary>Whether another one follows it, because somebody waits for what it has not taken along.</summary>
    public bool IsFlushedAgain;

    /// <summary>Where the last sequential read ended, how far was prefetched, and how far the next prefetch goes.</summary>
    public ulong ReadEnd, PrefetchedEnd, PrefetchWindow;

    /// <summary>Number of unflushed segments; under the lock.</summary>
    public int SegmentCount { get; private set; }

    /// <summary>Time of the newest unflushed write, nanoseconds since the epoch, 0 if none; under the lock.</summary>
    public long DirtyTimeNs { get; private set; }

    /// <summary>One past the last unflushed byte, 0 if none; under the lock.</summary>
    public ulong DirtyEnd { get; private set; }

    /// <summary>The size that a program sees; under the lock.</summary>
    public ulong Size => Math.Max(CommittedSize, DirtyEnd);

    /// <summary>Whether an unflushed write clears set-user-ID and set-group-ID; under the lock.</summary>
    public bool KillsSuidgid { get; private set; }

    /// <summary>Quota bytes reserved by unflushed segments; under the lock.</summary>
    public ulong ReservedBytes
    {
        get
        {
            ulong sum = 0;
            foreach (var (_, list) in Segments)
            {
                foreach (var index in list)
                {
                    sum += (ulong)System.Numerics.BitOperations.PopCount(arena.Header(index).ReservedPages) * Limits.PageSizeBytes;
                }
            }

            return sum;
        }
    }

    /// <summary>Adds a segment on top of its window; under the lock.</summary>
    public void Attach(int index)
    {
        ref var header = ref arena.Header(index);
        if (!Segments.TryGetValue(header.Window, out var list))
        {
            Segments[header.Window] = list = new List<int>(2);
        }

        list.Add(index);
        SegmentCount++;
        Touched(index);
    }

    /// <summary>A segment got bytes; under the lock.</summary>
    public void Touched(int index)
    {
        ref var header = ref arena.Header(index);
        DirtyEnd = Math.Max(DirtyEnd, (header.Window * NodeMemory.SegmentBytes) + header.DirtyEnd);
        DirtyTimeNs = Math.Max(DirtyTimeNs, header.TimeNs);
        KillsSuidgid |= header.KillSuidgid != 0;
    }

    /// <summary>Frees segments; under the lock.</summary>
    public void Detach(IEnumerable<int> indices)
    {
        foreach (var index in indices)
        {
            var window = arena.Header(index).Window;
            var list = Segments[window];
            list.Remove(index);
            if (list.Count == 0)
            {
                Segments.Remove(window);
            }

            SegmentCount--;
            arena.Free(index);
        }

        DirtyEnd = 0;
        DirtyTimeNs = 0;
        KillsSuidgid = false;
        foreach (var (_, list) in Segments)
        {
            list.ForEach(Touched);
        }
    }

    /// <summary>Bytes that segments hold and no newer segment has again; under the lock.</summary>
    public ulong BytesOf(IReadOnlyCollection<int> segments)
    {
        ulong bytes = 0;
        var missing = new RangeList();
        foreach (var window in segments.GroupBy(index => arena.Header(index).Window))
        {
            missing.Reset(0, NodeMemory.SegmentBytes);
            foreach (var index in window)
            {
                ref var header = ref arena.Header(index);
                for (var i = 0; i < header.RangeCount; i++)
                {
                    var (start, end) = header.Range(i);
                    missing.Subtract(start, end, ref bytes, static (ref sum, from, to) => sum += to - from);
                }
            }
        }

        return bytes;
    }

    /// <summary>The session has ended: gives up what is unflushed. Who works on the file meanwhile finds <see cref="IsEnded"/>.</summary>
    /// <param name="bytes">Told of how many bytes that were, before they are gone; not called for none.</param>
    internal void End(Action<ulong> bytes)
    {
        lock (Lock)
        {
            IsEnded = true;
            int[] segments = [.. Segments.Values.SelectMany(list => list)];
            if (BytesOf(segments) is > 0 and var lost)
            {
                bytes(lost);
            }

            Detach(segments);
        }
    }

    /// <summary>Takes attributes that the server sent after a change or an open; under the lock.</summary>
    /// <returns>False when they are older than what is known: answers are learned in any order.</returns>
    public bool Learn(in InodeAttributes attributes)
    {
        if (attributes.DataVersion < Committed.DataVersion)
        {
            return false;
        }

        Committed = attributes;
        Nlink = attributes.Nlink;
        return true;
    }

    /// <summary>As <see cref="Learn"/>, after a change of this node, which its kernel's pages have; under the lock.</summary>
    public void LearnOwn(in InodeAttributes attributes)
    {
        if (Learn(attributes))
        {
            PagesVersion = Mode == DataMode.Cached ? attributes.DataVersion : 0;
        }
    }

    /// <summary>The server's attributes with what is not committed yet; under the lock. An answer from before a commit does not undo that.</summary>
    public InodeAttributes Overlay(InodeAttributes attributes)
    {
        if (attributes.DataVersion < Committed.DataVersion)
        {
            attributes = Committed;
        }

        if (SegmentCount > 0)
        {
            attributes.Size = Math.Max(attributes.Size, DirtyEnd);
            attributes.MtimeNs = DirtyTimeNs; // also when somebody had set a time in the future
            attributes.CtimeNs = Math.Max(attributes.CtimeNs, DirtyTimeNs);
            attributes.AllocatedBytes += ReservedBytes;
            if (KillsSuidgid)
            {
                attributes.KillSuidgid(); // as the commit will
            }
        }

        return attributes;
    }

    /// <summary>Bytes were lost: every handle that is open now is to be told once, fsync(2).</summary>
    public void Fail(Errno error, IEnumerable<ulong> handles)
    {
        lock (Lock)
        {
            _untold ??= [];
            PagesVersion = 0;
            foreach (var handle in handles)
            {
                _untold.TryAdd(handle, error);
            }
        }
    }

    /// <summary>The first error that this handle was not told of, once.</summary>
    public Errno TakeWriteError(ulong handle)
    {
        lock (Lock)
        {
            return _untold is not null && _untold.Remove(handle, out var error) ? error : Errno.OK;
        }
    }
}
