using EphemeralFs.Metadata.Locks;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>Who performs an operation and when, and what the operation tells the service besides its answer. One object per volume, used again.</summary>
public sealed class OpContext
{
    private bool _withheld;

    /// <summary>The session that asks.</summary>
    public SessionState Session { get; private set; } = null!;

    /// <summary>Time of the operation at the node, nanoseconds since the epoch.</summary>
    public long TimeNs { get; set; }

    /// <summary>Whether the journal is replayed: a lock request is then never queued.</summary>
    public bool IsReplay { get; private set; }

    /// <summary>The session's bit in <see cref="Inode.CachedBy"/>; 0 for one that caches nothing.</summary>
    public ulong Holder { get; private set; }

    /// <summary>Whether an inode changes too often to be cached.</summary>
    public Func<ulong, bool> IsContested { get; init; } = static _ => false;

    /// <summary>Out: the inode whose bytes or size were changed, or null.</summary>
    public Inode? Changed { get; set; }

    /// <summary>Out: inodes whose attributes were changed and which others may cache.</summary>
    public List<Inode> ChangedInodes { get; } = [];

    /// <summary>Out: names that were made, removed or replaced in directories whose names others may cache.</summary>
    public List<(Inode Directory, byte[] Name)> ChangedNames { get; } = [];

    /// <summary>Out: directories of which the session goes on to cache a name without being told (rename).</summary>
    public List<Inode> NamesKept { get; } = [];

    /// <summary>Out: whether there are attributes in the answer, and all of them may be cached.</summary>
    public bool AttributesTold { get; private set; }

    /// <summary>Out: the directory of which the answer tells a name, or that there is none; null for answers that tell no name.</summary>
    public Inode? NamesTold { get; private set; }

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
    public OpContext Begin(SessionState session, long timeNs, ulong holder = 0, bool isReplay = false)
    {
        Session = session;
        TimeNs = timeNs;
        Holder = holder;
        IsReplay = isReplay;
        Changed = null;
        ChangedInodes.Clear();
        ChangedNames.Clear();
        NamesKept.Clear();
        AttributesTold = false;
        _withheld = false;
        NamesTold = null;
        MovedAway.Clear();
        MissingBytes = 0;
        Ticket = LockTicket.None;
        Granted.Clear();
        Dropped.Clear();
        return this;
    }

    /// <summary>The answer has the inode's attributes, which the session may cache from now on, unless other sessions change them all the time.</summary>
    public void Tell(Inode inode)
    {
        if (Holder == 0 || IsContested(inode.Ino) || IsWrittenByOthers(inode))
        {
            _withheld = true;
            AttributesTold = false;
            return;
        }

        inode.CachedBy |= Holder;
        AttributesTold = !_withheld;
    }

    /// <summary>The answer tells which inode a name of the directory has, or that there is no such name.</summary>
    public void TellNames(Inode directory) => NamesTold = directory;

    /// <summary>The session's kernel takes an entry that it caches along into the directory.</summary>
    public void KeepNames(Inode directory)
    {
        directory.Directory.NamesCachedBy |= Holder;
        NamesKept.Add(directory);
    }

    /// <summary>The inode's attributes change.</summary>
    public void Change(Inode inode)
    {
        if (!IsReplay && !ChangedInodes.Contains(inode))
        {
            ChangedInodes.Add(inode);
        }
    }

    /// <summary>A name is made, removed or replaced, and with it the directory's attributes change.</summary>
    public void ChangeName(Inode directory, ReadOnlySpan<byte> name)
    {
        Change(directory);
        if ((directory.Directory.NamesCachedBy & ~Holder) != 0)
        {
            ChangedNames.Add((directory, name.ToArray()));
        }
    }

    private bool IsWrittenByOthers(Inode inode)
    {
        if (inode.Extras is { OpenerCount: > 0 } extras)
        {
            foreach (ref readonly var opener in extras.Openers)
            {
                if (opener.IsWriting && opener.Session != Session.Id)
                {
                    return true;
                }
            }
        }

        return false;
    }
}
