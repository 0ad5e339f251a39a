using EphemeralFs.Metadata.Locks;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>Who performs an operation and when, and what the operation tells the service besides its answer. One object per volume, used again.</summary>
public sealed class OpContext
{
    /// <summary>The session that asks.</summary>
    public SessionState Session { get; private set; } = null!;

    /// <summary>Time of the operation at the node, nanoseconds since the epoch.</summary>
    public long TimeNs { get; private set; }

    /// <summary>Whether the journal is replayed: a lock request is then never queued.</summary>
    public bool IsReplay { get; private set; }

    /// <summary>Out: the inode whose bytes or size were changed, or null.</summary>
    public Inode? Changed { get; set; }

    /// <summary>Out: names that directories had in other directories before this operation moved them.</summary>
    public List<(ulong Parent, byte[] Name)> MovedAway { get; } = [];

    /// <summary>Out: with ENOSPC, how many quota bytes were missing; grants of other sessions may be called back.</summary>
    public ulong MissingBytes { get; set; }

    /// <summary>Out: the lock request that waits.</summary>
    public LockTicket Ticket { get; set; }

    /// <summary>Out: lock requests that were granted because of this operation.</summary>
    public List<LockTicket> Granted { get; } = [];

    /// <summary>Out: lock requests that ended because their inode or session is gone.</summary>
    public List<LockTicket> Dropped { get; } = [];

    /// <summary>Prepares for the next operation.</summary>
    public OpContext Begin(SessionState session, long timeNs, bool isReplay = false)
    {
        Session = session;
        TimeNs = timeNs;
        IsReplay = isReplay;
        Changed = null;
        MovedAway.Clear();
        MissingBytes = 0;
        Ticket = LockTicket.None;
        Granted.Clear();
        Dropped.Clear();
        return this;
    }
}
