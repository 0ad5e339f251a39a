using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Locks;

/// <summary>
/// The advisory locks of a volume: byte-range locks of fcntl(2) and whole-file locks of flock(2), which do not see each other.
/// Knows no clock and no socket, and the same calls give the same answers, so it can be replayed from the journal.
/// </summary>
/// <remarks>
/// Not thread-safe: the volume's lock protects it.
/// Requests compete with held locks only, never with waiters: a request that fits is granted at once, as on Linux. When something is
/// released, waiters are granted in the order of their arrival, each if it fits.
/// Deadlock detection is exact while an owner does one thing at a time. An owner that waits in one thread and gains a lock in another may close
/// a cycle unseen; Linux (<c>posix_locks_deadlock</c>) has the same limit.
/// </remarks>
public sealed class LockTable
{
    /// <summary>The last byte that a lock can cover: "to the end of the file".</summary>
    public const ulong EndOfFile = long.MaxValue;

    private readonly Dictionary<ulong, InodeLocks> _inodes = [];

    /// <summary>Session → inodes on which it holds or wants something.</summary>
    private readonly Dictionary<ulong, HashSet<ulong>> _sessions = [];

    /// <summary>Edges of the wait-for graph: POSIX requests that wait, by owner.</summary>
    private readonly Dictionary<LockOwner, List<LockTicket>> _posixWaits = [];

    private ulong _lastTicket;

    /// <summary>Held ranges.</summary>
    public int HeldCount { get; private set; }

    /// <summary>Requests that wait.</summary>
    public int WaiterCount { get; private set; }

    /// <summary>Sets, converts or drops a lock.</summary>
    /// <param name="ino">Inode number.</param>
    /// <param name="owner">For whom.</param>
    /// <param name="flock">flock(2) instead of fcntl(2); start and end are then ignored.</param>
    /// <param name="range">The lock; <see cref="LockType.Unlock"/> drops it.</param>
    /// <param name="wait">Queue behind a conflict instead of failing.</param>
    /// <param name="ticket">Names the request when the outcome is <see cref="LockOutcome.Queued"/>.</param>
    /// <param name="granted">Requests of others that could be granted because of this call are added.</param>
    /// <remarks>
    /// Converting a flock drops the old lock first, so a conversion that fails or waits has lost it (flock(2), NOTES): two upgrading readers cannot block each
    /// other for ever. Converting a POSIX range keeps what is held until the new lock is granted.
    /// </remarks>
    public LockOutcome Set(
        ulong ino, LockOwner owner, bool flock, LockRange range, bool wait, out LockTicket ticket, ICollection<LockTicket> granted)
    {
        ticket = LockTicket.None;
        range = Normalize(flock, range);
        if (!IsValid(range))
        {
            return LockOutcome.Invalid;
        }

        if (!_inodes.TryGetValue(ino, out var locks))
        {
            if (range.Type == LockType.Unlock)
            {
                return LockOutcome.Granted;
            }

            _inodes.Add(ino, locks = new InodeLocks());
        }

        if (range.Type != LockType.Unlock && locks.Conflicts(owner, flock, range))
        {
            if (flock)
            {
                Apply(ino, locks, owner, true, range with { Type = LockType.Unlock });
            }
            else if (wait && WouldDeadlock(locks, owner, range))
            {
                return LockOutcome.Deadlock;
            }

            if (wait)
            {
                ticket = Enqueue(ino, locks, owner, flock, range);
            }

            Settle(ino, locks, owner.Session, granted);
            return wait ? LockOutcome.Queued : LockOutcome.Conflict;
        }

        Apply(ino, locks, owner, flock, range);
        Settle(ino, locks, owner.Session, granted);
        return LockOutcome.Granted;
    }

    /// <summary>F_GETLK: the first POSIX lock of another owner that would conflict, by start, then by owner. False when there is none.</summary>
    public bool TryGetConflict(ulong ino, LockOwner owner, LockRange range, out LockOwner holder, out LockRange conflict)
    {
        holder = default;
        conflict = range with { Type = LockType.Unlock };
        if (range.Type == LockType.Unlock || !IsValid(range) || !_inodes.TryGetValue(ino, out var locks)
            || !locks.TryFindFirst(owner, range, out holder, out var found))
        {
            return false;
        }

        conflict = found;
        return true;
    }

    /// <summary>Ends the waiting of a request. False when it does not wait (any more): it was granted before, or dropped.</summary>
    public bool Cancel(LockTicket ticket)
    {
        if (!_inodes.TryGetValue(ticket.Ino, out var locks))
        {
            return false;
        }

        var index = locks.Waiters.FindIndex(w => w.Id == ticket.Id);
        if (index < 0)
        {
            return false;
        }

        RemoveWaiter(locks, index);
        Forget(ticket.Ino, locks, ticket.Owner.Session);
        return true;
    }

    /// <summary>Drops everything that a session holds or waits for.</summary>
    /// <param name="session">Session id.</param>
    /// <param name="granted">Requests of others that were granted, in the order of their arrival.</param>
    /// <param name="dropped">The session's own requests that waited.</param>
    public void ReleaseSession(ulong session, ICollection<LockTicket> granted, ICollection<LockTicket> dropped)
    {
        if (!_sessions.TryGetValue(session, out var inodes))
        {
            return;
        }

        var all = new List<LockTicket>();
        var own = new List<LockTicket>();
        foreach (var ino in inodes.Order().ToArray())
        {
            var locks = _inodes[ino];
            for (var i = locks.Waiters.Count - 1; i >= 0; i--)
            {
                if (locks.Waiters[i].Owner.Session == session)
                {
                    own.Add(locks.Waiters[i]);
                    RemoveWaiter(locks, i);
                }
            }

            DropHeld(session, ino, locks, all);
        }

        foreach (var ticket in all.OrderBy(t => t.Id))
        {
            granted.Add(ticket);
        }

        foreach (var ticket in own.OrderBy(t => t.Id))
        {
            dropped.Add(ticket);
        }
    }

    /// <summary>Drops what a session holds on an inode; what it waits for stays.</summary>
    /// <param name="session">Session id.</param>
    /// <param name="ino">Inode number.</param>
    /// <param name="granted">Requests of others that were granted because of it.</param>
    public void ReleaseSession(ulong session, ulong ino, ICollection<LockTicket> granted)
    {
        if (_sessions.TryGetValue(session, out var inodes) && inodes.Contains(ino))
        {
            DropHeld(session, ino, _inodes[ino], granted);
        }
    }

    /// <summary>Forgets an inode that is gone.</summary>
    /// <param name="ino">Inode number.</param>
    /// <param name="dropped">Requests that waited for it.</param>
    public void ReleaseInode(ulong ino, ICollection<LockTicket> dropped)
    {
        if (!_inodes.Remove(ino, out var locks))
        {
            return;
        }

        foreach (var session in locks.Sessions())
        {
            ForgetSession(session, ino);
        }

        HeldCount -= locks.HeldCount;
        while (locks.Waiters.Count > 0)
        {
            dropped.Add(locks.Waiters[0]);
            RemoveWaiter(locks, 0);
        }
    }

    /// <summary>All held locks by inode, POSIX before flock, by owner, by start: a snapshot of equal tables is equal.</summary>
    public IEnumerable<HeldLock> Held()
    {
        foreach (var (ino, locks) in _inodes.OrderBy(p => p.Key))
        {
            foreach (var held in locks.Held(ino))
            {
                yield return held;
            }
        }
    }

    /// <summary>Puts a lock of a snapshot back. False when it is malformed or conflicts with what is held: the snapshot is damaged.</summary>
    /// <remarks>Waiting requests are not part of a snapshot: their nodes send them again.</remarks>
    public bool TryRestore(in HeldLock held) =>
        held.Range.Type != LockType.Unlock
        && Set(held.Ino, held.Owner, held.Flock, held.Range, false, out _, []) == LockOutcome.Granted;

    private void DropHeld(ulong session, ulong ino, InodeLocks locks, ICollection<LockTicket> granted)
    {
        HeldCount -= locks.HeldCount;
        locks.DropSession(session);
        HeldCount += locks.HeldCount;
        Settle(ino, locks, session, granted);
    }

    private static LockRange Normalize(bool flock, LockRange range) =>
        flock ? range with { Start = 0, End = EndOfFile } : range;

    private static bool IsValid(LockRange range) =>
        range.Type <= LockType.Unlock && range.Start <= range.End && range.End <= EndOfFile;

    private LockTicket Enqueue(ulong ino, InodeLocks locks, LockOwner owner, bool flock, LockRange range)
    {
        var ticket = new LockTicket(++_lastTicket, ino, owner, flock, range);
        locks.Waiters.Add(ticket);
        WaiterCount++;
        Remember(owner.Session, ino);
        if (!flock)
        {
            if (!_posixWaits.TryGetValue(owner, out var waits))
            {
                _posixWaits.Add(owner, waits = []);
            }

            waits.Add(ticket);
        }

        return ticket;
    }

    private void RemoveWaiter(InodeLocks locks, int index)
    {
        var ticket = locks.Waiters[index];
        locks.Waiters.RemoveAt(index);
        WaiterCount--;
        if (!ticket.Flock && _posixWaits.TryGetValue(ticket.Owner, out var waits))
        {
            waits.RemoveAll(w => w.Id == ticket.Id);
            if (waits.Count == 0)
            {
                _posixWaits.Remove(ticket.Owner);
            }
        }
    }

    private void Apply(ulong ino, InodeLocks locks, LockOwner owner, bool flock, LockRange range)
    {
        HeldCount -= locks.HeldCount;
        locks.Apply(owner, flock, range);
        HeldCount += locks.HeldCount;
        Remember(owner.Session, ino);
    }

    /// <summary>Grants waiters that fit now, in order, then forgets what is empty.</summary>
    private void Settle(ulong ino, InodeLocks locks, ulong session, ICollection<LockTicket> granted)
    {
        // One pass reaches the end only when nothing more fits: a grant can also release (a waiting downgrade), so start over after that.
        for (var i = 0; i < locks.Waiters.Count; i++)
        {
            var waiter = locks.Waiters[i];
            if (!locks.Conflicts(waiter.Owner, waiter.Flock, waiter.Range))
            {
                RemoveWaiter(locks, i);
                Apply(ino, locks, waiter.Owner, waiter.Flock, waiter.Range);
                granted.Add(waiter);
                i = -1;
            }
        }

        Forget(ino, locks, session);
    }

    private bool WouldDeadlock(InodeLocks locks, LockOwner owner, LockRange range)
    {
        if (_posixWaits.Count == 0)
        {
            return false;
        }

        var pending = new Stack<LockOwner>();
        var seen = new HashSet<LockOwner>();
        locks.AddPosixHolders(owner, range, pending);
        while (pending.TryPop(out var holder))
        {
            if (holder == owner)
            {
                return true;
            }

            if (!seen.Add(holder) || !_posixWaits.TryGetValue(holder, out var waits))
            {
                continue;
            }

            foreach (var wait in waits)
            {
                _inodes[wait.Ino].AddPosixHolders(holder, wait.Range, pending);
            }
        }

        return false;
    }

    private void Remember(ulong session, ulong ino)
    {
        if (!_sessions.TryGetValue(session, out var inodes))
        {
            _sessions.Add(session, inodes = []);
        }

        inodes.Add(ino);
    }

    private void Forget(ulong ino, InodeLocks locks, ulong session)
    {
        if (!locks.Knows(session))
        {
            ForgetSession(session, ino);
        }

        if (locks.IsEmpty)
        {
            _inodes.Remove(ino);
        }
    }

    private void ForgetSession(ulong session, ulong ino)
    {
        if (_sessions.TryGetValue(session, out var inodes) && inodes.Remove(ino) && inodes.Count == 0)
        {
            _sessions.Remove(session);
        }
    }
}
