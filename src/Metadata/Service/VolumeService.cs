using System.Collections.Concurrent;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Service;

/// <summary>Serves one volume: lets requests in (session, epoch, slot), applies and journals them, and answers.</summary>
/// <remarks>
/// One lock protects everything. Answers are sent under it (sending never blocks), so that an answer never overtakes, nor is overtaken by, a
/// recall that was decided later: a node sees answers and recalls in the order in which the state changed. Recalls are sent after the lock
/// is released, because a call to a connection that is gone completes at once.
/// </remarks>
internal sealed partial class VolumeService : IUnneededBlocks, IDisposable
{
    /// <summary>Why most sessions end: their node wants it.</summary>
    private const string Closed = "closed";

    private readonly Lock _lock = new();
    private readonly string _directory;
    private readonly string _sourceName;
    private readonly MetadataOptions _options;
    private readonly ILogger _logger;
    private readonly OperationCounters _counters;
    private readonly OpContext _context;
    private readonly List<RecallNeed> _needs = [];
    private readonly Dictionary<ulong, SessionRuntime> _sessions = [];
    private readonly RecallTable _recalls = new();
    private readonly Dictionary<ulong, ParkedOperation> _lockWaiters = [];
    private readonly ConcurrentQueue<PendingRecall> _recallOutbox = new();
    private readonly ConcurrentQueue<SessionRuntime> _grantOutbox = new();
    private readonly ConcurrentQueue<MovedName> _nameOutbox = new();
    private readonly ConcurrentQueue<PendingForget> _forgetOutbox = new();
    private readonly Dictionary<(ulong Session, ulong Ino), int> _forgetting = [];
    private readonly LeaseContention _contention = new();
    private VolumeStore _store;
    private VolumeState _state;
    private byte[] _reply = new byte[64 << 10];
    private bool _isBroken;
    private VolumeProperties _properties;

    /// <summary>Loads the volume from its directory.</summary>
    /// <exception cref="DamagedStateException">It cannot be loaded without losing acknowledged operations.</exception>
    public VolumeService(string directory, uint id, CatalogueEntry entry, MetadataOptions options, OperationCounters counters, ILogger logger)
    {
        _directory = directory;
        Id = id;
        Name = entry.Name;
        Source = entry.Source;
        _sourceName = entry.SourceName;
        _properties = entry.Properties;
        _options = options;
        _counters = counters;
        _logger = logger;
        _context = new OpContext { IsContested = ino => _contention.IsContested(ino, NowMs) };
        (_store, _state) = VolumeStore.Open(directory, id, options.SnapshotAfterBytes, logger);
        Adopt();
    }

    public uint Id { get; }

    public string Name { get; }

    /// <summary>There is something to tell storage servers: blocks wait for deletion, or a session has ended.</summary>
    public Action? StorageNews { get; set; }

    /// <summary>Told of each operation when it is applied and journaled, under the lock and before its answer: for tests.</summary>
    public Action<FrameHeader>? Applied { get; set; }

    /// <summary>For tests, which have one thread.</summary>
    public VolumeState State => _state;

    private long NowMs => _options.Time.NowMs();

    /// <summary>A session that has not acknowledged until then was ended before (<see cref="Tick"/>).</summary>
    private int AcknowledgementDeadlineMs => 2 * (_options.SessionTimeoutMs + _options.SessionMarginMs);

    /// <summary>A request of a session of this volume.</summary>
    public void Handle(in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head)
    {
        lock (_lock)
        {
            try
            {
                var status = Admit(call, out var session);
                if (status != Status.OK)
                {
                    Fail(call, status);
                }
                else if (row.Mutates)
                {
                    Mutate(call, row, head, session!);
                }
                else
                {
                    Read(call, row, head, session!);
                }
            }
            catch (Exception e)
            {
                Break(e, call);
            }
        }

        SendRecalls();
    }

    /// <summary>Opens a new session or resumes one.</summary>
    public void OpenSession(in RpcCall call, in OpenSessionRequest request)
    {
        lock (_lock)
        {
            try
            {
                Fail(call, TryOpenSession(call, request));
            }
            catch (Exception e)
            {
                Break(e, call);
            }
        }

        SendRecalls();
    }

    public void RenewSession(in RpcCall call)
    {
        lock (_lock)
        {
            var status = Admit(call, out _);
            if (status == Status.OK)
            {
                call.Reply(default(Empty));
            }
            else
            {
                Fail(call, status);
            }
        }

        SendRecalls();
    }

    /// <summary>Ends the session of the call. One that is gone was closed already.</summary>
    public void CloseSession(in RpcCall call)
    {
        lock (_lock)
        {
            try
            {
                var status = Admit(call, out var session);
                if (status == Status.OK)
                {
                    EndSession(session!, Closed);
                }

                if (status is Status.OK or Status.UnknownSession)
                {
                    call.Reply(default(Empty));
                }
                else
                {
                    Fail(call, status);
                }
            }
            catch (Exception e)
            {
                Break(e, call);
            }
        }

        SendRecalls();
    }

    /// <summary>Ends the waiting of a lock request; when it was granted before, nothing happens.</summary>
    public void CancelLock(in RpcCall call, in CancelLockRequest request)
    {
        lock (_lock)
        {
            var status = Admit(call, out var session);
            if (status != Status.OK)
            {
                Fail(call, status);
                return;
            }

            if (session!.Parked.TryGetValue(request.Slot, out var operation) && operation.Header.Sequence == request.Sequence
                && operation.Stage == ParkedStage.LockWait)
            {
                Abandon(operation);
                session.RecordFailure(request.Slot, request.Sequence, Errno.EINTR.ToStatus());
                Fail(operation.Call, Errno.EINTR.ToStatus());
            }

            call.Reply(default(Empty));
        }
    }

    /// <summary>A connection is gone: recalls that were under way on it are sent again when the session comes back.</summary>
    public void Disconnected(RpcPeer peer)
    {
        lock (_lock)
        {
            foreach (var session in _sessions.Values)
            {
                if (session.Peer == peer)
                {
                    session.Peer = null;
                }
            }
        }
    }

    /// <summary>Ends sessions that were not heard of for the time-out and a margin; when there are none, one that owes an acknowledgement of a recall for that long.</summary>
    /// <remarks>Only one: a kernel may be unable to forget a page until a write is answered, which waits for the acknowledgement of another session.</remarks>
    public void Tick()
    {
        lock (_lock)
        {
            try
            {
                var limit = NowMs - _options.SessionTimeoutMs - _options.SessionMarginMs;
                SessionRuntime[] silent = [.. _sessions.Values.Where(s => s.LastSeenMs < limit)];
                foreach (var session in silent)
                {
                    EndSession(session, "expired");
                }

                if (silent.Length == 0 && FindOverdue(limit) is { } overdue)
                {
                    EndSession(overdue, "did not acknowledge a recall");
                }
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }

        SendRecalls();
    }

    /// <summary>
    /// The session that owes the oldest acknowledgement, if that was to be given before <paramref name="limitMs"/>; or, if an operation of its own waits for another
    /// session, that one, which keeps it from acknowledging; nobody while that one still has time.
    /// </summary>
    private SessionRuntime? FindOverdue(long limitMs)
    {
        if (FindOldestOwed(waits: null) is not { } oldest || oldest.SinceMs >= limitMs)
        {
            return null;
        }

        HashSet<SessionRuntime> seen = [];
        var session = oldest.By;
        while (seen.Add(session))
        {
            if (FindOldestOwed(waits: session) is not { } next)
            {
                return session;
            }

            if (next.SinceMs >= limitMs)
            {
                return null;
            }

            session = next.By;
        }

        return oldest.By; // they wait for each other
    }

    /// <summary>Who owes the oldest acknowledgement; with <paramref name="waits"/>, of those for which an operation of that session waits, by others.</summary>
    private (SessionRuntime By, long SinceMs)? FindOldestOwed(SessionRuntime? waits)
    {
        (SessionRuntime By, long SinceMs)? oldest = null;
        foreach (var recall in _recalls.All)
        {
            if (_sessions.TryGetValue(recall.Session, out var by))
            {
                Consider(by, recall.CreatedMs, recall.Waiters, recall.Next);
            }
        }

        foreach (var by in _sessions.Values)
        {
            foreach (var forget in by.Forgets)
            {
                Consider(by, forget.CreatedMs, forget.Waiters, []);
            }
        }

        return oldest;

        void Consider(SessionRuntime by, long sinceMs, List<ParkedOperation> waiters, List<ParkedOperation> next)
        {
            var counts = waits is null || (by != waits && waiters.Concat(next).Any(operation => operation.Session == waits && !operation.IsDead));
            if (counts && (oldest is null || sinceMs < oldest.Value.SinceMs))
            {
                oldest = (by, sinceMs);
            }
        }
    }

    /// <summary>Changes the quota; the same one again is nothing.</summary>
    public void SetLimits(ulong bytes, ulong inodes)
    {
        lock (_lock)
        {
            if (_state.LimitBytes == bytes && _state.LimitInodes == inodes)
            {
                return;
            }

            try
            {
                (_state.LimitBytes, _state.LimitInodes) = (bytes, inodes);
                var record = _store.Journal.Begin();
                Records.LimitsSet(ref record, bytes, inodes);
                _store.Journal.Append(record);
                Flush();
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }
    }

    /// <summary>Others are kept for the controller from now on; the catalogue has them already.</summary>
    public void Keep(in VolumeProperties properties)
    {
        lock (_lock)
        {
            _properties = properties;
        }
    }

    public VolumeStatus Describe()
    {
        lock (_lock)
        {
            return new VolumeStatus(
                Id, Name, "", _state.LimitBytes, _state.UsedBytes, _state.LimitInodes, _state.UsedInodes, (uint)_state.Sessions.Count,
                _properties.Hints ?? "", _properties.Labels, _sourceName, _properties.CreatedNs, Source, IsDescribed: true);
        }
    }

    /// <summary>Writes a snapshot, so that the next start replays nothing.</summary>
    public void Checkpoint()
    {
        lock (_lock)
        {
            if (!_isBroken)
            {
                _store.Checkpoint(_state);
            }
        }
    }

    /// <summary>The volume is deleted: whatever waits is told that its session is gone.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _isBroken = true;
            foreach (var operation in _sessions.Values.SelectMany(s => s.Parked.Values).ToArray())
            {
                operation.IsDead = true;
                Fail(operation.Call, Status.UnknownSession);
            }

            FailOpenings(Status.NoSuchVolume);
            _sessions.Clear();
            _recalls.Clear();
            _forgetting.Clear();
            _lockWaiters.Clear();
            _store.Dispose();
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _isBroken = true;
            _store.Dispose();
        }
    }

    /// <summary>The state as canonical bytes; equal states give equal bytes. For tests and debugging.</summary>
    public byte[] Dump()
    {
        lock (_lock)
        {
            return Snapshot.Dump(_state);
        }
    }

    private Status Admit(in RpcCall call, out SessionRuntime? session)
    {
        if (_isBroken)
        {
            session = null;
            return Status.Unavailable;
        }

        if (!_sessions.TryGetValue(call.Header.Session, out session))
        {
            return Status.UnknownSession;
        }

        if (call.Header.Epoch != session.State.Epoch)
        {
            return call.Header.Epoch < session.State.Epoch ? Status.StaleEpoch : Status.BadRequest;
        }

        // A dead daemon's requests may still arrive, even when its successor is gone too: only the connection that asked for the session last is heard.
        if (session.Peer != call.Peer)
        {
            return Status.Unavailable;
        }

        session.LastSeenMs = NowMs;
        return Status.OK;
    }

    private void Read(in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session)
    {
        var writer = new WireWriter(_reply);
        var status = row.Execute(_state, _context.Begin(session.State, call.Header.TimeNs, session.Holder), head, ref writer);
        _reply = writer.Buffer;
        if (status == Status.OK)
        {
            call.ReplyRaw(status, writer.Written, Lease(session));
        }
        else
        {
            Fail(call, status, Lease(session));
        }
    }

    private void Mutate(in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session)
    {
        var (slotIndex, sequence) = (call.Header.Slot, call.Header.Sequence);
        if (sequence == 0 || slotIndex >= Limits.SlotsPerSession)
        {
            Fail(call, Status.BadRequest);
            return;
        }

        if (session.Parked.TryGetValue(slotIndex, out var parked))
        {
            if (parked.Header.Sequence == sequence)
            {
                parked.Call = call;
                if (parked.Stage == ParkedStage.AfterApply)
                {
                    // Who asks again may be another daemon than the one that obeyed the recalls since it was applied.
                    parked.Lease = FrameFlags.None;
                }

                return;
            }

            if (sequence < parked.Header.Sequence)
            {
                Fail(call, Status.BadRequest);
                return;
            }

            // The node has given the earlier operation up.
            Abandon(parked);
        }

        ref var slot = ref session.State.Slot(slotIndex);
        var failure = session.FailureOf(slotIndex);
        var last = Math.Max(slot.Sequence, failure.Sequence);
        if (sequence > last)
        {
            Run(call, row, head, session, null);
        }
        else if (sequence < last)
        {
            Fail(call, Status.BadRequest);
        }
        else if (sequence == failure.Sequence)
        {
            Fail(call, failure.Status);
        }
        else
        {
            AnswerAgain(call, row, session, slot);
        }
    }

    /// <summary>The operation was applied and journaled before. Its answer goes out once nobody else caches what it changed.</summary>
    private void AnswerAgain(in RpcCall call, OperationRow row, SessionRuntime session, in SlotState slot)
    {
        ParkedOperation? operation = null;
        if (slot.ChangedIno != Ino.None)
        {
            foreach (var recall in _recalls.All)
            {
                if (recall.Ino == slot.ChangedIno && recall.Action == RecallAction.Invalidate && recall.Session != session.State.Id)
                {
                    recall.Waiters.Add(AwaitOneMore(call, row, session, ref operation));
                }
            }
        }

        AwaitEverythingForgotten(call, row, session, ref operation);
        if (operation is null)
        {
            AnswerAsItIsNow(call, row, session, slot.Reply, FrameFlags.None);
        }
    }

    /// <summary>Applies a mutation, or parks it until others have done what it needs. A parked one comes back here.</summary>
    private void Run(in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session, ParkedOperation? parked)
    {
        var header = parked?.Header ?? call.Header;
        if (_state.Sessions.Count > 1 && MustWaitForOthers(call, row, head, session, ref parked))
        {
            return;
        }

        var context = _context.Begin(session.State, header.TimeNs, session.Holder);
        var writer = new WireWriter(_reply);
        var status = row.Execute(_state, context, head, ref writer);
        _reply = writer.Buffer;
        KillPoint.Hit("metadata.after-apply");
        if (status == Status.OK)
        {
            var journal = _store.Journal;
            var record = journal.Begin();
            Records.Request(ref record, header, head.Span);
            journal.Append(record);
            session.State.Slot(header.Slot).Record(header.Sequence, context.Changed?.Ino ?? Ino.None, writer.Written);
            JournalGrantedLocks();
            Flush();
            KillPoint.Hit("metadata.after-journal");
            Applied?.Invoke(header);
            AnswerLocks();
            Finish(call, row, session, parked);
            return;
        }

        if (status == SetLock.Waits)
        {
            WaitForLock(call, row, head, session, parked);
            return;
        }

        if (context.MissingBytes > 0 && parked is not { GrantsRecalled: true } && RecallGrants(call, row, head, session, ref parked))
        {
            return;
        }

        JournalLostFlock(row, head, session);
        session.RecordFailure(header.Slot, header.Sequence, status);
        Unpark(parked);
        Fail(parked?.Call ?? call, status, Lease(session));
    }

    /// <summary>The operation is applied and journaled: answers it, at once or when others have forgotten what they cache.</summary>
    private void Finish(in RpcCall call, OperationRow row, SessionRuntime session, ParkedOperation? parked)
    {
        if (_context.Changed is { Extras: { } extras } changed)
        {
            foreach (ref readonly var opener in extras.Openers)
            {
                if (opener.Session != session.State.Id)
                {
                    AwaitInvalidate(AwaitOneMore(call, row, session, ref parked), opener.Session, changed.Ino);
                }
            }
        }

        var lease = Lease(session) | LetDefer(row, session);
        AwaitForgotten(call, row, session, ref parked);
        foreach (var (parent, name) in _context.MovedAway)
        {
            foreach (var other in _sessions.Values)
            {
                if (other != session && other.Peer is { IsConnected: true })
                {
                    _nameOutbox.Enqueue(new MovedName(other, parent, name, AwaitOneMore(call, row, session, ref parked)));
                }
            }
        }

        if (parked is { Stage: ParkedStage.AfterApply, Pending: > 0 })
        {
            parked.Lease = lease;
            return;
        }

        Unpark(parked);
        KillPoint.Hit("metadata.before-reply");
        var reply = session.State.Slot((parked?.Header ?? call.Header).Slot).Reply;
        if (_recalls.Count > 0)
        {
            AnswerAsItIsNow(parked?.Call ?? call, row, session, reply, lease);
        }
        else
        {
            (parked?.Call ?? call).ReplyRaw(Status.OK, reply, lease);
        }
    }

    private void Fail(in RpcCall call, Status status, FrameFlags lease = FrameFlags.None)
    {
        if (status != Status.OK)
        {
            _counters.Failed(call.Header.Opcode, status);
            call.Fail(status, lease);
        }
    }

    /// <summary>Nobody is let in any more of those who wait.</summary>
    private void FailOpenings(Status status)
    {
        foreach (var (call, _) in _sessions.Values.SelectMany(s => s.Forgets).SelectMany(forget => forget.Openings))
        {
            Fail(call, status);
        }
    }

    private void Flush()
    {
        _store.Flush();
        if (_state.Blocks.DeleteQueues.Count > 0)
        {
            StorageNews?.Invoke();
        }
    }

    /// <summary>Makes runtime sessions for the sessions of the state. After a restart nobody knows which answers and recalls got through, nor who caches what: all
    /// forget all names and attributes, every file that several sessions have open is invalidated at all of them, and a repeated request waits for that.</summary>
    private void Adopt()
    {
        _sessions.Clear();
        _recalls.Clear();
        _lockWaiters.Clear();
        _forgetting.Clear();
        foreach (var session in _state.Sessions.Values)
        {
            var runtime = new SessionRuntime(session, NowMs) { Holder = FreeHolder(), MayDefer = _state.Sessions.Count == 1 };
            _sessions.Add(session.Id, runtime);
            runtime.Forgets.Add(new PendingForget(runtime, new ForgetRequest([], [], Everything: true, Deferred: false), NowMs));
            foreach (var handle in session.Handles.Values)
            {
                if (_state.Inodes.Find(handle.Ino) is { Extras.OpenerCount: > 1, Attributes.IsRegular: true })
                {
                    _recalls.GetOrAdd(session.Id, handle.Ino, RecallAction.Invalidate, NowMs, out _);
                }
            }
        }
    }

    /// <summary>An operation threw, or the journal could not be written: the state may be ahead of the journal. What was acknowledged is in the journal, so
    /// the state is loaded from there again; all connections are cut so that requests without an answer come again.</summary>
    private void Break(Exception error, in RpcCall? call)
    {
        _logger.LogError(error, "volume {Volume}: an operation failed; the state is loaded from the journal again", Name);
        var isMedium = error is System.IO.IOException or UnauthorizedAccessException;
        if (call is { } answer)
        {
            answer.Fail(isMedium ? Errno.EIO.ToStatus() : Status.Internal);
        }

        // Not from here: closing a connection calls back into the volumes.
        RpcPeer[] peers = [.. _sessions.Values.Select(s => s.Peer).OfType<RpcPeer>().Distinct()];
        ThreadPool.QueueUserWorkItem(static cut => Array.ForEach(cut, peer => peer.Dispose()), peers, preferLocal: false);

        FailOpenings(Status.Unavailable);
        try
        {
            _store.Dispose();
            (_store, _state) = VolumeStore.Open(_directory, Id, _options.SnapshotAfterBytes, _logger);
            Adopt();
        }
        catch (Exception e)
        {
            _isBroken = true;
            _logger.LogCritical(e, "volume {Volume}: the state cannot be loaded; requests are refused until the server is restarted", Name);
        }
    }
}
