using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Service;

/// <summary>
/// Inodes that one session changes again and again while others cache them: there the recalls cost more than the caching saves, so for a while nobody may
/// cache their attributes, nor their names if they are directories.
/// </summary>
internal sealed class LeaseContention
{
    /// <summary>So many recalls of one inode within <see cref="WindowMs"/> make it contested.</summary>
    private const int ConflictsMax = 8;
    private const int WindowMs = 1000;

    /// <summary>A recall of a name that takes so long was in the way of something.</summary>
    private const int SlowMs = 100;

    /// <summary>How long an inode is contested at first, well above <see cref="ExpiryMs"/>; doubled each time it becomes so again soon.</summary>
    private const int PeriodMs = 30_000;
    private const int PeriodMaxMs = 240_000;

    /// <summary>When this is over, no kernel uses a name any more that was told before.</summary>
    private const int ExpiryMs = Limits.LeaseMs + Limits.LeaseAnswerMs + 1000;

    /// <summary>More inodes than this are not remembered.</summary>
    private const int Max = 4096;

    private readonly Dictionary<ulong, Entry> _inodes = [];

    /// <summary>Whether it must not be cached now.</summary>
    public bool IsContested(ulong ino, long nowMs) => _inodes.Count > 0 && _inodes.TryGetValue(ino, out var entry) && nowMs < entry.UntilMs;

    /// <summary>Whether whatever names were cached of a contested directory have expired.</summary>
    public bool HasExpired(ulong ino, long nowMs) =>
        _inodes.TryGetValue(ino, out var entry) && nowMs < entry.UntilMs && nowMs >= entry.ExpiredMs;

    /// <summary>A session goes on to cache a name of the directory.</summary>
    public void Kept(ulong ino, long nowMs)
    {
        if (_inodes.TryGetValue(ino, out var entry))
        {
            entry.ExpiredMs = Math.Max(entry.ExpiredMs, nowMs + ExpiryMs);
        }
    }

    /// <summary>It had to be called back.</summary>
    public void Conflict(ulong ino, long nowMs)
    {
        if (Find(ino, nowMs) is not { } entry || nowMs < entry.UntilMs)
        {
            return;
        }

        if (nowMs > entry.WindowStartMs + WindowMs)
        {
            (entry.WindowStartMs, entry.Conflicts) = (nowMs, 0);
        }

        if (++entry.Conflicts >= ConflictsMax)
        {
            Begin(entry, nowMs);
        }
    }

    /// <summary>
    /// A name of the directory was called back, and after <paramref name="waitedMs"/> the last one forgot it. When that is long, an operation of its own held the
    /// directory there, which waited for this one in turn, until the name expired: once is enough.
    /// </summary>
    public void Waited(ulong ino, long waitedMs, long nowMs)
    {
        if (waitedMs >= SlowMs && Find(ino, nowMs) is { } entry && nowMs >= entry.UntilMs)
        {
            Begin(entry, nowMs);
        }
    }

    private static void Begin(Entry entry, long nowMs)
    {
        var isSoon = entry.PeriodMs > 0 && nowMs < entry.UntilMs + (2 * entry.PeriodMs);
        entry.PeriodMs = isSoon ? Math.Min(PeriodMaxMs, entry.PeriodMs * 2) : PeriodMs;
        entry.UntilMs = nowMs + entry.PeriodMs;
        entry.ExpiredMs = nowMs + ExpiryMs;
        entry.Conflicts = 0;
    }

    private Entry? Find(ulong ino, long nowMs)
    {
        if (!_inodes.TryGetValue(ino, out var entry))
        {
            if (_inodes.Count >= Max)
            {
                foreach (var (old, known) in _inodes)
                {
                    if (nowMs > known.UntilMs + known.PeriodMs && nowMs > known.WindowStartMs + WindowMs)
                    {
                        _inodes.Remove(old);
                    }
                }

                if (_inodes.Count >= Max)
                {
                    return null;
                }
            }

            _inodes.Add(ino, entry = new Entry { WindowStartMs = nowMs });
        }

        return entry;
    }

    private sealed class Entry
    {
        public long WindowStartMs;
        public int Conflicts;
        public long PeriodMs;
        public long UntilMs;
        public long ExpiredMs;
    }
}
