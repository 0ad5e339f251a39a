using EphemeralFs.Metadata.Locks;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Locks;

/// <summary>The lock table as one would draw it: a byte per position and owner. Slow and plainly right.</summary>
internal sealed class LockModel(int inodes, int bytes)
{
    private const byte Free = 2;

    private readonly Dictionary<(int Ino, LockOwner Owner), byte[]> _posix = [];
    private readonly Dictionary<(int Ino, LockOwner Owner), LockType> _flock = [];
    private readonly List<LockTicket> _waiters = [];

    public IReadOnlyList<LockTicket> Waiters => _waiters;

    public LockOutcome Set(int ino, LockOwner owner, bool flock, LockRange range, bool wait, LockTicket ticket, List<LockTicket> granted)
    {
        if (range.Type != LockType.Unlock && Conflicting(ino, owner, flock, range).Any())
        {
            if (flock)
            {
                _flock.Remove((ino, owner));
            }
            else if (wait && Reaches(Conflicting(ino, owner, false, range), owner))
            {
                return LockOutcome.Deadlock;
            }

            if (wait)
            {
                _waiters.Add(ticket);
            }

            Settle(granted);
            return wait ? LockOutcome.Queued : LockOutcome.Conflict;
        }

        Apply(ino, owner, flock, range);
        Settle(granted);
        return LockOutcome.Granted;
    }

    public (LockOwner Owner, ulong Start)? First(int ino, LockOwner owner, LockRange range)
    {
        (LockOwner Owner, ulong Start)? best = null;
        foreach (var ((i, other), held) in _posix)
        {
            if (i != ino || other == owner)
            {
                continue;
            }

            for (var at = (int)range.Start; at <= (int)Math.Min(range.End, (ulong)bytes - 1); at++)
            {
                if (!Clash(held[at], range.Type))
                {
                    continue;
                }

                // The run that the position belongs to starts further left.
                var start = at;
                while (start > 0 && held[start - 1] == held[at])
                {
                    start--;
                }

                if (best is null || (ulong)start < best.Value.Start || ((ulong)start == best.Value.Start && other < best.Value.Owner))
                {
                    best = (other, (ulong)start);
                }

                break;
            }
        }

        return best;
    }

    public void Cancel(LockTicket ticket) => _waiters.RemoveAll(w => w.Id == ticket.Id);

    public void ReleaseSession(ulong session, List<LockTicket> granted)
    {
        _waiters.RemoveAll(w => w.Owner.Session == session);
        foreach (var key in _posix.Keys.Where(k => k.Owner.Session == session).ToArray())
        {
            _posix.Remove(key);
        }

        foreach (var key in _flock.Keys.Where(k => k.Owner.Session == session).ToArray())
        {
            _flock.Remove(key);
        }

        Settle(granted);
    }

    public void ReleaseInode(int ino)
    {
        _waiters.RemoveAll(w => w.Ino == (ulong)ino);
        foreach (var key in _posix.Keys.Where(k => k.Ino == ino).ToArray())
        {
            _posix.Remove(key);
        }

        foreach (var key in _flock.Keys.Where(k => k.Ino == ino).ToArray())
        {
            _flock.Remove(key);
        }
    }

    /// <summary>Every held lock as (ino, owner, flock, type, start, end), ranges as long as they can be.</summary>
    public IEnumerable<(int Ino, LockOwner Owner, bool Flock, LockType Type, int Start, int End)> Held()
    {
        for (var ino = 0; ino < inodes; ino++)
        {
            foreach (var ((_, owner), held) in _posix.Where(p => p.Key.Ino == ino).OrderBy(p => p.Key.Owner))
            {
                for (var start = 0; start < bytes;)
                {
                    var end = start;
                    while (end + 1 < bytes && held[end + 1] == held[start])
                    {
                        end++;
                    }

                    if (held[start] != Free)
                    {
                        yield return (ino, owner, false, (LockType)held[start], start, end);
                    }

                    start = end + 1;
                }
            }

            foreach (var ((_, owner), type) in _flock.Where(p => p.Key.Ino == ino).OrderBy(p => p.Key.Owner))
            {
                yield return (ino, owner, true, type, 0, bytes - 1);
            }
        }
    }

    private static bool Clash(byte held, LockType wanted) =>
        held == (byte)LockType.Write || (held == (byte)LockType.Read && wanted == LockType.Write);

    private IEnumerable<LockOwner> Conflicting(int ino, LockOwner owner, bool flock, LockRange range)
    {
        if (flock)
        {
            return _flock.Where(f => f.Key.Ino == ino && f.Key.Owner != owner && (f.Value == LockType.Write || range.Type == LockType.Write))
                .Select(f => f.Key.Owner);
        }

        return _posix.Where(p => p.Key.Ino == ino && p.Key.Owner != owner
                && p.Value.Skip((int)range.Start).Take((int)(range.End - range.Start) + 1).Any(b => Clash(b, range.Type)))
            .Select(p => p.Key.Owner);
    }

    private bool Reaches(IEnumerable<LockOwner> from, LockOwner target)
    {
        var reached = from.ToHashSet();
        bool grew;
        do
        {
            var next = _waiters.Where(w => !w.Flock && reached.Contains(w.Owner))
                .SelectMany(w => Conflicting((int)w.Ino, w.Owner, false, w.Range)).ToArray();
            grew = next.Any(o => !reached.Contains(o));
            reached.UnionWith(next);
        }
        while (grew);

        return reached.Contains(target);
    }

    private void Apply(int ino, LockOwner owner, bool flock, LockRange range)
    {
        if (flock)
        {
            _flock.Remove((ino, owner));
            if (range.Type != LockType.Unlock)
            {
                _flock.Add((ino, owner), range.Type);
            }

            return;
        }

        if (!_posix.TryGetValue((ino, owner), out var held))
        {
            _posix.Add((ino, owner), held = Enumerable.Repeat(Free, bytes).ToArray());
        }

        for (var at = (int)range.Start; at <= (int)range.End; at++)
        {
            held[at] = (byte)range.Type;
        }
    }

    private void Settle(List<LockTicket> granted)
    {
        while (_waiters.FirstOrDefault(w => !Conflicting((int)w.Ino, w.Owner, w.Flock, w.Range).Any()) is { Id: > 0 } next)
        {
            _waiters.Remove(next);
            Apply((int)next.Ino, next.Owner, next.Flock, next.Range);
            granted.Add(next);
        }
    }
}
