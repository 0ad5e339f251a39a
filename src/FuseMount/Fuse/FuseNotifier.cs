using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Sends notifications from threads of its own, so that no request handler ever waits for the kernel.</summary>
/// <remarks>
/// <para>Writing a notification can block until requests are answered: INVAL_ENTRY and DELETE (expire-only too) need the directory,
/// which a pending CREATE or LOOKUP in it holds; INVAL_INODE of data waits for our own WRITE and READ replies. Their answers may wait for another node,
/// which waits for the next notification here. So none waits behind one of another directory or inode: those of one come one after the other,
/// and there are as many threads as the kernel holds at a time. INC_EPOCH and attributes never block and have a queue of their own.</para>
/// <para>A handler must not wait for the result before it has answered its request.</para>
/// </remarks>
public sealed class FuseNotifier : IDisposable
{
    /// <summary>So many notifications may wait before <see cref="TryPost"/> gives up.</summary>
    public const int Capacity = 65536;

    private readonly FuseConnection _connection;
    private readonly Func<FuseNotification, FuseNotifyQueue, ValueTask<Errno>>? _take;
    private readonly FuseNotifyThreads _threads;
    private long _sent;
    private long _failed;

    internal FuseNotifier(FuseConnection connection, Func<FuseNotification, FuseNotifyQueue, ValueTask<Errno>>? take = null)
    {
        _connection = connection;
        _take = take;
        _threads = new FuseNotifyThreads(Send);
    }

    /// <summary>Notifications that the kernel took.</summary>
    public long Sent => Interlocked.Read(ref _sent);

    /// <summary>Notifications that it refused; ENOENT (nothing cached) is counted as sent.</summary>
    public long Failed => Interlocked.Read(ref _failed);

    /// <summary>Notifications that wait.</summary>
    public int Queued => _threads.Queued;

    /// <summary>Queues without a result.</summary>
    /// <returns>False if too many wait, or the connection has ended: nothing was queued.</returns>
    public bool TryPost(in FuseNotification notification)
    {
        Errno errno = Admit(notification, out FuseNotification admitted);
        if (errno == Errno.OK && _take is not null)
        {
            _ = _take(admitted, FuseNotifyQueue.Of(admitted)).AsTask();
            return true;
        }
        return errno == Errno.OK && Queued < Capacity && _threads.TryAdd(admitted, null);
    }

    /// <summary>Queues and completes when the kernel has answered.</summary>
    /// <returns>OK; ENOENT if nothing of the kind is cached; ENOTEMPTY (DELETE of a directory with cached children); EOPNOTSUPP if the
    /// kernel's version lacks it; ENAMETOOLONG; ECANCELED if the connection ended before it was sent.</returns>
    public ValueTask<Errno> SendAsync(in FuseNotification notification)
    {
        Errno errno = Admit(notification, out FuseNotification admitted);
        if (errno != Errno.OK)
        {
            return new ValueTask<Errno>(errno);
        }
        if (_take is not null)
        {
            return _take(admitted, FuseNotifyQueue.Of(admitted));
        }
        var done = new TaskCompletionSource<Errno>(TaskCreationOptions.RunContinuationsAsynchronously);
        return _threads.TryAdd(admitted, done) ? new ValueTask<Errno>(done.Task) : new ValueTask<Errno>(Errno.ECANCELED);
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

    /// <summary>What is queued is cancelled. Does not wait for a notification in which the kernel is stuck.</summary>
    public void Dispose() => _threads.Dispose();

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
}
