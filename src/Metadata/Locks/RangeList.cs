using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Locks;

/// <summary>The locked ranges of one owner on one inode: sorted, disjoint, neighbours of equal type joined. Owned by <see cref="InodeLocks"/>.</summary>
/// <remarks>What an owner sets replaces what it held on those bytes (fcntl(2), "Advisory record locking"), so a list never conflicts with itself.</remarks>
internal sealed class RangeList
{
    private readonly List<LockRange> _ranges = [];

    public int Count => _ranges.Count;

    public IReadOnlyList<LockRange> Ranges => _ranges;

    /// <summary>Makes the bytes of <paramref name="range"/> have its type: locks, converts or unlocks, splitting and joining.</summary>
    public void Set(LockRange range)
    {
        var first = FirstEndingAtOrAfter(range.Start);
        var last = first;
        LockRange? before = null;
        LockRange? after = null;
        for (; last < _ranges.Count && _ranges[last].Start <= range.End; last++)
        {
            var old = _ranges[last];
            if (old.Start < range.Start)
            {
                before = old with { End = range.Start - 1 };
            }

            if (old.End > range.End)
            {
                after = old with { Start = range.End + 1 };
            }
        }

        _ranges.RemoveRange(first, last - first);
        if (after is { } tail)
        {
            _ranges.Insert(first, tail);
        }

        if (range.Type != LockType.Unlock)
        {
            _ranges.Insert(first, range);
        }

        if (before is { } head)
        {
            _ranges.Insert(first, head);
        }

        Join(Math.Max(first - 1, 0), first + 3);
    }

    /// <summary>The first range that stands in the way of another owner's request.</summary>
    public bool TryFindConflict(LockRange request, out LockRange conflict)
    {
        for (var i = FirstEndingAtOrAfter(request.Start); i < _ranges.Count && _ranges[i].Start <= request.End; i++)
        {
            if (request.Type == LockType.Write || _ranges[i].Type == LockType.Write)
            {
                conflict = _ranges[i];
                return true;
            }
        }

        conflict = default;
        return false;
    }

    private int FirstEndingAtOrAfter(ulong position)
    {
        var low = 0;
        var high = _ranges.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_ranges[middle].End < position)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    private void Join(int from, int to)
    {
        for (var i = Math.Min(to, _ranges.Count - 1); i > from; i--)
        {
            var left = _ranges[i - 1];
            var right = _ranges[i];
            if (left.Type == right.Type && left.End + 1 == right.Start)
            {
                _ranges[i - 1] = left with { End = right.End };
                _ranges.RemoveAt(i);
            }
        }
    }
}
