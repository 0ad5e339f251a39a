using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Locks;

/// <summary>Who holds or wants a lock: the kernel's lock owner is unique within the session of a node only.</summary>
/// <param name="Session">Session id.</param>
/// <param name="Owner">The kernel's lock owner: a process's open-file table (fcntl) or an open file description (flock).</param>
public readonly record struct LockOwner(ulong Session, ulong Owner) : IComparable<LockOwner>
{
    public int CompareTo(LockOwner other) =>
        Session != other.Session ? Session.CompareTo(other.Session) : Owner.CompareTo(other.Owner);

    public static bool operator <(LockOwner left, LockOwner right) => left.CompareTo(right) < 0;

    public static bool operator >(LockOwner left, LockOwner right) => left.CompareTo(right) > 0;

    public static bool operator <=(LockOwner left, LockOwner right) => left.CompareTo(right) <= 0;

    public static bool operator >=(LockOwner left, LockOwner right) => left.CompareTo(right) >= 0;
}

/// <summary>What became of a request for a lock.</summary>
public enum LockOutcome
{
    /// <summary>The lock is held (or dropped, for an unlock).</summary>
    Granted,

    /// <summary>Somebody holds a conflicting lock and the request does not wait: EAGAIN.</summary>
    Conflict,

    /// <summary>Waiting would close a cycle of POSIX lock owners: EDEADLK.</summary>
    Deadlock,

    /// <summary>The request waits; its ticket comes back when it is granted.</summary>
    Queued,

    /// <summary>The range is empty or reaches beyond 2^63−1: EINVAL.</summary>
    Invalid,
}

/// <summary>A request that waits. <see cref="None"/> has the id 0.</summary>
/// <param name="Id">Ascending in the order of arrival, from 1, unique in the table.</param>
/// <param name="Ino">Inode number.</param>
/// <param name="Owner">Who wants it.</param>
/// <param name="Flock">flock(2) instead of fcntl(2).</param>
/// <param name="Range">What is wanted.</param>
public readonly record struct LockTicket(ulong Id, ulong Ino, LockOwner Owner, bool Flock, LockRange Range)
{
    /// <summary>No ticket: the request did not wait.</summary>
    public static LockTicket None => default;
}

/// <summary>A lock that is held, as a snapshot stores it.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Owner">Holder.</param>
/// <param name="Flock">flock(2) instead of fcntl(2).</param>
/// <param name="Range">The range; the whole file for flock.</param>
public readonly record struct HeldLock(ulong Ino, LockOwner Owner, bool Flock, LockRange Range);
