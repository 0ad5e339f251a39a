using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>A write of a program.</summary>
/// <param name="Node">Where it runs.</param>
/// <param name="Ino">The file.</param>
/// <param name="Offset">First byte.</param>
/// <param name="Value">Eight bytes that no other write has.</param>
/// <param name="Begin">When it began.</param>
internal sealed record ProgramWrite(SimulatedNode Node, ulong Ino, int Offset, ulong Value, long Begin)
{
    /// <summary>When it was answered; never, when it may have been lost.</summary>
    public long End { get; set; } = long.MaxValue;

    public bool IsSynced { get; set; }
}

/// <summary>
/// Judges what programs see. What names and attributes were, and by whose call they changed, it learns from the server at the moment of each change; a call
/// that began after a change was answered must not see what was before. Bytes it judges by the programs' calls alone.
/// </summary>
internal sealed class Oracle(LeaseModel model)
{
    private readonly Dictionary<(ulong Parent, string Name), List<Change<ulong>>> _names = [];
    private readonly Dictionary<ulong, List<Change<SeenAttributes>>> _attributes = [];
    private readonly HashSet<(ulong Session, uint Slot, uint Sequence)> _applied = [];
    private readonly Dictionary<(ulong Session, uint Slot, uint Sequence), ProgramCall> _calls = [];
    private readonly Dictionary<(ulong Session, uint Slot, uint Sequence), byte[]> _replies = [];
    private readonly Dictionary<(ulong Parent, string Name), (ulong Ino, SimulatedNode Node)> _deferred = [];
    private readonly List<ProgramWrite> _writes = [];
    private readonly Dictionary<ulong, (Program Program, SimulatedNode Node)> _locks = [];
    private long _now;
    private ulong _lastValue;

    /// <summary>Observations judged.</summary>
    public long Judged { get; private set; }

    /// <summary>Files that programs have made and the server has not heard of.</summary>
    public int Deferred => _deferred.Count;

    /// <summary>A moment later than all before.</summary>
    public long Tick() => ++_now;

    public ulong NewValue() => ++_lastValue;

    /// <summary>A request of a slot goes out: whose call it is for is known only now.</summary>
    public void Sent(in FrameHeader header, ProgramCall? call)
    {
        if (call is not null)
        {
            _calls[(header.Session, header.Slot, header.Sequence)] = call;
        }
    }

    /// <summary>What was answered OK is answered the same whenever it is asked again; an open is told what is true then.</summary>
    public void Answered(in FrameHeader header, byte[] head)
    {
        var key = (header.Session, header.Slot, header.Sequence);
        var isOk = header.Status == (int)Status.OK;
        if (_replies.TryGetValue(key, out var before))
        {
            var isSessionGone = (Status)header.Status is Status.UnknownSession or Status.StaleEpoch or Status.Unavailable;
            var isOpen = header.Opcode is Opcode.Open or Opcode.Create;
            Require(isSessionGone || (isOk && (isOpen || before.AsSpan().SequenceEqual(head))), $"{header.Opcode} {key} was answered OK and is now answered {(Status)header.Status} or otherwise");
        }
        else if (isOk)
        {
            // A lock that was waited for is granted by somebody else's operation.
            Require(_applied.Contains(key) || header.Opcode == Opcode.SetLock, $"{header.Opcode} {key} is answered OK and was not applied");
            _replies.Add(key, head);
        }
    }

    /// <summary>The server has applied and journaled an operation.</summary>
    public void Applied(FrameHeader header, VolumeState state)
    {
        var key = (header.Session, header.Slot, header.Sequence);
        Require(_applied.Add(key), $"{header.Opcode} {key} is applied twice");
        Require(state.Sessions.ContainsKey(header.Session), $"{header.Opcode} {key} is applied for a session that has ended");
        var call = _calls.GetValueOrDefault(key);
        call?.Applied.Add(header.Opcode);
        if (header.Opcode is Opcode.Create or Opcode.CreateAndCommit or Opcode.Mknod or Opcode.Unlink or Opcode.Rmdir or Opcode.Rename or Opcode.Link or Opcode.SetAttr)
        {
            Compare(state, call);
        }

        CheckQuota(state);
    }

    /// <summary>A call was answered OK, so its operation was applied, once.</summary>
    public void MustHaveApplied(ProgramCall call, Opcode opcode) =>
        Require(call.Applied.Count(applied => applied == opcode) == 1, $"{call.Text} is OK, and {opcode} was applied {call.Applied.Count(applied => applied == opcode)} times");

    /// <summary>A file was made: the server has heard of it, or the node's memory says that it is going to.</summary>
    public void Made(ProgramCall call, ulong parent, string name, in FuseAttr attr)
    {
        if (call.Applied.Exists(applied => applied is Opcode.Create or Opcode.CreateAndCommit))
        {
            return;
        }

        var isDeferred = false;
        foreach (ref readonly var record in call.Node.Memory.Creates)
        {
            isDeferred |= record.Ino == attr.Ino;
        }

        Require(isDeferred, $"{call.Text} is OK, and nobody has heard of inode {attr.Ino}");
        if (!call.Node.IsFenced)
        {
            var now = Tick();
            Add(_names, (parent, name), attr.Ino, now, call);
            Add(_attributes, attr.Ino, new SeenAttributes(attr.Mode, attr.Nlink, 0), now, call);
            var ctimeNs = ((long)attr.Ctime * 1_000_000_000) + attr.CtimeNsec;
            if (_attributes[parent][^1].Value is var directory && directory.CtimeNs < ctimeNs)
            {
                Add(_attributes, parent, directory with { CtimeNs = ctimeNs }, now, call);
            }

            _deferred.Add((parent, name), (attr.Ino, call.Node));
        }
    }

    /// <summary>Learns what has changed since the last time, and by whose call.</summary>
    public void Compare(VolumeState state, ProgramCall? call)
    {
        var now = Tick();
        HashSet<(ulong, string)> there = [];
        HashSet<ulong> inodes = [];
        foreach (var inode in state.Inodes.Sorted())
        {
            inodes.Add(inode.Ino);
            var isBehind = _attributes.TryGetValue(inode.Ino, out var known) && known[^1].Value.CtimeNs > inode.Attributes.CtimeNs
                && _deferred.Keys.Any(key => key.Parent == inode.Ino);
            if (!isBehind)
            {
                Add(_attributes, inode.Ino, new SeenAttributes(inode.Attributes.Mode, inode.Attributes.Nlink, inode.Attributes.IsDirectory ? inode.Attributes.CtimeNs : 0), now, call);
            }

            if (inode.Content is DirectoryContent names)
            {
                for (var position = 0; names.TryRead(ref position, out var item);)
                {
                    var key = (inode.Ino, System.Text.Encoding.UTF8.GetString(item.Name.Span));
                    there.Add(key);
                    Add(_names, key, item.Ino, now, call);
                    _deferred.Remove(key);
                }
            }
        }

        foreach (var key in _names.Keys.Where(key => !there.Contains(key) && !_deferred.ContainsKey(key)).ToArray())
        {
            Add(_names, key, 0UL, now, call);
        }
    }

    public void SawName(ProgramCall call, ulong parent, string name, ulong ino)
    {
        Judged++;
        if (_names.TryGetValue((parent, name), out var history) ? !IsCurrent(history, ino, call) : ino != 0)
        {
            Require(false, $"{call.Text} (began {call.Begin}) saw {parent}/{name} as inode {ino}, which it was not: {Text(history)}");
        }
    }

    public void SawAttributes(ProgramCall call, in FuseAttr attr)
    {
        Judged++;
        var isDirectory = (attr.Mode & 0xF000) == 0x4000;
        var seen = new SeenAttributes(attr.Mode, attr.Nlink, isDirectory ? ((long)attr.Ctime * 1_000_000_000) + attr.CtimeNsec : 0);

        // What was removed the node that removed it remembers; nobody else can look at it.
        if (attr.Nlink > 0 && (!_attributes.TryGetValue(attr.Ino, out var history) || !IsCurrent(history, seen, call)))
        {
            Require(false, $"{call.Text} (began {call.Begin}) saw inode {attr.Ino} as {seen}, which it was not: {Text(_attributes.GetValueOrDefault(attr.Ino))}");
        }
    }

    public ProgramWrite BeginWrite(ProgramCall call, OpenFile file, int offset, ulong value)
    {
        var write = new ProgramWrite(call.Node, file.Ino, offset, value, Tick());
        _writes.Add(write);
        return write;
    }

    public void EndWrite(ProgramWrite write) => write.End = write.Node.IsFenced ? long.MaxValue : Tick();

    public ProgramWrite[] WritesOf(SimulatedNode node, ulong ino) => [.. _writes.Where(w => w.Node == node && w.Ino == ino && w.End != long.MaxValue)];

    public static void Synced(ProgramWrite[] writes) => Array.ForEach(writes, w => w.IsSynced = true);

    public void Read(ProgramCall call, ulong ino, int offset, ulong value)
    {
        // Until a node that was given up acts on it, its own programs may read old pages.
        if (call.Node.IsFenced)
        {
            return;
        }

        Judged++;
        var end = 0L;
        if (value != 0)
        {
            var write = _writes.Find(w => w.Ino == ino && w.Offset == offset && w.Value == value);
            Require(write is not null, $"{call.Text} read {value:x} at {offset}, which nobody wrote there");
            end = write!.End;
        }

        var newer = _writes.Find(w => w.Ino == ino && w.Offset == offset && w.Begin > end && w.End < call.Begin);
        Require(newer is null, $"{call.Text} (began {call.Begin}) read {value} at {offset}, and {newer} was answered before");
    }

    public void Locked(ProgramCall call, ulong ino, Program program)
    {
        Judged++;
        var isHeld = _locks.TryGetValue(ino, out var holder) && holder.Program != program && !holder.Node.IsFenced;
        Require(!isHeld || call.Node.IsFenced, $"{call.Text} has a lock that {holder.Node?.Name} has");
        _locks[ino] = (program, call.Node);
    }

    public void Unlocked(ulong ino, Program program)
    {
        if (_locks.TryGetValue(ino, out var holder) && holder.Program == program)
        {
            _locks.Remove(ino);
        }
    }

    /// <summary>The server has given a node up: what it had not committed is lost.</summary>
    public void Fenced(SimulatedNode node)
    {
        foreach (var write in _writes.Where(w => w.Node == node && !w.IsSynced))
        {
            write.End = long.MaxValue;
        }

        foreach (var (key, _) in _deferred.Where(deferred => deferred.Value.Node == node).ToArray())
        {
            _deferred.Remove(key);
            Add(_names, key, 0UL, Tick(), null);
        }
    }

    /// <summary>What is used and granted fits, and no node has more than it was granted.</summary>
    public void CheckQuota(VolumeState state)
    {
        var granted = 0UL;
        foreach (var session in state.Sessions.Values)
        {
            granted += session.GrantBytes;
        }

        Require(granted == state.GrantedBytes, "the sessions' grants are not the sum of grants");
        Require(state.UsedBytes + state.GrantedBytes <= state.LimitBytes, "more is used and granted than the quota");
        foreach (var node in model.Nodes)
        {
            if (!node.IsFenced && state.Sessions.TryGetValue(node.Session, out var session))
            {
                Require(node.UnusedGrantBytes <= (long)session.GrantBytes, $"{node.Name} has {node.UnusedGrantBytes} bytes of grant, the server gave it {session.GrantBytes}");
            }
        }
    }

    public static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new ViolationException(otherwise);
        }
    }

    /// <summary>Whether a value was there at a moment since the call began, or no change of it was answered by then.</summary>
    private static bool IsCurrent<T>(List<Change<T>> history, T value, ProgramCall call)
        where T : IEquatable<T>
    {
        for (var i = history.Count - 1; i >= 0; i--)
        {
            if (history[i].Value.Equals(value))
            {
                return true;
            }

            if (history[i].Call is { } by ? by.End < call.Begin : history[i].At < call.Begin && history[i].IsBase)
            {
                return false;
            }
        }

        return value.Equals(default!);
    }

    private static void Add<TKey, T>(Dictionary<TKey, List<Change<T>>> histories, TKey key, T value, long now, ProgramCall? call)
        where TKey : notnull
        where T : IEquatable<T>
    {
        if (!histories.TryGetValue(key, out var history))
        {
            histories.Add(key, history = []);
        }

        if (history.Count == 0 ? !value.Equals(default!) : !history[^1].Value.Equals(value))
        {
            history.Add(new Change<T>(value, now, call, IsBase: call is null && now == 1));
        }
    }

    private static string Text<T>(List<Change<T>>? history) =>
        history is null ? "never there" : string.Join("; ", history.TakeLast(6).Select(c => $"{c.Value} at {c.At} by {c.Call?.Text ?? "nobody"} answered {(c.Call?.End is { } end and < long.MaxValue ? end : "not yet")}"));

    private readonly record struct Change<T>(T Value, long At, ProgramCall? Call, bool IsBase);

    private readonly record struct SeenAttributes(uint Mode, uint Nlink, long CtimeNs);
}
