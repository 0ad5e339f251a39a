using EphemeralFs.Core;
using EphemeralFs.Metadata.Locks;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>Encodes journal records and applies them again. What a record needs beyond the state is in it: a replay knows no clock.</summary>
public static class Records
{
    public static void Request(ref WireWriter w, in FrameHeader header, ReadOnlySpan<byte> head)
    {
        w.U8((byte)RecordKind.Request);
        w.U32((uint)header.Opcode);
        w.U64(header.Session);
        w.I64(header.TimeNs);
        w.U32(header.Slot);
        w.U32(header.Sequence);
        w.Bytes(head);
    }

    public static void SessionBegun(ref WireWriter w, string node, ulong opening)
    {
        w.U8((byte)RecordKind.SessionBegun);
        w.Text(node);
        w.U64(opening);
    }

    public static void SessionEnded(ref WireWriter w, ulong session, long timeNs)
    {
        w.U8((byte)RecordKind.SessionEnded);
        w.U64(session);
        w.I64(timeNs);
    }

    public static void GrantReturned(ref WireWriter w, ulong session, ulong bytes)
    {
        w.U8((byte)RecordKind.GrantReturned);
        w.U64(session);
        w.U64(bytes);
    }

    public static void MarkedThrough(ref WireWriter w, ulong session, ulong ino)
    {
        w.U8((byte)RecordKind.MarkedThrough);
        w.U64(session);
        w.U64(ino);
    }

    public static void FlockLost(ref WireWriter w, ulong ino, LockOwner owner)
    {
        w.U8((byte)RecordKind.FlockLost);
        w.U64(ino);
        w.U64(owner.Session);
        w.U64(owner.Owner);
    }

    public static void LockGranted(ref WireWriter w, in LockTicket ticket, uint slot, uint sequence)
    {
        w.U8((byte)RecordKind.LockGranted);
        w.U64(ticket.Ino);
        w.U64(ticket.Owner.Session);
        w.U64(ticket.Owner.Owner);
        w.Bool(ticket.Flock);
        ticket.Range.Write(ref w);
        w.U32(slot);
        w.U32(sequence);
    }

    public static void BlocksDeleted(ref WireWriter w, uint server, uint count)
    {
        w.U8((byte)RecordKind.BlocksDeleted);
        w.U32(server);
        w.U32(count);
    }

    public static void LimitsSet(ref WireWriter w, ulong bytes, ulong inodes)
    {
        w.U8((byte)RecordKind.LimitsSet);
        w.U64(bytes);
        w.U64(inodes);
    }

    /// <summary>Applies a record. Null, or what does not fit: then the journal does not belong to this state.</summary>
    public static string? Apply(VolumeState v, OpContext c, ReadOnlyMemory<byte> record)
    {
        var r = new WireReader(record, copy: false);
        var kind = (RecordKind)r.U8();
        var error = kind switch
        {
            RecordKind.Request => ApplyRequest(v, c, ref r),
            RecordKind.SessionBegun => ApplySessionBegun(v, ref r),
            RecordKind.SessionEnded => ApplySessionEnded(v, c, ref r),
            RecordKind.GrantReturned => ApplyGrantReturned(v, ref r),
            RecordKind.MarkedThrough => Opens.MarkThrough(v, r.U64(), r.U64()) ? null : "the session has the inode not open",
            RecordKind.FlockLost => ApplyFlockLost(v, ref r),
            RecordKind.LockGranted => ApplyLockGranted(v, ref r),
            RecordKind.BlocksDeleted => v.Blocks.Deleted(r.U32(), (int)r.U32()) ? null : "the delete queue is shorter",
            RecordKind.LimitsSet => ApplyLimits(v, ref r),
            _ => "unknown kind of record",
        };
        return error is null && !r.AtEnd ? $"{kind}: malformed" : error is null ? null : $"{kind}: {error}";
    }

    private static string? ApplyRequest(VolumeState v, OpContext c, ref WireReader r)
    {
        var opcode = (Opcode)r.U32();
        var sessionId = r.U64();
        var timeNs = r.I64();
        var slot = r.U32();
        var sequence = r.U32();
        var head = r.Bytes(Limits.FrameHeadMaxBytes);
        if (OperationTable.Find(opcode) is not { Mutates: true } row || !v.Sessions.TryGetValue(sessionId, out var session)
            || slot >= Limits.SlotsPerSession)
        {
            return $"{opcode} of session {sessionId:x} slot {slot}: no such operation, session or slot";
        }

        var writer = new WireWriter(_replyBuffer ??= new byte[4096]);
        var status = row.Execute(v, c.Begin(session, timeNs, isReplay: true), head, ref writer);
        _replyBuffer = writer.Buffer;
        session.Slot(slot).Record(sequence, c.Changed?.Ino ?? Ino.None, writer.Written);
        return status == Status.OK ? null : $"{opcode} of session {sessionId:x}: {(int)status}";
    }

    [ThreadStatic]
    private static byte[]? _replyBuffer;

    private static string? ApplySessionBegun(VolumeState v, ref WireReader r)
    {
        SessionLife.Begin(v, r.Text(Limits.NameMaxBytes), r.U64());
        return null;
    }

    private static string? ApplySessionEnded(VolumeState v, OpContext c, ref WireReader r)
    {
        if (!v.Sessions.TryGetValue(r.U64(), out var session))
        {
            return "no such session";
        }

        SessionLife.End(v, c.Begin(session, r.I64(), isReplay: true));
        return null;
    }

    private static string? ApplyGrantReturned(VolumeState v, ref WireReader r) =>
        v.Sessions.TryGetValue(r.U64(), out var session) && ReturnGrant.Take(v, session, r.U64()) ? null : "no such session or grant";

    private static string? ApplyFlockLost(VolumeState v, ref WireReader r)
    {
        var unlock = new LockRange(LockType.Unlock, 0, LockTable.EndOfFile, 0);
        v.Locks.Set(r.U64(), new LockOwner(r.U64(), r.U64()), flock: true, unlock, wait: false, out _, []);
        return null;
    }

    private static string? ApplyLockGranted(VolumeState v, ref WireReader r)
    {
        var ino = r.U64();
        var owner = new LockOwner(r.U64(), r.U64());
        var flock = r.Bool();
        var range = LockRange.Read(ref r);
        var slot = r.U32();
        var sequence = r.U32();
        if (!v.Sessions.TryGetValue(owner.Session, out var session) || slot >= Limits.SlotsPerSession)
        {
            return "no such session or slot";
        }

        session.Slot(slot).Record(sequence, Ino.None, default);
        var outcome = v.Locks.Set(ino, owner, flock, range, wait: false, out _, []);
        return outcome == LockOutcome.Granted ? null : $"inode {ino}: {outcome}";
    }

    private static string? ApplyLimits(VolumeState v, ref WireReader r)
    {
        v.LimitBytes = r.U64();
        v.LimitInodes = r.U64();
        return null;
    }
}
