using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>
/// Handles that programs have closed and the metadata server still knows: those that are being closed there, many in one request, and those that are kept for a
/// while, because what was read once is often opened again.
/// </summary>
/// <remarks>
/// A handle is kept only while the attributes of its inode are leased. So the server tells this node before another one changes or removes the inode, and
/// <see cref="Release"/> closes the handle before that is acknowledged: nobody waits for space or for the data, and nothing old is read.
/// </remarks>
public sealed class ClosedHandles : IDisposable
{
    /// <summary>So many are closed in one request.</summary>
    private const int BatchMax = 64;

    /// <summary>How long a closed handle waits for others to be closed with.</summary>
    private const int ClosingMs = 20;

    /// <summary>So many are kept; the server has a record of each.</summary>
    private const int ParkedMax = 4096;

    /// <summary>How long a handle is kept for the next open.</summary>
    private const int ParkedMs = 5000;

    private readonly MetadataSession _session;
    private readonly FileTable _table;
    private readonly AttributeCache _attributes;
    private readonly PageVersions _pages;
    private readonly RunningWork _work;
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private readonly HashSet<ulong> _briefly = []; // inodes of handles that were opened ahead, and of which no attributes are leased
    private List<ulong> _closing;
    private int _timedMs;
    private bool _disposed;

    internal ClosedHandles(MetadataSession session, FileTable table, AttributeCache attributes, PageVersions pages, RunningWork work, TimeProvider time)
    {
        _session = session;
        _table = table;
        _attributes = attributes;
        _pages = pages;
        _work = work;
        _closing = [.. table.ClosedByPredecessor];
        _time = time;
        _timer = time.CreateTimer(_ => OnTimer(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The session may be used: closes what a predecessor had not closed yet.</summary>
    public void Begin() => Schedule();

    /// <summary>A program has closed a handle: it is kept if that is worth it, else closed soon.</summary>
    public void Close(ulong handle, ulong ino)
    {
        if (!_table.TryPark(handle, _time.NowMs()))
        {
            Retire(handle);
        }
        else if (!_attributes.IsLeased(ino))
        {
            // Looked at after it was parked, so that a recall finds it or is seen here.
            Release(ino, now: false);
        }
        else
        {
            DropOldest();
        }

        Schedule();
    }

    /// <summary>
    /// A name was looked up for a program that will open the file, as far as one can tell, and the server has opened it for that (<see cref="OpenNameRequest"/>): the
    /// handle is kept. Without a lease of the attributes that is for a moment only: of other bytes the server tells who has the file open, but not of its end.
    /// </summary>
    /// <param name="handle">The handle, <see cref="FileTable.Announce">announced</see>.</param>
    /// <param name="life">In which it was opened.</param>
    /// <param name="layout">What the server answered.</param>
    /// <param name="asked">When it was asked, of <see cref="FileTable.Recalls"/>.</param>
    /// <param name="question">The same of the attributes, which have been learned.</param>
    public void KeepAhead(ulong handle, ulong life, in LayoutReply layout, long asked, in AttributeCache.Question question)
    {
        var ino = layout.Attributes.Ino;
        var pages = _pages.Take(ino);
        if (!_table.TryParkAhead(handle, life, layout, asked, question, _attributes, pages, _time.NowMs()))
        {
            _pages.Keep(ino, pages);
            Retire(handle);
        }
        else if (!_attributes.IsLeased(ino))
        {
            lock (_lock)
            {
                _briefly.Add(ino);
            }
        }
        else
        {
            DropOldest();
        }

        Schedule();
    }

    /// <summary>The server was asked to open an announced handle, and whether it did is not known.</summary>
    public void CloseUnknown(ulong handle)
    {
        Retire(handle);
        Schedule();
    }

    /// <summary>The handle that is kept of an inode, now open again; false when there is none that would do.</summary>
    /// <param name="ino">The inode.</param>
    /// <param name="flags">How a program opens it.</param>
    /// <param name="operation">The program's request.</param>
    /// <param name="handle">The handle.</param>
    /// <param name="keepPages">Whether the kernel's pages of it are what the bytes are; else it drops them.</param>
    public bool TryReopen(ulong ino, HandleFlags flags, Operation operation, out ulong handle, out bool keepPages)
    {
        keepPages = false;
        if (!_table.TryUnpark(ino, flags, operation.Unique, operation.Life, out handle, out var file))
        {
            return false;
        }

        if (file is not null)
        {
            lock (file.Lock)
            {
                keepPages = file.PagesVersion > 0;
                file.PagesVersion = keepPages ? file.PagesVersion : file.VersionAhead;
                file.VersionAhead = 0;
            }
        }

        return true;
    }

    /// <summary>Another node, or a program here, needs the inode closed; if <paramref name="now"/>, the request goes out before this returns.</summary>
    public void Release(ulong ino, bool now = true)
    {
        if (_table.TakeParked(ino, out var handle, out var file))
        {
            if (file is not null)
            {
                _pages.Keep(ino, file.PagesVersion);
            }

            Retire(handle);
        }

        if (now)
        {
            Send();
        }
    }

    /// <summary>Closes everything that is kept: after a restart of the server, which remembers no leases.</summary>
    public void ReleaseEverything()
    {
        ReleaseBefore(long.MaxValue);
        Send();
    }

    /// <summary>The session has ended, and <see cref="FileTable.EndSession"/> has dropped what it had here: the server has closed all of it.</summary>
    internal void EndSession()
    {
        lock (_lock)
        {
            _closing = [];
            _briefly.Clear();
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
        }

        _timer.Dispose();
    }

    private void DropOldest()
    {
        if (_table.ParkedCount > ParkedMax)
        {
            foreach (var old in _table.OldestParked(ParkedMax / 8))
            {
                Release(old, now: false);
            }
        }
    }

    /// <summary>Many at once go in few requests.</summary>
    private void ReleaseBefore(long timeMs)
    {
        foreach (var ino in _table.ParkedBefore(timeMs))
        {
            Release(ino, now: false);
        }
    }

    private void Retire(ulong handle)
    {
        _table.Retire(handle);
        bool isFull;
        lock (_lock)
        {
            _closing.Add(handle);
            isFull = _closing.Count >= BatchMax;
        }

        if (isFull)
        {
            Send();
        }
    }

    private void Schedule()
    {
        lock (_lock)
        {
            var dueMs = _closing.Count + _briefly.Count > 0 ? ClosingMs : _table.ParkedCount > 0 ? ParkedMs : 0;
            if (!_disposed && dueMs > 0 && (_timedMs == 0 || dueMs < _timedMs))
            {
                _timedMs = dueMs;
                _timer.Change(TimeSpan.FromMilliseconds(dueMs), Timeout.InfiniteTimeSpan);
            }
        }
    }

    private void OnTimer()
    {
        ulong[] briefly;
        lock (_lock)
        {
            _timedMs = 0;
            briefly = [.. _briefly];
            _briefly.Clear();
        }

        foreach (var ino in briefly)
        {
            Release(ino, now: false);
        }

        ReleaseBefore(_time.NowMs() - ParkedMs);
        Send();
        Schedule();
    }

    private void Send()
    {
        List<ulong> handles;
        lock (_lock)
        {
            if (_closing.Count == 0 || _disposed || !_work.TryBegin())
            {
                return;
            }

            (handles, _closing) = (_closing, []);
        }

        _ = SendAsync(handles);
    }

    private async Task SendAsync(List<ulong> handles)
    {
        try
        {
            await SendCloseAsync(handles);
        }
        finally
        {
            _work.End();
        }
    }

    private async Task SendCloseAsync(List<ulong> handles)
    {
        // Looked at after the operation has begun: what is still in the table then belongs to its session or to one before, of which nothing is sent.
        var operation = _session.Begin();
        var opens = new List<ulong>(handles.Count);
        foreach (var handle in handles)
        {
            if (_table.TryGet(handle, out var record) && ((HandleFlags)record.Flags & HandleFlags.Ended) == 0)
            {
                opens.Add(record.OpenId);
            }
        }

        var result = opens.Count == 0 ? default : await _session.MutateAsync<CloseRequest, Empty>(operation, new([.. opens]));
        operation.Complete();
        if (result.Status == Status.Unavailable && !_session.IsFenced)
        {
            // The server is away: it still knows them when it is back.
            lock (_lock)
            {
                _closing.AddRange(handles);
            }

            Schedule();
            return;
        }

        if (result.Status is not (Status.Canceled or Status.StaleEpoch))
        {
            handles.ForEach(_table.Remove);
        }

        // Else the session has ended, and the table has no such handles any more, or the daemon leaves them to its successor.
    }
}
