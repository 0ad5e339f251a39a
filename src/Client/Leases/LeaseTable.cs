using System.Runtime.InteropServices;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Client.Leases;

/// <summary>
/// What the kernel was told of names and attributes with a time-out, and until when it may use it. Answers that a recall has overtaken are told without one.
/// </summary>
/// <remarks>
/// An answer and a recall of what is in it race on their way to the kernel: the answer must be written before the recall is worked on, or without a time-out.
/// So each answer is told within a <see cref="Telling"/>, which looks whether a recall has come since the question, and a recall waits for the tellings
/// that began before it. Nothing is held while a lock of the kernel is waited for.
/// </remarks>
public sealed class LeaseTable
{
    /// <summary>Most names, and most inodes, of a mount that the kernel may cache at a time; more are told without a time-out.</summary>
    private const int Max = 1 << 18;

    /// <summary>The kernel counts a time-out from when the program that asked has run again: so much later at most.</summary>
    private const int LateMs = 500;

    /// <summary>What is told again within this time is not noted again: it counts as told for so much longer.</summary>
    private const int RoundMs = 1000;

    /// <summary>So many refused renames are remembered, for so long: the kernel repeats one at once, and once only.</summary>
    private const int RefusedMax = 16;
    private const int RefusedMs = 1000;

    private const int SweepFrom = 4096;
    private const int SweepPauseMs = 1000;
    private const int Stripes = 1024;

    private readonly Lock _lock = new();
    private readonly long[] _recalled = new long[Stripes];
    private readonly Dictionary<(ulong Parent, ulong NameHash), long> _movingUntilMs = []; // of what is being renamed the move's number, which is later than any time
    private readonly Queue<((ulong Parent, ulong NameHash) Key, long UntilMs)> _moved = [];
    private readonly Dictionary<ulong, Told> _inodes = [];
    private readonly Dictionary<(ulong Parent, ulong NameHash), ToldName> _names = [];
    private readonly LeaseLog _log;
    private readonly Func<int> _leaseMs;
    private readonly TimeProvider _time;

    /// <summary>Until when the kernel may use something that a predecessor told and its log has lost.</summary>
    private readonly long _unknownUntilMs;
    private Sweep _inodesSweep = new(SweepFrom, 0);
    private Sweep _namesSweep = new(SweepFrom, 0);
    private long _sequence;
    private long _lastMove = 1L << 62;
    private readonly ((ulong Parent, ulong NameHash) Key, (ulong Parent, ulong NameHash) NewKey, long UntilMs)[] _refused = new ((ulong, ulong), (ulong, ulong), long)[RefusedMax];
    private int _nextRefused;
    private long _lastToldMs;
    private TellingGroup _group = new();

    /// <param name="log">Where what is told is kept for a successor; what a predecessor told is taken over.</param>
    /// <param name="leaseMs">For how many milliseconds the kernel may be told something: <see cref="Limits.KernelLeaseMs"/> at most.</param>
    /// <param name="time">The clock, the system's by default.</param>
    public LeaseTable(LeaseLog log, Func<int> leaseMs, TimeProvider? time = null)
    {
        _log = log;
        _leaseMs = leaseMs;
        _time = time ?? TimeProvider.System;
        _unknownUntilMs = log.LostUntilMs;
        foreach (var (untilMs, number, name) in log.Read())
        {
            if (name.Length == 0)
            {
                _inodes[number] = new Told(untilMs, _time.NowMs());
            }
            else
            {
                _names[(number, NameHash.Wide(name))] = new ToldName(untilMs, name, Ino.None);
            }
        }
    }

    /// <summary>Recalls of names and attributes so far.</summary>
    public long Recalls => Volatile.Read(ref _sequence);

    /// <summary>Names and inodes that the kernel may cache now, with some that have expired.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _inodes.Count + _names.Count;
            }
        }
    }

    /// <summary>A question goes out, whose answer may be told with a time-out.</summary>
    public LeaseOffer Ask() => new(Volatile.Read(ref _sequence), _time.NowMs(), FrameFlags.None);

    /// <summary>Whether a recall of the inode, or of a name in the directory, has come since the question.</summary>
    public bool IsOvertaken(in LeaseOffer offer, ulong ino)
    {
        lock (_lock)
        {
            return _recalled[StripeOf(ino)] > offer.Sequence;
        }
    }

    /// <summary>An answer is about to be written to the kernel; dispose when it is.</summary>
    public Telling Tell(in LeaseOffer offer)
    {
        lock (_lock)
        {
            var group = _group;
            group.Count++;
            var isFresh = _time.NowMs() - offer.AskedMs < Limits.LeaseAnswerMs;
            return new Telling(this, group, isFresh ? offer : LeaseOffer.None);
        }
    }

    /// <summary>Whether an answer with the inode may still be on its way through the program that asked: the kernel may get to know the inode only then.</summary>
    public bool IsOnItsWay(ulong ino)
    {
        lock (_lock)
        {
            return _inodes.TryGetValue(ino, out var told) && told.ToldMs + LateMs > _time.NowMs();
        }
    }

    /// <summary>
    /// A recall has come: what was asked before is told without time-outs from now on. Completes when everything that was being told has been written.
    /// Called on the connection's receive thread, so that it takes effect before any later answer.
    /// </summary>
    public Task BeginRecall(ReadOnlySpan<(ulong Parent, byte[] Name)> names, ReadOnlySpan<ulong> inodes)
    {
        lock (_lock)
        {
            var sequence = ++_sequence;
            foreach (var (parent, _) in names)
            {
                _recalled[StripeOf(parent)] = sequence;
            }

            foreach (var ino in inodes)
            {
                _recalled[StripeOf(ino)] = sequence;
            }

            return NextGroup();
        }
    }

    /// <summary>As <see cref="BeginRecall"/> for all names and inodes.</summary>
    public Task BeginRecallOfEverything()
    {
        lock (_lock)
        {
            Array.Fill(_recalled, ++_sequence);
            return NextGroup();
        }
    }

    /// <summary>
    /// A rename is about to be asked for: the kernel takes what it knows of a name along to the other one, and uses it there no longer than it would have here.
    /// Dispose when it is answered: until then, and while what was asked before may be told, neither name gets a time-out, which the kernel would take along too.
    /// </summary>
    /// <remarks>What it believes may be old, then the rename is refused, and repeated after the kernel has asked again. That may be old again: so what comes a second time waits
    /// until the kernel believes nothing any more.</remarks>
    public Moving Move(ulong parent, ReadOnlySpan<byte> name, ulong newParent, ReadOnlySpan<byte> newName)
    {
        var (key, newKey) = ((parent, NameHash.Wide(name)), (newParent, NameHash.Wide(newName)));
        lock (_lock)
        {
            var (told, newTold) = (_names.GetValueOrDefault(key), _names.GetValueOrDefault(newKey));
            var nowMs = _time.NowMs();
            var untilMs = Math.Max(_unknownUntilMs, Math.Max(told.UntilMs, newTold.UntilMs));
            if (untilMs > nowMs)
            {
                Carry(key, name, told, untilMs);
                Carry(newKey, newName, newTold, untilMs);
            }

            _movingUntilMs[key] = _movingUntilMs[newKey] = ++_lastMove;
            var waitMs = untilMs > nowMs && Array.Exists(_refused, refused => refused.Key == key && refused.NewKey == newKey && refused.UntilMs > nowMs) ? untilMs - nowMs : 0;
            return waitMs > 0
                ? new Moving(this, Ino.None, Ino.None, key, newKey, _lastMove) { WaitMs = waitMs }
                : new Moving(this, Believed(told), Believed(newTold), key, newKey, _lastMove);

            // What has expired the kernel asks for again, wherever it is.
            ulong Believed(in ToldName name) => name.UntilMs > nowMs ? name.Ino : Ino.None;
        }
    }

    /// <summary>The kernel takes a name for another inode now, because of what it did itself; <see cref="Ino.None"/>: for what is not known here.</summary>
    public void Believe(ulong parent, ReadOnlySpan<byte> name, ulong ino)
    {
        lock (_lock)
        {
            ref var told = ref CollectionsMarshal.GetValueRefOrNullRef(_names, (parent, NameHash.Wide(name)));
            if (!System.Runtime.CompilerServices.Unsafe.IsNullRef(ref told))
            {
                told = told with { Ino = ino };
            }
        }
    }

    /// <summary>Until when the kernel may use a name, milliseconds of the monotonic clock; 0 when it may not.</summary>
    public long NameUntilMs(ulong parent, ReadOnlySpan<byte> name)
    {
        lock (_lock)
        {
            return Math.Max(_unknownUntilMs, _names.GetValueOrDefault((parent, NameHash.Wide(name))).UntilMs);
        }
    }

    /// <summary>Whether the kernel may use attributes of an inode.</summary>
    public bool MayUse(ulong ino)
    {
        lock (_lock)
        {
            return Math.Max(_unknownUntilMs, _inodes.GetValueOrDefault(ino).UntilMs) > _time.NowMs();
        }
    }

    /// <summary>All that the kernel may use now.</summary>
    public ToldEverything Everything()
    {
        lock (_lock)
        {
            var now = _time.NowMs();
            return new ToldEverything(
                [.. _inodes.Where(told => told.Value.UntilMs > now).Select(told => told.Key)],
                [.. _names.Where(told => told.Value.UntilMs > now).Select(told => (told.Key.Parent, told.Value.Name, told.Value.UntilMs))],
                _lastToldMs + LateMs,
                _unknownUntilMs);
        }
    }

    private static int StripeOf(ulong ino) => (int)(ino % Stripes);

    private Task NextGroup()
    {
        var old = _group;
        if (old.Count == 0)
        {
            return Task.CompletedTask;
        }

        _group = new TellingGroup();
        return old.Close();
    }

    private long TellName(in LeaseOffer offer, ulong parent, ReadOnlySpan<byte> name, ulong ino)
    {
        var timeoutMs = TimeoutOf(offer, parent, name, ino);
        if (timeoutMs == 0)
        {
            Believe(parent, name, ino);
        }

        return timeoutMs;
    }

    private long TimeoutOf(in LeaseOffer offer, ulong parent, ReadOnlySpan<byte> name, ulong ino)
    {
        var timeoutMs = (offer.Granted & FrameFlags.NamesSole) != 0 ? Math.Min(offer.MaxMs, _leaseMs())
            : (offer.Granted & FrameFlags.NamesShared) != 0 ? Math.Min(Limits.SharedNamesMs, Math.Min(offer.MaxMs, _leaseMs()))
            : 0;
        lock (_lock)
        {
            if (timeoutMs == 0 || _recalled[StripeOf(parent)] > offer.Sequence)
            {
                return 0;
            }

            var now = _time.NowMs();
            if (_movingUntilMs.GetValueOrDefault((parent, NameHash.Wide(name))) > now || !HasRoom(_names, static told => told.UntilMs, ref _namesSweep, now))
            {
                return 0;
            }

            SetName(parent, name, now + timeoutMs + LateMs, ino);
            _lastToldMs = now;
            return timeoutMs;
        }
    }

    private void SetName(ulong parent, ReadOnlySpan<byte> name, long untilMs, ulong ino)
    {
        ref var told = ref CollectionsMarshal.GetValueRefOrAddDefault(_names, (parent, NameHash.Wide(name)), out _);
        if (told.UntilMs < untilMs)
        {
            told = new ToldName(untilMs + RoundMs, told.Name ?? name.ToArray(), ino);
            _log.Add(told.UntilMs, parent, name);
        }
        else
        {
            told = told with { Ino = ino };
        }
    }

    /// <summary>The kernel may use a name as long as another one, whose entry it takes along.</summary>
    private void Carry((ulong Parent, ulong NameHash) key, ReadOnlySpan<byte> name, in ToldName told, long untilMs)
    {
        if (told.UntilMs < untilMs && !name.IsEmpty)
        {
            _names[key] = new ToldName(untilMs, told.Name ?? name.ToArray(), told.Ino);
            _log.Add(untilMs, key.Parent, name);
        }
    }

    private long TellAttributes(in LeaseOffer offer, ulong ino)
    {
        lock (_lock)
        {
            var now = _time.NowMs();
            if ((offer.Granted & FrameFlags.AttributesLeased) == 0 || _recalled[StripeOf(ino)] > offer.Sequence
                || !HasRoom(_inodes, static told => told.UntilMs, ref _inodesSweep, now))
            {
                return 0;
            }

            ref var told = ref CollectionsMarshal.GetValueRefOrAddDefault(_inodes, ino, out _);
            var timeoutMs = Math.Min(offer.MaxMs, _leaseMs());
            var untilMs = told.UntilMs;
            if (untilMs < now + timeoutMs + LateMs)
            {
                untilMs = now + timeoutMs + LateMs + RoundMs;
                _log.Add(untilMs, ino, default);
            }

            told = new Told(untilMs, now);
            return timeoutMs;
        }
    }

    /// <summary>Whether one more may be told; now and then drops what has expired.</summary>
    private static bool HasRoom<TKey, TValue>(Dictionary<TKey, TValue> told, Func<TValue, long> untilMs, ref Sweep sweep, long nowMs)
        where TKey : notnull
    {
        if (told.Count >= sweep.AtCount && nowMs >= sweep.NotBeforeMs)
        {
            foreach (var (key, value) in told)
            {
                if (untilMs(value) < nowMs)
                {
                    told.Remove(key);
                }
            }

            sweep = new Sweep(Math.Clamp(told.Count * 2, SweepFrom, Max), nowMs + SweepPauseMs);
        }

        return told.Count < Max;
    }

    private void EndMove((ulong Parent, ulong NameHash) key, (ulong Parent, ulong NameHash) newKey, long number)
    {
        lock (_lock)
        {
            var nowMs = _time.NowMs();
            while (_moved.TryPeek(out var oldest) && oldest.UntilMs <= nowMs)
            {
                _moved.Dequeue();
                if (_movingUntilMs.GetValueOrDefault(oldest.Key) == oldest.UntilMs)
                {
                    _movingUntilMs.Remove(oldest.Key);
                }
            }

            foreach (var moved in (ReadOnlySpan<(ulong, ulong)>)[key, newKey])
            {
                // Else another one has begun that is not answered yet.
                if (_movingUntilMs.GetValueOrDefault(moved) == number)
                {
                    _movingUntilMs[moved] = nowMs + Limits.LeaseAnswerMs;
                    _moved.Enqueue((moved, nowMs + Limits.LeaseAnswerMs));
                }
            }
        }
    }

    private void Refused((ulong Parent, ulong NameHash) key, (ulong Parent, ulong NameHash) newKey)
    {
        lock (_lock)
        {
            _refused[_nextRefused++ % RefusedMax] = (key, newKey, _time.NowMs() + RefusedMs);
        }
    }

    private void End(TellingGroup group)
    {
        lock (_lock)
        {
            if (--group.Count == 0)
            {
                group.Ended?.SetResult();
            }
        }
    }

    private readonly record struct Told(long UntilMs, long ToldMs);

    private readonly record struct ToldName(long UntilMs, byte[] Name, ulong Ino);

    /// <summary>When to look for what has expired: from this number on, and not before this time.</summary>
    private readonly record struct Sweep(int AtCount, long NotBeforeMs);

    /// <summary>An answer on its way to the kernel.</summary>
    public readonly struct Telling : IDisposable
    {
        private readonly LeaseTable _table;
        private readonly TellingGroup _group;
        private readonly LeaseOffer _offer;

        internal Telling(LeaseTable table, TellingGroup group, in LeaseOffer offer)
        {
            _table = table;
            _group = group;
            _offer = offer;
        }

        /// <summary>For how many milliseconds the kernel may use a name of a directory for an inode; for <see cref="Ino.None"/>, that there is none.</summary>
        public long NameMs(ulong parent, ReadOnlySpan<byte> name, ulong ino) => _table.TellName(_offer, parent, name, ino);

        /// <summary>For how many milliseconds it may use an inode's attributes.</summary>
        public long AttributesMs(ulong ino) => _table.TellAttributes(_offer, ino);

        public void Dispose() => _table.End(_group);
    }

    /// <summary>A rename that is being asked for.</summary>
    public readonly struct Moving : IDisposable
    {
        private readonly LeaseTable _table;
        private readonly (ulong Parent, ulong NameHash) _key;
        private readonly (ulong Parent, ulong NameHash) _newKey;
        private readonly long _number;

        internal Moving(
            LeaseTable table, ulong believed, ulong newBelieved, (ulong Parent, ulong NameHash) key, (ulong Parent, ulong NameHash) newKey, long number)
        {
            (_table, Believed, NewBelieved) = (table, believed, newBelieved);
            (_key, _newKey, _number) = (key, newKey, number);
        }

        /// <summary>The inode that the kernel takes the name for without asking; <see cref="Ino.None"/> when that is not known, or it asks.</summary>
        public ulong Believed { get; }

        /// <summary>The same of the new name.</summary>
        public ulong NewBelieved { get; }

        /// <summary>How long to wait before the rename is asked for, milliseconds.</summary>
        public long WaitMs { get; internal init; }

        /// <summary>The kernel believed something old: it is going to repeat the rename.</summary>
        public void Refused() => _table.Refused(_key, _newKey);

        public void Dispose() => _table.EndMove(_key, _newKey, _number);
    }

    /// <summary>Answers being told at the same time; under the table's lock.</summary>
    internal sealed class TellingGroup
    {
        public int Count;

        public TaskCompletionSource? Ended { get; private set; }

        public Task Close() => (Ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
    }
}

/// <summary>All that a kernel may use without asking.</summary>
/// <param name="Inodes">Inodes whose attributes it was told.</param>
/// <param name="Names">Names, and until when.</param>
/// <param name="SettledMs">When the last answer with names has been taken in, milliseconds of the monotonic clock: a name that expires before may get a new time-out from it.</param>
/// <param name="UnknownUntilMs">Until when it may use more than that, told by a predecessor.</param>
public sealed record ToldEverything(
    IReadOnlyList<ulong> Inodes, IReadOnlyList<(ulong Parent, byte[] Name, long UntilMs)> Names, long SettledMs, long UnknownUntilMs);
