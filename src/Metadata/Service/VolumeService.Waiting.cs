using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Locks;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Metadata.Service;

/// <content>Operations that wait: for other sessions to write through, to forget, to give grant back, or for a lock.</content>
internal sealed partial class VolumeService
{
    private static ParkedOperation Park(in RpcCall call, OperationRow row, byte[] head, SessionRuntime session, ParkedStage stage)
    {
        var operation = new ParkedOperation(call, row, head, session) { Stage = stage };
        session.Parked.Add(call.Header.Slot, operation);
        return operation;
    }

    /// <summary>The operation is applied and journaled; its answer waits for one acknowledgement more.</summary>
    private static ParkedOperation AwaitOneMore(in RpcCall call, OperationRow row, SessionRuntime session, ref ParkedOperation? parked)
    {
        parked ??= Park(call, row, [], session, ParkedStage.AfterApply);
        parked.Stage = ParkedStage.AfterApply;
        parked.Pending++;
        return parked;
    }

    private static void Unpark(ParkedOperation? operation)
    {
        if (operation is not null)
        {
            operation.Session.Parked.Remove(operation.Header.Slot);
        }
    }

    /// <summary>Nobody waits for the operation any more; one that was not applied will not be.</summary>
    private void Abandon(ParkedOperation operation)
    {
        operation.IsDead = true;
        Unpark(operation);
        if (operation.Stage == ParkedStage.LockWait)
        {
            _lockWaiters.Remove(operation.Ticket.Id);
            _state.Locks.Cancel(operation.Ticket);
        }
    }

    private bool MustWaitForOthers(
        in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session, ref ParkedOperation? parked)
    {
        _needs.Clear();
        row.Inspect(_state, session.State, head, _needs);
        if (_needs.Count > 0)
        {
            parked ??= Park(call, row, head.ToArray(), session, ParkedStage.BeforeApply);
            foreach (var need in _needs)
            {
                parked.Pending++;
                AwaitThrough(parked, need);
            }

            return true;
        }

        return row.Opcode == Opcode.AcquireGrant && parked is not { GrantsRecalled: true }
            && RpcCall.TryRead<AcquireGrantRequest>(head, out var acquire) && acquire.Bytes > _state.FreeBytes
            && RecallGrants(call, row, head, session, ref parked);
    }

    private void AwaitThrough(ParkedOperation operation, in RecallNeed need)
    {
        var recall = _recalls.GetOrAdd(need.Session, need.Ino, RecallAction.GoThrough, NowMs, out var isNew);
        if (isNew)
        {
            recall.Since = need.Since;
        }

        recall.Waiters.Add(operation);
        if (isNew)
        {
            _recallOutbox.Enqueue(recall);
        }
    }

    private void AwaitInvalidate(ParkedOperation operation, ulong session, ulong ino)
    {
        var recall = _recalls.GetOrAdd(session, ino, RecallAction.Invalidate, NowMs, out var isNew);
        if (recall.SentOn is null)
        {
            recall.Waiters.Add(operation);
        }
        else
        {
            recall.Next.Add(operation);
        }

        if (isNew)
        {
            _recallOutbox.Enqueue(recall);
        }
    }

    /// <summary>Asks sessions for unused grant: all but the one that asks for more grant, or all where the growth comes out of the free quota (the
    /// session's own unused grant is as free as others'; a node gives it back without waiting for anything). False when nobody has any.</summary>
    private bool RecallGrants(
        in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session, ref ParkedOperation? parked)
    {
        foreach (var other in _sessions.Values)
        {
            var isAsked = other != session || row.Opcode is Opcode.Fallocate or Opcode.Clone;
            if (!isAsked || other.State.GrantBytes == 0 || other.Peer is not { IsConnected: true })
            {
                continue;
            }

            parked ??= Park(call, row, head.ToArray(), session, ParkedStage.BeforeApply);
            parked.GrantsRecalled = true;
            parked.Pending++;
            if (other.GrantRecall is null)
            {
                other.GrantRecall = [];
                _grantOutbox.Enqueue(other);
            }

            other.GrantRecall.Add(parked);
        }

        return parked is { Pending: > 0 };
    }

    /// <summary>Sends what was decided under the lock, after it was released.</summary>
    private void SendRecalls()
    {
        while (_recallOutbox.TryDequeue(out var recall))
        {
            RpcPeer? peer;
            uint epoch;
            lock (_lock)
            {
                if (!_recalls.Contains(recall) || recall.SentOn is not null || !_sessions.TryGetValue(recall.Session, out var session)
                    || session.Peer is not { IsConnected: true })
                {
                    continue;
                }

                recall.SentOn = peer = session.Peer;
                epoch = session.State.Epoch;
            }

            _ = RecallAsync(recall, peer, epoch);
        }

        while (_forgetOutbox.TryDequeue(out var forget))
        {
            SendForget(forget);
        }

        while (_grantOutbox.TryDequeue(out var session))
        {
            _ = RecallGrantAsync(session);
        }

        while (_nameOutbox.TryDequeue(out var moved))
        {
            _ = ForgetNameAsync(moved);
        }
    }

    private async Task RecallAsync(PendingRecall recall, RpcPeer peer, uint epoch)
    {
        var result = await peer.CallAsync<RecallRequest, Empty>(
            new RecallRequest(recall.Ino, recall.Action), new CallHeader(recall.Session, epoch), timeoutMs: AcknowledgementDeadlineMs);
        lock (_lock)
        {
            try
            {
                if (!_recalls.Contains(recall) || recall.SentOn != peer)
                {
                    return;
                }

                if (result.Status is Status.Unavailable or Status.Canceled)
                {
                    recall.SentOn = null;
                    if (_sessions.TryGetValue(recall.Session, out var back) && back.Peer is { IsConnected: true })
                    {
                        _recallOutbox.Enqueue(recall);
                    }
                }
                else
                {
                    if (result.Status != Status.OK)
                    {
                        // What could not be written back is reported there; here it only matters that the node holds nothing any more.
                        _logger.LogWarning(
                            "volume {Volume}: session {Session:x} answered the recall of inode {Ino} with {Status}",
                            Name, recall.Session, recall.Ino, result.Status);
                    }

                    Acknowledge(recall);
                }
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }

        SendRecalls();
    }

    private void Acknowledge(PendingRecall recall)
    {
        if (recall.Action == RecallAction.GoThrough && _state.Inodes.Find(recall.Ino) is { Extras: { } extras }
            && extras.IndexOf(recall.Session) is var index && index >= 0 && extras.Openers[index].Since == recall.Since
            && !extras.Openers[index].Through)
        {
            Opens.MarkThrough(_state, recall.Session, recall.Ino);
            var record = _store.Journal.Begin();
            Records.MarkedThrough(ref record, recall.Session, recall.Ino);
            _store.Journal.Append(record);
            Flush();
        }

        var waiters = recall.Waiters;
        if (recall.Next.Count > 0)
        {
            (recall.Waiters, recall.Next, recall.SentOn, recall.CreatedMs) = (recall.Next, [], null, NowMs);
            _recallOutbox.Enqueue(recall);
        }
        else
        {
            _recalls.Remove(recall);
        }

        Release(waiters);
    }

    /// <summary>One acknowledgement less to wait for.</summary>
    private void Release(List<ParkedOperation> waiters)
    {
        foreach (var operation in waiters)
        {
            if (--operation.Pending > 0 || operation.IsDead)
            {
                continue;
            }

            if (operation.Stage == ParkedStage.BeforeApply)
            {
                Run(operation.Call, operation.Row, operation.Head, operation.Session, operation);
            }
            else
            {
                Unpark(operation);
                KillPoint.Hit("metadata.before-reply");
                AnswerAsItIsNow(operation.Call, operation.Row, operation.Session, operation.Session.State.Slot(operation.Header.Slot).Reply, operation.Lease);
            }
        }
    }

    /// <summary>
    /// Answers an operation that was applied, perhaps a while ago. What an open is told is as it is now: others may have opened or changed the file meanwhile, and
    /// recalls of a file that the node did not know as open yet have changed nothing there. A recall that is under way counts as obeyed: the node may obey it for
    /// handles that it has closed by now.
    /// </summary>
    private void AnswerAsItIsNow(in RpcCall call, OperationRow row, SessionRuntime session, ReadOnlySpan<byte> reply, FrameFlags lease)
    {
        var writer = new WireWriter(_reply);
        if (row.Opcode is Opcode.Open or Opcode.Tmpfile && RpcCall.TryRead<OpenReply>(reply.ToArray(), out var opened))
        {
            AsItIsNow(session, opened).Write(ref writer);
            reply = writer.Written;
        }
        else if (row.Opcode is Opcode.Create && RpcCall.TryRead<CreateReply>(reply.ToArray(), out var created))
        {
            (created with { File = AsItIsNow(session, created.File) }).Write(ref writer);
            reply = writer.Written;
        }

        _reply = writer.Buffer;
        call.ReplyRaw(Status.OK, reply, lease);
    }

    private OpenReply AsItIsNow(SessionRuntime session, in OpenReply opened)
    {
        if (_state.Inodes.Find(opened.Attributes.Ino) is not { Attributes.IsRegular: true } inode)
        {
            return opened;
        }

        var isCalledBack = _recalls.Find(session.State.Id, inode.Ino, RecallAction.GoThrough) is not null;
        return Layouts.Opened(inode, isCalledBack ? DataMode.Through : Opens.ModeOf(session.State, inode), opened.Created);
    }

    private async Task RecallGrantAsync(SessionRuntime session)
    {
        var peer = session.Peer;
        var result = peer is not null
            ? await peer.CallAsync<RecallGrantRequest, RecallGrantReply>(
                default, new CallHeader(session.State.Id, session.State.Epoch), timeoutMs: _options.GrantRecallTimeoutMs)
            : new RpcResult<RecallGrantReply>(Status.Unavailable, default);
        lock (_lock)
        {
            try
            {
                if (session.GrantRecall is not { } waiters)
                {
                    return;
                }

                session.GrantRecall = null;

                // An answer of a daemon whose successor has been told already what is granted counts no more.
                var bytes = result.IsOk && session.Peer == peer ? Math.Min(result.Value.Bytes, session.State.GrantBytes) : 0;
                if (bytes > 0)
                {
                    ReturnGrant.Take(_state, session.State, bytes);
                    var record = _store.Journal.Begin();
                    Records.GrantReturned(ref record, session.State.Id, bytes);
                    _store.Journal.Append(record);
                    Flush();
                }

                Release(waiters);
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }

        SendRecalls();
    }

    /// <summary>
    /// Makes a node's kernel forget where a directory was. It looks names up each time, but a directory has one place in its cache, and when a rename
    /// finds it at another one, the kernel may not move it under the locks that the rename holds: ESTALE (<c>__d_unalias</c> in fs/dcache.c).
    /// A node that does not answer is not waited for long: nothing else depends on it.
    /// </summary>
    private async Task ForgetNameAsync(MovedName moved)
    {
        if (moved.Session.Peer is { } peer)
        {
            await peer.CallAsync<ForgetNameRequest, Empty>(
                new ForgetNameRequest(moved.Parent, moved.Name),
                new CallHeader(moved.Session.State.Id, moved.Session.State.Epoch),
                timeoutMs: _options.ForgetNameTimeoutMs);
        }

        lock (_lock)
        {
            try
            {
                Release([moved.Waiter]);
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }

        SendRecalls();
    }

    private void WaitForLock(in RpcCall call, OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session, ParkedOperation? parked)
    {
        var ticket = _context.Ticket;
        JournalLostFlock(row, head, session);
        parked ??= Park(call, row, head.ToArray(), session, ParkedStage.LockWait);
        parked.Stage = ParkedStage.LockWait;
        parked.Ticket = ticket;
        _lockWaiters.Add(ticket.Id, parked);
    }

    /// <summary>A flock that is converted is lost when the conversion fails or waits, flock(2): that much of a failed request must survive.</summary>
    private void JournalLostFlock(OperationRow row, ReadOnlyMemory<byte> head, SessionRuntime session)
    {
        if (row.Opcode != Opcode.SetLock || !RpcCall.TryRead<SetLockRequest>(head, out var request) || !request.Flock)
        {
            return;
        }

        var record = _store.Journal.Begin();
        Records.FlockLost(ref record, request.Ino, new LockOwner(session.State.Id, request.Owner));
        _store.Journal.Append(record);
        JournalGrantedLocks();
        Flush();
        AnswerLocks();
    }

    /// <summary>Journals the lock requests that were granted by the operation at hand, and records their answers.</summary>
    private void JournalGrantedLocks()
    {
        foreach (var ticket in _context.Granted)
        {
            if (!_lockWaiters.TryGetValue(ticket.Id, out var operation))
            {
                throw new InvalidOperationException($"lock ticket {ticket.Id} was granted to nobody");
            }

            var record = _store.Journal.Begin();
            Records.LockGranted(ref record, ticket, operation.Header.Slot, operation.Header.Sequence);
            _store.Journal.Append(record);
            operation.Session.State.Slot(operation.Header.Slot).Record(operation.Header.Sequence, Ino.None, default);
        }
    }

    /// <summary>Answers lock requests that were granted or dropped, after the journal was written.</summary>
    private void AnswerLocks()
    {
        foreach (var ticket in _context.Granted)
        {
            if (_lockWaiters.Remove(ticket.Id, out var operation))
            {
                Unpark(operation);
                KillPoint.Hit("metadata.before-reply");
                operation.Call.Reply(default(Empty));
            }
        }

        foreach (var ticket in _context.Dropped)
        {
            if (_lockWaiters.Remove(ticket.Id, out var operation))
            {
                operation.IsDead = true;
                Unpark(operation);
                Fail(operation.Call, Errno.EBADF.ToStatus());
            }
        }
    }

    private Status TryOpenSession(in RpcCall call, in OpenSessionRequest request)
    {
        if (_isBroken)
        {
            return Status.Unavailable;
        }

        var session = request.ResumeSession != 0 ? _sessions.GetValueOrDefault(request.ResumeSession) : FindOpened(request.Opening);
        if (session is null && request.ResumeSession != 0)
        {
            return Status.UnknownSession;
        }

        if (session is not null)
        {
            if (request.ResumeSession != 0 && request.ResumeEpoch != session.State.Epoch)
            {
                return request.ResumeEpoch < session.State.Epoch ? Status.StaleEpoch : Status.BadRequest;
            }

            if (request.Connection < session.Connection)
            {
                return Status.Unavailable;
            }

            session.LastSeenMs = NowMs;
        }
        else if (AwaitDeferred(call, request))
        {
            return Status.OK;
        }
        else
        {
            var state = SessionLife.Begin(_state, request.Node, request.Opening);
            var record = _store.Journal.Begin();
            Records.SessionBegun(ref record, request.Node, request.Opening);
            _store.Journal.Append(record);
            Flush();
            session = new SessionRuntime(state, NowMs) { Holder = FreeHolder() };
            _sessions.Add(state.Id, session);
            _logger.LogInformation("volume {Volume}: session {Session:x} of node {Node} opened", Name, state.Id, request.Node);
        }

        session.Connection = request.Connection;
        Bind(session, call.Peer);
        call.Reply(new OpenSessionReply(
            session.State.Id, session.State.Epoch, Id, (uint)_options.SessionTimeoutMs, _state.Inodes.Find(Ino.Root)!.Attributes, session.State.GrantBytes));
        return Status.OK;
    }

    /// <summary>The session that was opened before with this number: its node did not hear so.</summary>
    private SessionRuntime? FindOpened(ulong opening)
    {
        foreach (var session in _sessions.Values)
        {
            if (opening != 0 && session.State.Opening == opening)
            {
                return session;
            }
        }

        return null;
    }

    /// <summary>
    /// The session's requests come, and call-backs go, by this connection from now on; recalls that are not under way on it are sent. What is still under way on an
    /// older one is refused: it may be a dead daemon's, after whose last change its successor has asked.
    /// </summary>
    private void Bind(SessionRuntime session, RpcPeer peer)
    {
        if (session.Peer == peer)
        {
            return;
        }

        session.Peer = peer;
        foreach (var forget in session.Forgets)
        {
            if (forget.SentOn != peer)
            {
                forget.SentOn = null;
                _forgetOutbox.Enqueue(forget);
            }
        }

        if (_recalls.Count == 0)
        {
            return;
        }

        foreach (var recall in _recalls.OfSession(session.State.Id))
        {
            if (recall.SentOn != peer)
            {
                recall.SentOn = null;
                _recallOutbox.Enqueue(recall);
            }
        }
    }

    /// <summary>Ends a session: its files are closed, its locks dropped, its grants returned, and what others wait for from it counts as done.</summary>
    private void EndSession(SessionRuntime session, string reason)
    {
        var timeNs = (_options.Time.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
        foreach (var operation in session.Parked.Values.ToArray())
        {
            Abandon(operation);
            Fail(operation.Call, Status.UnknownSession);
        }

        SessionLife.End(_state, _context.Begin(session.State, timeNs));
        _sessions.Remove(session.State.Id);
        var record = _store.Journal.Begin();
        Records.SessionEnded(ref record, session.State.Id, timeNs);
        _store.Journal.Append(record);
        JournalGrantedLocks();
        Flush();
        AnswerLocks();
        const string message = "volume {Volume}: session {Session:x} of node {Node} {Reason}";
        if (reason == Closed)
        {
            _logger.LogInformation(message, Name, session.State.Id, session.State.Node, reason);
        }
        else
        {
            _counters.SessionExpired();
            _logger.LogWarning(message, Name, session.State.Id, session.State.Node, reason);
        }

        StorageNews?.Invoke();

        if (session.GrantRecall is { } waiters)
        {
            session.GrantRecall = null;
            Release(waiters);
        }

        foreach (var recall in _recalls.OfSession(session.State.Id))
        {
            _recalls.Remove(recall);
            Release(recall.Waiters);
            Release(recall.Next);
        }

        foreach (var forget in session.Forgets.ToArray())
        {
            Forgotten(forget);
        }
    }
}
