using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Service;

/// <summary>What the server knows of a session besides its journaled state: where it is, when it was heard of, what it waits for.</summary>
internal sealed class SessionRuntime(SessionState state, long nowMs)
{
    private (uint Sequence, Status Status)[] _failures = [];

    public SessionState State { get; set; } = state;

    /// <summary>The connection for call-backs; null until the session was heard of.</summary>
    public RpcPeer? Peer { get; set; }

    /// <summary>Of the connection on which the session was last asked for (<see cref="OpenSessionRequest.Connection"/>).</summary>
    public ulong Connection { get; set; }

    /// <summary>When a request last came, milliseconds of the monotonic clock.</summary>
    public long LastSeenMs { get; set; } = nowMs;

    /// <summary>Its bit in <see cref="Inode.CachedBy"/>; 0 when all 64 are taken: such a session caches no names and attributes.</summary>
    public ulong Holder { get; init; }

    /// <summary>Whether it may have made files that the server has not heard of (<see cref="FrameFlags.MayDefer"/>): it is asked before another session is let in.</summary>
    public bool MayDefer { get; set; }

    /// <summary>What it was told to forget and has not acknowledged.</summary>
    public List<PendingForget> Forgets { get; } = [];

    /// <summary>Operations that were not answered yet, by slot.</summary>
    public Dictionary<uint, ParkedOperation> Parked { get; } = [];

    /// <summary>Operations that wait until the session has answered how much grant it gives back; null when it was not asked.</summary>
    public List<ParkedOperation>? GrantRecall { get; set; }

    /// <summary>The last failed operation of a slot. Failures change nothing, so they are not journaled: after a restart the request is tried again.</summary>
    public (uint Sequence, Status Status) FailureOf(uint slot) => slot < (uint)_failures.Length ? _failures[slot] : default;

    public void RecordFailure(uint slot, uint sequence, Status status)
    {
        if (slot >= (uint)_failures.Length)
        {
            Array.Resize(ref _failures, (int)Math.Max(slot + 1, Math.Min(Limits.SlotsPerSession, _failures.Length * 2)));
        }

        _failures[slot] = (sequence, status);
    }
}

/// <summary>Names and attributes that a session must forget because another one has changed them.</summary>
/// <param name="session">Who.</param>
/// <param name="request">What.</param>
/// <param name="createdMs">Since when, milliseconds of the monotonic clock.</param>
internal sealed class PendingForget(SessionRuntime session, ForgetRequest request, long createdMs)
{
    public SessionRuntime Session => session;

    public ForgetRequest Request => request;

    public long CreatedMs => createdMs;

    /// <summary>The connection on which it is under way, or null.</summary>
    public RpcPeer? SentOn { get; set; }

    /// <summary>Operations that are answered when it is acknowledged.</summary>
    public List<ParkedOperation> Waiters { get; } = [];

    /// <summary>Sessions that are let in then.</summary>
    public List<(RpcCall Call, OpenSessionRequest Request)> Openings { get; } = [];
}

/// <summary>Why an operation was not answered yet.</summary>
internal enum ParkedStage
{
    /// <summary>It is not applied: other sessions must write through first, or give quota bytes back.</summary>
    BeforeApply,

    /// <summary>It is applied and journaled: other sessions must forget what they cache before the answer goes out.</summary>
    AfterApply,

    /// <summary>It waits for a lock.</summary>
    LockWait,
}

/// <summary>A slot operation that was not answered yet. A resent request takes the place of the call that is to be answered.</summary>
internal sealed class ParkedOperation(RpcCall call, OperationRow row, byte[] head, SessionRuntime session)
{
    public RpcCall Call { get; set; } = call;

    public FrameHeader Header { get; } = call.Header;

    public OperationRow Row => row;

    /// <summary>The request's message, copied.</summary>
    public byte[] Head => head;

    public SessionRuntime Session => session;

    public ParkedStage Stage { get; set; }

    /// <summary>Acknowledgements that are due.</summary>
    public int Pending { get; set; }

    /// <summary>What of its answer may be cached.</summary>
    public FrameFlags Lease { get; set; }

    /// <summary>Grants were called back for it already: what is there now is what there is.</summary>
    public bool GrantsRecalled { get; set; }

    /// <summary>The lock request that waits.</summary>
    public Locks.LockTicket Ticket { get; set; }

    /// <summary>The session is gone, or its node has given the operation up: nothing happens any more.</summary>
    public bool IsDead { get; set; }
}

/// <summary>A name that a directory had before it was moved, which a session's node must forget.</summary>
/// <param name="Session">Who is asked.</param>
/// <param name="Parent">The directory that had it.</param>
/// <param name="Name">The name.</param>
/// <param name="Waiter">The operation that is answered afterwards.</param>
internal sealed record MovedName(SessionRuntime Session, ulong Parent, byte[] Name, ParkedOperation Waiter);
