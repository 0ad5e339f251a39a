using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Service;

/// <summary>A recall that a session has not acknowledged yet.</summary>
/// <param name="session">Who is asked.</param>
/// <param name="ino">Which file.</param>
/// <param name="action">To do what.</param>
/// <param name="createdMs">Since when, milliseconds of the monotonic clock.</param>
internal sealed class PendingRecall(ulong session, ulong ino, RecallAction action, long createdMs)
{
    public ulong Session => session;

    public ulong Ino => ino;

    public RecallAction Action => action;

    public long CreatedMs { get; set; } = createdMs;

    /// <summary>Which open it is about (<see cref="Namespace.Opener.Since"/>): an acknowledgement says nothing about a later one.</summary>
    public ulong Since { get; set; }

    /// <summary>The connection on which it is under way, or null.</summary>
    public RpcPeer? SentOn { get; set; }

    /// <summary>Operations that this acknowledgement lets go on.</summary>
    public List<ParkedOperation> Waiters { get; set; } = [];

    /// <summary>Operations that changed the file after the recall was sent: an acknowledgement of it may be older than their change, so it is sent once more.</summary>
    public List<ParkedOperation> Next { get; set; } = [];
}

/// <summary>Recalls by session, file and action: at most one of a kind is under way.</summary>
internal sealed class RecallTable
{
    private readonly Dictionary<(ulong Session, ulong Ino, RecallAction Action), PendingRecall> _pending = [];

    public int Count => _pending.Count;

    /// <summary>Recalls issued so far.</summary>
    public long Issued { get; private set; }

    public IEnumerable<PendingRecall> All => _pending.Values;

    public bool Contains(PendingRecall recall) =>
        _pending.TryGetValue((recall.Session, recall.Ino, recall.Action), out var found) && found == recall;

    public PendingRecall? Find(ulong session, ulong ino, RecallAction action) => _pending.GetValueOrDefault((session, ino, action));

    /// <summary>The recall of that kind, made if there is none; <paramref name="isNew"/> tells that it must be sent.</summary>
    public PendingRecall GetOrAdd(ulong session, ulong ino, RecallAction action, long nowMs, out bool isNew)
    {
        isNew = !_pending.TryGetValue((session, ino, action), out var recall);
        if (isNew)
        {
            _pending.Add((session, ino, action), recall = new PendingRecall(session, ino, action, nowMs));
            Issued++;
        }

        return recall!;
    }

    public void Remove(PendingRecall recall) => _pending.Remove((recall.Session, recall.Ino, recall.Action));

    public PendingRecall[] OfSession(ulong session) => [.. _pending.Values.Where(r => r.Session == session)];

    public void Clear() => _pending.Clear();
}
