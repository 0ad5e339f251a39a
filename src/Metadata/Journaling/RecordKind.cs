namespace EphemeralFs.Metadata.Journaling;

/// <summary>What a journal record says. Numbers are never reused.</summary>
public enum RecordKind : byte
{
    None = 0,

    /// <summary>A request of a session was applied: opcode, session, time, slot, sequence number, the request's message.</summary>
    Request = 1,

    /// <summary>A session was opened: node name, number of the opening. Its id follows from the state.</summary>
    SessionBegun = 2,

    /// <summary>A session was closed, or expired: session, time.</summary>
    SessionEnded = 3,

    /// <summary>A session gave quota bytes back when it was asked to: session, bytes.</summary>
    GrantReturned = 4,

    /// <summary>A session writes a file through from now on: session, inode.</summary>
    MarkedThrough = 5,

    /// <summary>A flock was lost by a conversion that failed or waits: inode, session, owner.</summary>
    FlockLost = 6,

    /// <summary>A lock request that waited was granted: inode, session, owner, kind, range, slot, sequence number.</summary>
    LockGranted = 7,

    /// <summary>The first blocks of a storage server's queue are deleted there, or other volumes refer to them: server, count.</summary>
    BlocksDeleted = 8,

    /// <summary>The quota changed: bytes, inodes.</summary>
    LimitsSet = 9,
}
