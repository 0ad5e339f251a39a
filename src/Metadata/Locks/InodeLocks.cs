using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Locks;

/// <summary>The locks of one inode and the requests that wait for them. Owned by <see cref="LockTable"/>.</summary>
internal sealed class InodeLocks
{
    private readonly Dictionary<LockOwner, RangeList> _posix = [];
    private readonly Dictionary<LockOwner, LockRange> _flock = [];

    /// <summary>Waiting requests of both kinds, in the order of arrival.</summary>
    public List<LockTicket> Waiters { get; } = [];

    public bool IsEmpty => _posix.Count == 0 && _flock.Count == 0 && Waiters.Count == 0;

    /// <summary>Held ranges of both kinds.</summary>
    public int HeldCount { get; private set; }

    /// <summary>Whether the owner holds a lock or waits for one.</summary>
    public bool Knows(ulong session)
    {
        foreach (var owner in _posix.Keys)
        {
            if (owner.Session == session)
            {
                return true;
            }
        }

        foreach (var owner in _flock.Keys)
        {
            if (owner.Session == session)
            {
                return true;
            }
        }

        foreach (var waiter in Waiters)
        {
            if (waiter.Owner.Session == session)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Makes the owner's bytes have the type of the range. The caller has checked for conflicts.</summary>
    public void Apply(LockOwner owner, bool flock, LockRange range)
    {
        if (flock)
        {
            HeldCount -= _flock.Remove(owner) ? 1 : 0;
            if (range.Type != LockType.Unlock)
            {
                _flock.Add(owner, range);
                HeldCount++;
            }

            return;
        }

        if (!_posix.TryGetValue(owner, out var ranges))
        {
            if (range.Type == LockType.Unlock)
            {
                return;
            }

            _posix.Add(owner, ranges = new RangeList());
        }

        HeldCount -= ranges.Count;
        ranges.Set(range);
        HeldCount += ranges.Count;
        if (ranges.Count == 0)
        {
            _posix.Remove(owner);
        }
    }

    /// <summary>Whether another owner holds a lock that conflicts.</summary>
    public bool Conflicts(LockOwner owner, bool flock, LockRange range)
    {
        if (flock)
        {
            foreach (var (holder, held) in _flock)
            {
                if (holder != owner && (range.Type == LockType.Write || held.Type == LockType.Write))
                {
                    return true;
                }
            }

            return false;
        }

        foreach (var (holder, ranges) in _posix)
        {
            if (holder != owner && ranges.TryFindConflict(range, out _))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The conflicting POSIX lock with the lowest start, then the lowest owner: the same whatever the history of the table.</summary>
    public bool TryFindFirst(LockOwner owner, LockRange range, out LockOwner holder, out LockRange conflict)
    {
        var found = false;
        holder = default;
        conflict = default;
        foreach (var (other, ranges) in _posix)
        {
            if (other != owner && ranges.TryFindConflict(range, out var candidate)
                && (!found || candidate.Start < conflict.Start || (candidate.Start == conflict.Start && other < holder)))
            {
                found = true;
                holder = other;
                conflict = candidate;
            }
        }

        return found;
    }

    /// <summary>Adds the owners of all POSIX locks that conflict.</summary>
    public void AddPosixHolders(LockOwner owner, LockRange range, Stack<LockOwner> holders)
    {
        foreach (var (other, ranges) in _posix)
        {
            if (other != owner && ranges.TryFindConflict(range, out _))
            {
                holders.Push(other);
            }
        }
    }

    /// <summary>Drops every lock of a session; its waiters are the caller's to drop.</summary>
    public void DropSession(ulong session)
    {
        foreach (var owner in _posix.Keys.Where(o => o.Session == session).ToArray())
        {
            HeldCount -= _posix[owner].Count;
            _posix.Remove(owner);
        }

        foreach (var owner in _flock.Keys.Where(o => o.Session == session).ToArray())
        {
            HeldCount--;
            _flock.Remove(owner);
        }
    }

    /// <summary>Sessions that hold a lock or wait for one; may repeat.</summary>
    public IEnumerable<ulong> Sessions() =>
        _posix.Keys.Concat(_flock.Keys).Concat(Waiters.Select(w => w.Owner)).Select(o => o.Session);

    /// <summary>All held locks: POSIX before flock, by owner, by start.</summary>
    public IEnumerable<HeldLock> Held(ulong ino)
    {
        foreach (var (owner, ranges) in _posix.OrderBy(p => p.Key))
        {
            foreach (var range in ranges.Ranges)
            {
                yield return new HeldLock(ino, owner, false, range);
            }
        }

        foreach (var (owner, range) in _flock.OrderBy(p => p.Key))
        {
            yield return new HeldLock(ino, owner, true, range);
        }
    }
}
