using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Service;

/// <content>
/// Shared leases: who caches names and attributes, and the recalls before a change of them is answered. A holder keeps its lease of a directory when one name
/// changes; of an inode it holds a new one when it asks again. Leases are not journaled; what they let a kernel cache expires by itself (<see cref="Limits.LeaseMs"/>).
/// </content>
internal sealed partial class VolumeService
{
    /// <summary>The bits of all sessions. Inodes may still have those of sessions that have ended.</summary>
    private ulong Holders
    {
        get
        {
            var holders = 0UL;
            foreach (var session in _sessions.Values)
            {
                holders |= session.Holder;
            }

            return holders;
        }
    }

    /// <summary>A bit that no session has; 0 when all are taken. Inodes may have it of a session that has ended: one recall too many, no more.</summary>
    private ulong FreeHolder()
    {
        var taken = Holders;
        return ~taken & (taken + 1);
    }

    /// <summary>What of the answer at hand the session may cache; from now on it is told of changes.</summary>
    private FrameFlags Lease(SessionRuntime session)
    {
        if (session.Holder == 0)
        {
            return FrameFlags.None;
        }

        var lease = _context.AttributesTold ? FrameFlags.AttributesLeased : FrameFlags.None;
        if (_context.NamesTold is { } directory && !_contention.IsContested(directory.Ino, NowMs))
        {
            var names = directory.Directory;
            lease |= (names.NamesCachedBy & Holders & ~session.Holder) == 0 ? FrameFlags.NamesSole : FrameFlags.NamesShared;
            names.NamesCachedBy |= session.Holder;
        }

        return lease;
    }

    /// <summary>
    /// Whether the session may tell its kernel that files are made before it tells the server: while nobody else can look, and as long as the volume has room for
    /// all that it may defer at a time, and all that it may be making meanwhile: whatever makes an inode tells it again.
    /// </summary>
    private FrameFlags LetDefer(OperationRow row, SessionRuntime session)
    {
        if (row.Opcode is not (Opcode.Create or Opcode.CreateAndCommit or Opcode.Mknod or Opcode.Tmpfile))
        {
            return FrameFlags.None;
        }

        var may = _sessions.Count == 1 && session.Holder != 0 && !session.Forgets.Exists(forget => forget.Request.Deferred)
            && (_state.LimitInodes == 0 || _state.UsedInodes + Limits.DeferredCreates + Limits.SlotsPerSession <= _state.LimitInodes);
        session.MayDefer |= may;
        return may ? FrameFlags.MayDefer : FrameFlags.None;
    }

    /// <summary>Whether a new session has to wait until another one has sent what it had deferred. Then it is let in, or when that one has ended.</summary>
    private bool AwaitDeferred(in RpcCall call, in OpenSessionRequest request)
    {
        foreach (var other in _sessions.Values)
        {
            if (!other.MayDefer)
            {
                continue;
            }

            var forget = other.Forgets.Find(forget => forget.Request.Deferred);
            if (forget is null)
            {
                forget = new PendingForget(other, new ForgetRequest([], [], Everything: false, Deferred: true), NowMs);
                other.Forgets.Add(forget);
                _forgetOutbox.Enqueue(forget);
            }

            forget.Openings.Add((call, request));
            return true;
        }

        return false;
    }

    /// <summary>The operation at hand has changed names and attributes: its answer waits until no other session uses the old ones.</summary>
    private void AwaitForgotten(in RpcCall call, OperationRow row, SessionRuntime session, ref ParkedOperation? parked)
    {
        if (_sessions.Count == 1)
        {
            return;
        }

        var nowMs = NowMs;
        foreach (var directory in _context.NamesKept)
        {
            _contention.Kept(directory.Ino, nowMs);
        }

        var caching = 0UL;
        var othersBits = Holders & ~session.Holder;
        foreach (var inode in _context.ChangedInodes)
        {
            var others = inode.CachedBy;
            if (inode.Content is DirectoryContent names)
            {
                if (_contention.HasExpired(inode.Ino, nowMs))
                {
                    names.NamesCachedBy = 0;
                }

                others |= names.NamesCachedBy;
            }

            others &= othersBits;
            caching |= others;
            if (others != 0)
            {
                _contention.Conflict(inode.Ino, nowMs);
            }
        }

        if (caching != 0 || _forgetting.Count > 0)
        {
            foreach (var other in _sessions.Values)
            {
                if (other != session && ChangedFor(other) is { } request)
                {
                    var forget = new PendingForget(other, request, nowMs);
                    other.Forgets.Add(forget);
                    _forgetOutbox.Enqueue(forget);
                    foreach (var ino in request.Inodes)
                    {
                        _forgetting[(other.State.Id, ino)] = _forgetting.GetValueOrDefault((other.State.Id, ino)) + 1;
                    }

                    forget.Waiters.Add(AwaitOneMore(call, row, session, ref parked));
                }
            }

            foreach (var inode in _context.ChangedInodes)
            {
                inode.CachedBy &= session.Holder;
            }
        }

        AwaitEverythingForgotten(call, row, session, ref parked);
    }

    /// <summary>After a restart of the server: what others still cache from before it may be older than the operation.</summary>
    private void AwaitEverythingForgotten(in RpcCall call, OperationRow row, SessionRuntime session, ref ParkedOperation? parked)
    {
        foreach (var other in _sessions.Values)
        {
            if (other != session && other.Forgets.Count > 0 && other.Forgets[0].Request.Everything)
            {
                other.Forgets[0].Waiters.Add(AwaitOneMore(call, row, session, ref parked));
            }
        }
    }

    /// <summary>What of the operation's changes the session may cache, or is forgetting just now; null for nothing.</summary>
    private ForgetRequest? ChangedFor(SessionRuntime other)
    {
        List<DirectoryName>? names = null;
        List<ulong>? inodes = null;
        foreach (var (directory, name) in _context.ChangedNames)
        {
            if ((directory.Directory.NamesCachedBy & other.Holder) != 0)
            {
                (names ??= []).Add(new DirectoryName(directory.Ino, name));
            }
        }

        foreach (var inode in _context.ChangedInodes)
        {
            if ((inode.CachedBy & other.Holder) != 0 || _forgetting.ContainsKey((other.State.Id, inode.Ino)))
            {
                (inodes ??= []).Add(inode.Ino);
            }
        }

        return names is null && inodes is null ? null : new ForgetRequest([.. names ?? []], [.. inodes ?? []], Everything: false, Deferred: false);
    }

    private void SendForget(PendingForget forget)
    {
        RpcPeer peer;
        lock (_lock)
        {
            if (forget.SentOn is not null || !forget.Session.Forgets.Contains(forget) || forget.Session.Peer is not { IsConnected: true } connected)
            {
                return;
            }

            forget.SentOn = peer = connected;
        }

        _ = ForgetAsync(forget, peer);
    }

    private async Task ForgetAsync(PendingForget forget, RpcPeer peer)
    {
        var session = forget.Session;
        var result = await peer.CallAsync<ForgetRequest, Empty>(
            forget.Request, new CallHeader(session.State.Id, session.State.Epoch), timeoutMs: AcknowledgementDeadlineMs);
        lock (_lock)
        {
            try
            {
                if (!session.Forgets.Contains(forget) || forget.SentOn != peer)
                {
                    return;
                }

                forget.SentOn = null;
                if (result.IsOk)
                {
                    foreach (var (directory, _) in forget.Request.Names)
                    {
                        _contention.Waited(directory, NowMs - forget.CreatedMs, NowMs);
                    }

                    Forgotten(forget);
                }
                else if (result.Status is not (Status.Unavailable or Status.Canceled))
                {
                    EndSession(session, $"could not forget names: {result.Status}");
                }
                else if (session.Peer is { IsConnected: true })
                {
                    _forgetOutbox.Enqueue(forget);
                }
            }
            catch (Exception e)
            {
                Break(e, null);
            }
        }

        SendRecalls();
    }

    /// <summary>Opens sessions that had to wait.</summary>
    private void LetIn(List<(RpcCall Call, OpenSessionRequest Request)> openings)
    {
        var answered = 0;
        try
        {
            for (; answered < openings.Count; answered++)
            {
                // Who has gone meanwhile asks again.
                var (call, request) = openings[answered];
                if (call.Peer.IsConnected)
                {
                    Fail(call, TryOpenSession(call, request));
                }
            }
        }
        finally
        {
            // The journal cannot be written: nobody else knows of them.
            for (; answered < openings.Count; answered++)
            {
                Fail(openings[answered].Call, Status.Internal);
            }
        }
    }

    /// <summary>The session has forgotten, or has ended.</summary>
    private void Forgotten(PendingForget forget)
    {
        forget.Session.Forgets.Remove(forget);
        foreach (var ino in forget.Request.Inodes)
        {
            var key = (forget.Session.State.Id, ino);
            if (_forgetting[key] == 1)
            {
                _forgetting.Remove(key);
            }
            else
            {
                _forgetting[key]--;
            }
        }

        Release(forget.Waiters);
        if (forget.Request.Deferred)
        {
            forget.Session.MayDefer = false;
            LetIn(forget.Openings);
        }
    }
}
