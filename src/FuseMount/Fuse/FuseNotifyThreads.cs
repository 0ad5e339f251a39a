using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>What comes one after the other: notifications for which the kernel takes the same lock.</summary>
/// <param name="Lock">Which of its locks.</param>
/// <param name="Node">Whose.</param>
internal readonly record struct FuseNotifyQueue(FuseNotifyLock Lock, ulong Node)
{
    public static FuseNotifyQueue Of(in FuseNotification notification) => notification.Code switch
    {
        FuseNotifyCode.INVAL_ENTRY or FuseNotifyCode.DELETE => new(FuseNotifyLock.Directory, notification.Node),
        FuseNotifyCode.INVAL_INODE when notification.Offset >= 0 => new(FuseNotifyLock.Pages, notification.Node),
        _ => default,
    };
}

internal enum FuseNotifyLock
{
    None,
    Directory,
    Pages,
}

/// <summary>Queues of notifications, and a thread for each queue that has any; a thread without work ends after a while.</summary>
internal sealed class FuseNotifyThreads(FuseNotifyThreads.Sender send) : IDisposable
{
    private const int IdleMs = 5000;

    /// <summary>Guards everything, and is pulsed for threads that wait for work.</summary>
    private readonly object _gate = new();

    /// <summary>What waits behind the notification that some thread has, by queue.</summary>
    private readonly Dictionary<FuseNotifyQueue, Queue<Item>> _behind = [];

    /// <summary>First notifications that no thread has yet.</summary>
    private readonly Queue<Item> _first = [];

    /// <summary>Emptied queues, to be used again.</summary>
    private readonly Stack<Queue<Item>> _spare = [];

    private int _queued;
    private int _free; // threads without work, those that are starting among them
    private bool _closed;

    /// <summary>Writes one to the kernel.</summary>
    public delegate Errno Sender(in FuseNotification notification);

    /// <summary>Notifications that wait.</summary>
    public int Queued => Volatile.Read(ref _queued);

    /// <summary>Adds one; false when closed. <paramref name="done"/> gets what the kernel said.</summary>
    public bool TryAdd(in FuseNotification notification, TaskCompletionSource<Errno>? done)
    {
        var item = new Item(notification, done);
        lock (_gate)
        {
            if (_closed)
            {
                return false;
            }
            _queued++;
            if (_behind.TryGetValue(item.Queue, out Queue<Item>? behind))
            {
                behind.Enqueue(item);
                return true;
            }
            _behind.Add(item.Queue, _spare.TryPop(out Queue<Item>? spare) ? spare : new Queue<Item>());
            _first.Enqueue(item);
            if (_first.Count <= _free)
            {
                Monitor.Pulse(_gate);
                return true;
            }
            _free++;
        }
        new Thread(Run) { IsBackground = true, Name = "fuse-notify" }.Start();
        return true;
    }

    /// <summary>What waits is cancelled; threads end when the kernel lets them.</summary>
    public void Dispose()
    {
        List<Item> waiting;
        lock (_gate)
        {
            _closed = true;
            waiting = [.. _first, .. _behind.Values.SelectMany(behind => behind)];
            _first.Clear();
            foreach (Queue<Item> behind in _behind.Values)
            {
                behind.Clear();
            }
            _queued = 0;
            Monitor.PulseAll(_gate);
        }
        waiting.ForEach(item => item.Done?.TrySetResult(Errno.ECANCELED));
    }

    private void Run()
    {
        while (TryTake(out Item item))
        {
            do
            {
                Errno result = send(item.Notification);
                item.Done?.TrySetResult(result);
            }
            while (TryTakeNext(item.Queue, out item));
        }
    }

    private bool TryTake(out Item item)
    {
        lock (_gate)
        {
            while (!_first.TryDequeue(out item))
            {
                if (_closed || (!Monitor.Wait(_gate, IdleMs) && _first.Count == 0))
                {
                    _free--;
                    return false;
                }
            }
            _free--;
            _queued--;
            return true;
        }
    }

    /// <summary>The next one of the queue; without one the thread is free again.</summary>
    private bool TryTakeNext(FuseNotifyQueue queue, out Item item)
    {
        lock (_gate)
        {
            Queue<Item> behind = _behind[queue];
            if (behind.TryDequeue(out item))
            {
                _queued--;
                return true;
            }
            _behind.Remove(queue);
            _spare.Push(behind);
            _free++;
            return false;
        }
    }

    private readonly record struct Item(FuseNotification Notification, TaskCompletionSource<Errno>? Done)
    {
        public FuseNotifyQueue Queue { get; } = FuseNotifyQueue.Of(Notification);
    }
}
