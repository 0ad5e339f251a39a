using System.Threading.Channels;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Sends notifications from threads of its own, so that no request handler ever waits for the kernel.</summary>
/// <remarks>
/// <para>Writing a notification can block until requests are answered: INVAL_ENTRY and DELETE (expire-only too) need the directory,
/// which a pending CREATE or LOOKUP in it holds; INVAL_INODE of data waits for our own WRITE and READ replies. INC_EPOCH and attributes never block.
/// So there are lanes with a thread and a queue each (names by directory, data, the rest), and a notification
/// that is stuck delays only its own kind, and few other directories. Order holds within a lane only.</para>
/// <para>A handler must not wait for the result before it has answered its request. The queues are bounded: when one is full, posting
/// fails and awaiting waits without a thread.</para>
/// </remarks>
public sealed class FuseNotifier : IDisposable
{
    /// <summary>Notifications that may wait in one lane. A million invalidated names take about 8 s: beyond this, INC_EPOCH is cheaper.</summary>
    public const int LaneCapacity = 65536;

    private const int NameLanes = 4;

    private readonly FuseConnection _connection;
    private readonly Func<FuseNotification, int, ValueTask<Errno>>? _take;

    /// <summary>Names by directory, then data, then the rest.</summary>
    private readonly Lane[] _lanes;
    private long _sent;
    private long _failed;

    internal FuseNotifier(FuseConnection connection, Func<FuseNotification, int, ValueTask<Errno>>? take = null)
    {
        _connection = connection;
        _take = take;
        _lanes =
        [
            .. Enumerable.Range(0, NameLanes).Select(i => new Lane(this, $"fuse-notify-name{i}")),
            new Lane(this, "fuse-notify-data"),
            new Lane(this, "fuse-notify"),
        ];
    }

    /// <summary>Notifications that the kernel took.</summary>
    public long Sent => Interlocked.Read(ref _sent);

    /// <summary>Notifications that it refused; ENOENT (nothing cached) is counted as sent.</summary>
    public long Failed => Interlocked.Read(ref _failed);

    /// <summary>Notifications that wait, all lanes.</summary>
    public int Queued => _lanes.Sum(lane => lane.Queued);

    /// <summary>Queues without waiting and without a result.</summary>
    /// <returns>False if the lane is full or closed: nothing was queued.</returns>
    public bool TryPost(in FuseNotification notification)
    {
        Errno errno = Admit(notification, out FuseNotification admitted);
        if (errno == Errno.OK && _take is not null)
        {
            _ = _take(admitted, LaneOf(admitted)).AsTask();
            return true;
        }
        return errno == Errno.OK && _lanes[LaneOf(admitted)].TryPost(admitted);
    }

    /// <summary>Queues and completes when the kernel has answered.</summary>
    /// <returns>OK; ENOENT if nothing of the kind is cached; ENOTEMPTY (DELETE of a directory with cached children); EOPNOTSUPP if the
    /// kernel's version lacks it; ENAMETOOLONG; ECANCELED if the connection ended before it was sent.</returns>
    public ValueTask<Errno> SendAsync(in FuseNotification notification)
    {
        Errno errno = Admit(notification, out FuseNotification admitted);
        return errno != Errno.OK ? new ValueTask<Errno>(errno)
            : _take is not null ? _take(admitted, LaneOf(admitted))
            : _lanes[LaneOf(admitted)].SendAsync(admitted);
    }

    /// <summary>Drops attributes, and pages from <paramref name="offset"/> on unless it is negative.</summary>
    public ValueTask<Errno> InvalidateInodeAsync(ulong node, long offset = 0, long length = 0) =>
        SendAsync(FuseNotification.InvalidateInode(node, offset, length));

    /// <summary>Drops a cached name. For directories use <paramref name="expireOnly"/>: otherwise what is mounted below is unmounted.</summary>
    public ValueTask<Errno> InvalidateEntryAsync(ulong parent, ReadOnlyMemory<byte> name, bool expireOnly) =>
        SendAsync(FuseNotification.InvalidateEntry(parent, name, expireOnly));

    /// <summary>Says that a name was removed.</summary>
    public ValueTask<Errno> DeleteAsync(ulong parent, ulong child, ReadOnlyMemory<byte> name) =>
        SendAsync(FuseNotification.Delete(parent, child, name));

    /// <summary>Makes all cached names be looked up again. Attributes of open files stay as they are.</summary>
    public ValueTask<Errno> IncrementEpochAsync() => SendAsync(FuseNotification.IncrementEpoch());

    /// <summary>Asks for all unanswered requests again.</summary>
    public ValueTask<Errno> ResendAsync() => SendAsync(FuseNotification.Resend());

    /// <summary>Ends the lanes: what is queued is cancelled. Does not wait for a notification in which the kernel is stuck.</summary>
    public void Dispose()
    {
        if (_take is null)
        {
            Array.ForEach(_lanes, lane => lane.Close());
        }
    }

    private Errno Admit(in FuseNotification notification, out FuseNotification admitted)
    {
        admitted = notification;
        FuseNegotiated negotiated = _connection.Negotiated;
        if (notification.Name.Length > 1024)
        {
            return Errno.ENAMETOOLONG;
        }
        switch (notification.Code)
        {
            case FuseNotifyCode.INC_EPOCH when negotiated.Minor < 44:
            case FuseNotifyCode.RESEND when !negotiated.Has(FuseInitFlags.HAS_RESEND):
                return Errno.EOPNOTSUPP;
            case FuseNotifyCode.INVAL_ENTRY when !negotiated.Has(FuseInitFlags.HAS_EXPIRE_ONLY):
                // The field is padding for older kernels; dropping the name is the stronger form of letting it expire.
                admitted = notification with { Flags = FuseExpireFlags.None };
                return Errno.OK;
            default:
                return Errno.OK;
        }
    }

    private static int LaneOf(in FuseNotification notification) => notification.Code switch
    {
        FuseNotifyCode.INVAL_ENTRY or FuseNotifyCode.DELETE => (int)(notification.Node % NameLanes),
        FuseNotifyCode.INVAL_INODE when notification.Offset >= 0 => NameLanes,
        _ => NameLanes + 1,
    };

    private unsafe Errno Send(in FuseNotification notification)
    {
        byte* message = stackalloc byte[FuseNotification.MaxBytes];
        int length = notification.Encode(new Span<byte>(message, FuseNotification.MaxBytes));
        IoVec segment;
        segment.Base = message;
        segment.Length = (nuint)length;
        KillPoint.Hit("node.before-notify");
        Errno errno = _connection.SendNotification(&segment);
        KillPoint.Hit("node.after-notify");
        if (errno is Errno.OK or Errno.ENOENT)
        {
            Interlocked.Increment(ref _sent);
        }
        else
        {
            Interlocked.Increment(ref _failed);
        }
        _connection.Tracer?.Notification(notification, errno);
        return errno;
    }

    private readonly record struct Item(FuseNotification Notification, TaskCompletionSource<Errno>? Done);

    /// <summary>One queue and the thread that empties it, started with the first notification.</summary>
    private sealed class Lane(FuseNotifier notifier, string name)
    {
        private readonly Channel<Item> _queue = Channel.CreateBounded<Item>(
            new BoundedChannelOptions(LaneCapacity) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

        private int _started;
        private volatile bool _closed;

        public int Queued => _queue.Reader.Count;

        public bool TryPost(in FuseNotification notification)
        {
            if (!_queue.Writer.TryWrite(new Item(notification, null)))
            {
                return false;
            }
            EnsureThread();
            return true;
        }

        public async ValueTask<Errno> SendAsync(FuseNotification notification)
        {
            var done = new TaskCompletionSource<Errno>(TaskCreationOptions.RunContinuationsAsynchronously);
            EnsureThread();
            try
            {
                await _queue.Writer.WriteAsync(new Item(notification, done));
            }
            catch (ChannelClosedException)
            {
                return Errno.ECANCELED;
            }
            return await done.Task;
        }

        public void Close()
        {
            _closed = true;
            _queue.Writer.TryComplete();
            // Without a thread nobody else empties the queue.
            if (Interlocked.Exchange(ref _started, 1) == 0)
            {
                Run();
            }
        }

        private void EnsureThread()
        {
            if (Volatile.Read(ref _started) == 0 && Interlocked.Exchange(ref _started, 1) == 0)
            {
                new Thread(Run) { IsBackground = true, Name = name }.Start();
            }
        }

        private void Run()
        {
            while (_queue.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
            {
                while (_queue.Reader.TryRead(out Item item))
                {
                    Errno result = _closed ? Errno.ECANCELED : notifier.Send(item.Notification);
                    item.Done?.TrySetResult(result);
                }
            }
        }
    }
}
