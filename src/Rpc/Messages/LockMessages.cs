namespace EphemeralFs.Rpc.Messages;

/// <summary>Lock types, as F_RDLCK, F_WRLCK, F_UNLCK of fcntl(2).</summary>
public enum LockType : byte
{
    Read = 0,
    Write = 1,
    Unlock = 2,
}

/// <summary>A POSIX or flock lock.</summary>
/// <param name="Type">What.</param>
/// <param name="Start">First byte.</param>
/// <param name="End">Last byte, inclusive; 2^63−1 for "to the end".</param>
/// <param name="Pid">Process, for F_GETLK.</param>
public readonly record struct LockRange(LockType Type, ulong Start, ulong End, uint Pid)
    : IWireMessage<LockRange>
{
    public void Write(ref WireWriter w)
    {
        w.U8((byte)Type);
        w.U64(Start);
        w.U64(End);
        w.U32(Pid);
    }

    public static LockRange Read(ref WireReader r) => new((LockType)r.U8(), r.U64(), r.U64(), r.U32());
}

/// <summary>Ends the waiting of a SetLock of the same session: it is answered EINTR unless it was granted before.</summary>
/// <param name="Slot">Slot of the waiting operation.</param>
/// <param name="Sequence">Its sequence number.</param>
public readonly record struct CancelLockRequest(uint Slot, uint Sequence)
    : IRequest<CancelLockRequest, Empty>
{
    public static Opcode Opcode => Opcode.CancelLock;

    public void Write(ref WireWriter w)
    {
        w.U32(Slot);
        w.U32(Sequence);
    }

    public static CancelLockRequest Read(ref WireReader r) => new(r.U32(), r.U32());
}

/// <summary>Who would conflict (F_GETLK).</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Owner">Lock owner, unique in the session.</param>
/// <param name="Lock">The lock that would be set.</param>
public readonly record struct GetLockRequest(ulong Ino, ulong Owner, LockRange Lock)
    : IRequest<GetLockRequest, GetLockReply>
{
    public static Opcode Opcode => Opcode.GetLock;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(Owner);
        Lock.Write(ref w);
    }

    public static GetLockRequest Read(ref WireReader r) => new(r.U64(), r.U64(), LockRange.Read(ref r));
}

/// <summary>The first conflicting lock; its type is <see cref="LockType.Unlock"/> when there is none.</summary>
/// <param name="Lock">The conflicting lock.</param>
public readonly record struct GetLockReply(LockRange Lock)
    : IWireMessage<GetLockReply>
{
    public void Write(ref WireWriter w) => Lock.Write(ref w);

    public static GetLockReply Read(ref WireReader r) => new(LockRange.Read(ref r));
}

/// <summary>Sets, changes or drops a lock. A slot operation; with <paramref name="Wait"/> it is answered when granted.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Owner">Lock owner, unique in the session.</param>
/// <param name="Flock">flock(2) instead of fcntl(2): the two do not see each other.</param>
/// <param name="Wait">F_SETLKW: wait; EDEADLK when waiting would close a cycle of POSIX locks.</param>
/// <param name="Lock">The lock.</param>
public readonly record struct SetLockRequest(ulong Ino, ulong Owner, bool Flock, bool Wait, LockRange Lock)
    : IRequest<SetLockRequest, Empty>
{
    public static Opcode Opcode => Opcode.SetLock;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(Owner);
        w.Bool(Flock);
        w.Bool(Wait);
        Lock.Write(ref w);
    }

    public static SetLockRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.Bool(), r.Bool(), LockRange.Read(ref r));
}
