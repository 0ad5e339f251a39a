using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Client.Files;

/// <summary>
/// Files that programs have made and the metadata server has not heard of: it is told together with their first bytes, when a program closes them. Only while no
/// other node has the volume (<see cref="FrameFlags.MayDefer"/>), so nobody can tell.
/// </summary>
/// <remarks>
/// <para>Whatever else is asked of the server waits until it has heard of all of them (<see cref="MetadataSession.Deferred"/>): it never sees that something was
/// late. What neither depends on a new file nor could tell goes past: commits of other files, grants, the renewal of the session.</para>
/// <para>Each is in the shared memory before its program hears of it. A successor sends what it finds there first; that its predecessor had sent it already the
/// server knows by the handle.</para>
/// </remarks>
public sealed class DeferredCreates : IDisposable
{
    private const int AgainMs = 100;

    private readonly MetadataSession _session;
    private readonly NodeMemory _memory;
    private readonly FileTable _files;
    private readonly AttributeCache _attributes;
    private readonly KnownNames _names;
    private readonly LostLog _lost;
    private readonly RunningWork _work;
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Pending> _pending = [];
    private int _count;
    private bool _isAllowed;
    private long _forbidden;

    /// <summary>Takes over what a predecessor had deferred.</summary>
    public DeferredCreates(
        MetadataSession session, NodeMemory memory, FileTable files, AttributeCache attributes, KnownNames names, LostLog lost, RunningWork work, TimeProvider time)
    {
        (_session, _memory, _files, _attributes, _names, _lost, _work, _time) = (session, memory, files, attributes, names, lost, work, time);
        _timer = time.CreateTimer(_ => _ = SendOldAsync(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        for (var place = 0; place < memory.Creates.Length; place++)
        {
            ref readonly var record = ref memory.Creates[place];
            if (record.Ino != Ino.None)
            {
                var request = new CreateRequest(
                    record.Parent, record.Ino, record.GetName(), record.Mode, record.Uid, record.Gid, record.OpenId, (OpenFlags)record.Flags);
                _pending.Add(record.Ino, new Pending(place, request, record.TimeNs, session.Life));
            }
        }

        _count = _pending.Count;
        ArmTimer();
    }

    /// <summary>A file that is not closed is made after this time.</summary>
    internal TimeSpan AgeMax { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>How many there are.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Something that makes an inode is about to be asked for: goes with its answer to <see cref="Learn"/>.</summary>
    public long Ask() => Volatile.Read(ref _forbidden);

    /// <summary>Whether creates may be deferred from now on, as the answer says.</summary>
    public void Learn<T>(long asked, in RpcResult<T> result)
    {
        lock (_lock)
        {
            if (asked == _forbidden && result.IsOk)
            {
                if ((result.Flags & FrameFlags.MayDefer) != 0)
                {
                    _isAllowed = true;
                }
                else
                {
                    Forbid();
                }
            }
        }
    }

    /// <summary>Another node is about to use the volume: nothing is deferred from now on. True when the server has heard of everything; false when the session has ended, or
    /// is left to a successor.</summary>
    public async Task<bool> ForbidAsync()
    {
        lock (_lock)
        {
            Forbid();
        }

        var life = _session.Life;
        while (await SendAllAsync() != Status.OK)
        {
            if (!_session.IsCurrent(life))
            {
                return false;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(AgainMs), _time);
        }

        return _session.IsCurrent(life);
    }

    /// <summary>Makes a file without the server, if the node knows that it would succeed. <see cref="Publish"/> follows when the handle can be found.</summary>
    /// <param name="request">What would be asked.</param>
    /// <param name="life">Of the session, in which the program asked.</param>
    /// <param name="attributes">The new file.</param>
    /// <param name="lease">What the kernel may cache of its name.</param>
    public bool TryDefer(in CreateRequest request, ulong life, out InodeAttributes attributes, out LeaseOffer lease)
    {
        (attributes, lease) = (default, default);
        if (!Volatile.Read(ref _isAllowed) || request.Name.Length > Limits.NameMaxBytes
            || !_names.TryFind(request.Parent, request.Name.Span, out var there, out lease) || there != Ino.None
            || !_attributes.TryGet(request.Parent, out var parent, out var parentLease) || !parent.IsDirectory || parent.Nlink == 0)
        {
            return false;
        }

        var timeNs = Clock.NowNs(_time);
        attributes = InodeAttributes.NewIn(parent, request.NewIno, FileMode.Regular | (request.FileMode & FileMode.PermissionMask), request.Uid, request.Gid, 0, timeNs);
        lock (_lock)
        {
            var place = _isAllowed && life == _session.Life ? FindPlace() : -1;
            if (place < 0)
            {
                return false;
            }

            var exclusive = request with { Flags = request.Flags | OpenFlags.Exclusive };
            ref var record = ref _memory.Creates[place];
            record.Parent = request.Parent;
            record.OpenId = request.Handle;
            record.TimeNs = timeNs;
            record.Mode = request.FileMode;
            record.Uid = request.Uid;
            record.Gid = request.Gid;
            record.Flags = (uint)exclusive.Flags;
            record.SetName(request.Name.Span);
            Volatile.Write(ref record.Ino, request.NewIno);
            _pending.Add(request.NewIno, new Pending(place, exclusive with { Name = request.Name.ToArray() }, timeNs, life) { Attempt = NewAttempt() });
            Volatile.Write(ref _count, _pending.Count);
            if (_count == 1)
            {
                ArmTimer();
            }
        }

        // As the server will have it. Neither is known for longer than the leases last by which the file was made.
        _attributes.Touch(request.Parent, timeNs);
        _names.MayChange(request.Parent, request.Name.Span);
        var change = _attributes.Begin(request.NewIno);
        var question = _attributes.End(change);
        _names.Made(request.Parent, request.Name.Span, request.NewIno, change.Offer, FrameFlags.None);
        lease = lease.And(parentLease) with { Granted = lease.Granted };
        _attributes.Learn(question, attributes, FrameFlags.AttributesLeased, lease.MaxMs);
        return true;
    }

    /// <summary>The handle of the file can be found: the server may be told, and others may then change the file.</summary>
    public void Publish(ulong ino)
    {
        if (Find(ino) is { } pending)
        {
            EndAttempt(pending, Status.OK);
        }
    }

    /// <summary>The server has heard of the file, or will not: afterwards it may be asked about it.</summary>
    public async ValueTask<Status> SendAsync(ulong ino) => Find(ino) is { } pending ? await SendAsync(pending) : Status.OK;

    /// <summary>As <see cref="SendAsync(ulong)"/>, for all. Not OK: the server did not answer for some.</summary>
    public async ValueTask<Status> SendAllAsync()
    {
        Pending[] all;
        lock (_lock)
        {
            all = [.. _pending.Values];
        }

        var last = Status.OK;
        foreach (var sending in all.Select(pending => SendAsync(pending).AsTask()).ToArray())
        {
            var status = await sending;
            last = status == Status.OK ? last : status;
        }

        return last;
    }

    /// <summary>Commits bytes of a file, which is made with it if it was deferred.</summary>
    public async ValueTask<RpcResult<CommitReply>> CommitAsync(Operation operation, CommitRequest request, long timeNs = 0)
    {
        var untilMs = _time.NowMs() + _session.DeadlineMs;
        while (Find(request.Ino) is { } pending)
        {
            var (isMine, others) = BeginAttempt(pending);
            if (isMine)
            {
                return await SendAsync(pending, operation, request, timeNs, untilMs);
            }

            if (await JoinAsync(others, untilMs) is not Status.OK and var status)
            {
                // The server has certainly heard nothing of these bytes.
                return new RpcResult<CommitReply>(status == Status.StaleEpoch ? status : Errno.EIO.ToStatus(), default);
            }
        }

        var change = _attributes.Begin(request.Ino);
        var result = await _session.MutatePastDeferredAsync<CommitRequest, CommitReply>(operation, request, timeNs);
        var question = _attributes.End(change);
        if (result.IsOk)
        {
            _attributes.Learn(question, result.Value.Attributes, result.Flags);
        }

        return result;
    }

    /// <summary>The session has ended: what was deferred is lost.</summary>
    /// <param name="lose">Told of each inode before nothing here knows of it any more.</param>
    internal void EndSession(Action<ulong> lose)
    {
        lock (_lock)
        {
            Forbid();
            foreach (var pending in _pending.Values.ToArray())
            {
                lose(pending.Request.NewIno);
                Remove(pending);
                pending.Attempt?.TrySetResult(Status.StaleEpoch);
                pending.Attempt = null;
            }
        }
    }

    /// <summary>What is deferred is left to a successor, and nothing more is.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            Forbid();
        }

        _timer.Dispose();
    }

    /// <summary>Nothing is deferred from now on, also not because of an answer to what was asked before. Under the lock.</summary>
    private void Forbid()
    {
        _forbidden++;
        _isAllowed = false;
    }

    private Pending? Find(ulong ino)
    {
        if (Count == 0)
        {
            return null;
        }

        lock (_lock)
        {
            return _pending.GetValueOrDefault(ino);
        }
    }

    private static TaskCompletionSource<Status> NewAttempt() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Whether the caller is to tell the server of the file, and to end that by <see cref="EndAttempt"/>; else whether another one does, and how that ends.</summary>
    private (bool IsMine, Task<Status>? Others) BeginAttempt(Pending pending)
    {
        lock (_lock)
        {
            if (pending.IsDone || pending.Attempt is not null)
            {
                return (false, pending.Attempt?.Task);
            }

            pending.Attempt = NewAttempt();
            return (true, null);
        }
    }

    private void EndAttempt(Pending pending, Status status)
    {
        TaskCompletionSource<Status>? attempt;
        lock (_lock)
        {
            (attempt, pending.Attempt) = (pending.Attempt, null);
        }

        attempt?.TrySetResult(status);
    }

    /// <summary>Waits for somebody else's attempt. OK: look again what there is to do; else it is too late for that.</summary>
    private async ValueTask<Status> JoinAsync(Task<Status>? attempt, long untilMs)
    {
        if (attempt is null)
        {
            return Status.OK;
        }

        // Whoever began it may wait longer than this one, which came earlier.
        var status = await attempt.OrAfterAsync(Math.Max(0, untilMs - _time.NowMs()), Status.Unavailable, _time);

        // Its time is over, and not that of this one.
        return status == Status.Unavailable && _time.NowMs() < untilMs ? Status.OK : status;
    }

    private async ValueTask<Status> SendAsync(Pending pending)
    {
        var untilMs = _time.NowMs() + _session.DeadlineMs;
        while (!pending.IsDone)
        {
            var (isMine, others) = BeginAttempt(pending);
            if (isMine)
            {
                if (!_work.TryBegin())
                {
                    EndAttempt(pending, Status.Canceled);
                    return Status.Canceled;
                }

                try
                {
                    var operation = _session.BeginFor(pending.Life);
                    var nothing = new CommitRequest(pending.Request.NewIno, CommitFlags.KeepMtime, 0, [], default, Base: 0);
                    var result = await SendAsync(pending, operation, nothing, timeNs: 0, untilMs);
                    operation.Complete();
                    return pending.IsDone ? Status.OK : result.Status;
                }
                finally
                {
                    _work.End();
                }
            }

            if (await JoinAsync(others, untilMs) is not Status.OK and var status)
            {
                return status;
            }
        }

        return Status.OK;
    }

    /// <summary>Tells the server of a file, with bytes or without any; ends the attempt that the caller has begun.</summary>
    private async ValueTask<RpcResult<CommitReply>> SendAsync(Pending pending, Operation operation, CommitRequest request, long timeNs, long untilMs)
    {
        var attempt = Status.Canceled;
        try
        {
            var change = _attributes.Begin(request.Ino);
            var asked = Ask();
            var result = await _session.MutatePastDeferredAsync<CreateAndCommitRequest, CreateAndCommitReply>(
                operation, new(pending.Request, pending.TimeNs, request), timeNs, (int)Math.Max(1, untilMs - _time.NowMs()));
            var question = _attributes.End(change);
            var isCommitted = result.IsOk && result.Value.CommitStatus == Status.OK;
            if (result.IsOk)
            {
                _attributes.Learn(question, isCommitted ? result.Value.Committed.Attributes : result.Value.Created.File.Attributes, result.Flags);
                _names.Answered(pending.Request.Parent, change.Offer, result.Flags);
            }

            Learn(asked, result);

            // Not heard of: nobody has answered, or the session has ended, which counts it as lost.
            var isAnswered = result.Status is not (Status.Unavailable or Status.Canceled or Status.StaleEpoch or Status.UnknownSession);
            if (isAnswered && TryRemove(pending) && !result.IsOk)
            {
                // The quota was cut meanwhile, or the server is not what it was: who has the file open is told.
                RpcTrace.Sink($"a file that a program had made could not be made: {result.Status}");
                _lost.Add(new LostFile(Clock.NowNs(), request.Ino, 0, LostReason.WriteBackFailed, ""));
                _files.Find(request.Ino)?.Fail(result.Errno, _files.HandlesOf(request.Ino).Select(record => record.Handle));
            }

            attempt = isAnswered ? Status.OK : result.Status;
            return result.IsOk
                ? new RpcResult<CommitReply>(result.Value.CommitStatus, result.Value.Committed, Flags: result.Flags)
                : new RpcResult<CommitReply>(result.Status, default);
        }
        finally
        {
            EndAttempt(pending, attempt);
        }
    }

    private bool TryRemove(Pending pending)
    {
        lock (_lock)
        {
            if (pending.IsDone)
            {
                return false;
            }

            Remove(pending);
            return true;
        }
    }

    private int FindPlace()
    {
        var records = _memory.Creates;
        var place = 0;
        while (place < records.Length && records[place].Ino != Ino.None)
        {
            place++;
        }

        return place < records.Length ? place : -1;
    }

    /// <summary>Under the lock.</summary>
    private void Remove(Pending pending)
    {
        pending.IsDone = true;
        _pending.Remove(pending.Request.NewIno);
        Volatile.Write(ref _count, _pending.Count);
        Volatile.Write(ref _memory.Creates[pending.Place].Ino, Ino.None);
    }

    private void ArmTimer()
    {
        if (Count > 0)
        {
            _timer.Change(AgeMax, Timeout.InfiniteTimeSpan);
        }
    }

    private async Task SendOldAsync()
    {
        await SendAllAsync();
        ArmTimer();
    }

    /// <summary>A file.</summary>
    private sealed class Pending(int place, CreateRequest request, long timeNs, ulong life)
    {
        public int Place => place;

        public CreateRequest Request => request;

        public long TimeNs => timeNs;

        public ulong Life => life;

        /// <summary>Set while it is being made, or the server is told: how that ends. Under the lock.</summary>
        public TaskCompletionSource<Status>? Attempt { get; set; }

        /// <summary>Whether its record is gone.</summary>
        public bool IsDone
        {
            get => Volatile.Read(ref _isDone);
            set => Volatile.Write(ref _isDone, value);
        }

        private bool _isDone;
    }
}
