using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>The extents of a file, sorted, without overlap, byte-granular.</summary>
/// <remarks>A list of runs of at most <see cref="RunMax"/> extents: binary search finds a place, a change in the middle moves at most one run
/// (16 KiB), and appending touches the last run only. A million extents stay fast.</remarks>
public sealed class ExtentMap
{
    private const int RunMax = 512;
    private readonly List<Run> _runs = [];

    /// <summary>Number of extents.</summary>
    public int Count { get; private set; }

    /// <summary>Place of the first extent that ends after <paramref name="offset"/>.</summary>
    public Cursor Find(ulong offset)
    {
        var run = FirstRunEndingAfter(offset);
        if (run == _runs.Count)
        {
            return new Cursor(this, run, 0);
        }

        var items = _runs[run].Items;
        var low = 0;
        var high = _runs[run].Count - 1;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (items[middle].End <= offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return new Cursor(this, run, low);
    }

    /// <summary>Takes [<paramref name="start"/>, <paramref name="end"/>) out: what lies inside goes, what sticks out is cut. Blocks that lose their
    /// last extent go to the delete queue of <paramref name="blocks"/>. Returns whether anything was there.</summary>
    public bool Remove(ulong start, ulong end, BlockTable blocks)
    {
        var changed = false;
        while (true)
        {
            var at = Find(start);
            if (!at.IsValid || at.Current.FileOffset >= end)
            {
                return changed;
            }

            changed = true;
            var extent = at.Current;
            if (extent.FileOffset < start)
            {
                Set(at, extent.Slice(extent.FileOffset, start));
                if (extent.End > end)
                {
                    blocks.AddReference(extent);
                    InsertAt(at.Run, at.Index + 1, extent.Slice(end, extent.End));
                    return true;
                }
            }
            else if (extent.End > end)
            {
                Set(at, extent.Slice(end, extent.End));
                return true;
            }
            else
            {
                RemoveWhole(at, end, blocks);
            }
        }
    }

    /// <summary>Inserts an extent where nothing is, and joins it with its neighbours where they continue each other.</summary>
    public void Insert(in Extent extent, BlockTable blocks)
    {
        blocks.AddReference(extent);
        var run = FirstRunEndingAfter(extent.FileOffset);
        if (run == _runs.Count)
        {
            if (run == 0)
            {
                _runs.Add(new Run { Items = new Extent[1] });
            }
            else
            {
                run--;
            }
        }

        var index = 0;
        var target = _runs[run];
        for (var high = target.Count; index < high;)
        {
            var middle = (index + high) / 2;
            if (target.Items[middle].End <= extent.FileOffset)
            {
                index = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        var joined = extent;
        if (Previous(run, index) is { } before && Continues(before.Extent, joined))
        {
            joined = before.Extent with { Length = before.Extent.Length + joined.Length };
            blocks.DropReference(extent);
            _runs[before.Run].Items[before.Index] = joined;
            var next = Find(joined.End);
            if (next.IsValid && Continues(joined, next.Current))
            {
                var after = next.Current;
                _runs[before.Run].Items[before.Index] = joined with { Length = joined.Length + after.Length };
                RemoveRange(next.Run, next.Index, 1);
                blocks.DropReference(after);
            }

            return;
        }

        if (index < target.Count && Continues(joined, target.Items[index]))
        {
            blocks.DropReference(extent);
            target.Items[index] = joined with { Length = joined.Length + target.Items[index].Length };
            return;
        }

        InsertAt(run, index, joined);
    }

    /// <summary>Drops everything.</summary>
    public void Clear(BlockTable blocks)
    {
        foreach (var run in _runs)
        {
            foreach (ref readonly var extent in run.Items.AsSpan(0, run.Count))
            {
                blocks.DropReference(extent);
            }
        }

        _runs.Clear();
        Count = 0;
    }

    private static bool Continues(in Extent a, in Extent b) =>
        a.End == b.FileOffset && a.BlockId == b.BlockId && a.Server == b.Server && (a.IsUnwritten || a.BlockOffset + a.Length == b.BlockOffset);

    private (int Run, int Index, Extent Extent)? Previous(int run, int index)
    {
        if (index > 0)
        {
            return (run, index - 1, _runs[run].Items[index - 1]);
        }

        return run > 0 ? (run - 1, _runs[run - 1].Count - 1, _runs[run - 1].Items[_runs[run - 1].Count - 1]) : null;
    }

    private int FirstRunEndingAfter(ulong offset)
    {
        var low = 0;
        var high = _runs.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_runs[middle].End <= offset)
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

    private void Set(in Cursor at, in Extent extent) => _runs[at.Run].Items[at.Index] = extent;

    private void InsertAt(int run, int index, in Extent extent)
    {
        var target = _runs[run];
        if (target.Count == RunMax)
        {
            // Appending opens a new run; otherwise the full run is halved.
            var keep = index == RunMax && run == _runs.Count - 1 ? RunMax : RunMax / 2;
            var tail = new Run { Items = new Extent[RunMax], Count = RunMax - keep };
            Array.Copy(target.Items, keep, tail.Items, 0, tail.Count);
            target.Count = keep;
            _runs.Insert(run + 1, tail);
            if (index > keep || keep == RunMax)
            {
                (target, index) = (tail, index - keep);
            }
        }
        else if (target.Count == target.Items.Length)
        {
            Array.Resize(ref target.Items, Math.Min(RunMax, target.Count * 2));
        }

        Array.Copy(target.Items, index, target.Items, index + 1, target.Count - index);
        target.Items[index] = extent;
        target.Count++;
        Count++;
    }

    // Removes all extents from `at` on, within one run, that end at or before `end`.
    private void RemoveWhole(in Cursor at, ulong end, BlockTable blocks)
    {
        var run = _runs[at.Run];
        var last = at.Index;
        while (last < run.Count && run.Items[last].End <= end)
        {
            blocks.DropReference(run.Items[last++]);
        }

        RemoveRange(at.Run, at.Index, last - at.Index);
    }

    private void RemoveRange(int run, int index, int count)
    {
        var target = _runs[run];
        Array.Copy(target.Items, index + count, target.Items, index, target.Count - index - count);
        target.Count -= count;
        Count -= count;
        if (target.Count == 0)
        {
            _runs.RemoveAt(run);
        }
    }

    /// <summary>A place among the extents; valid until they change.</summary>
    /// <param name="map">Whose extents.</param>
    /// <param name="run">Which run.</param>
    /// <param name="index">Which extent of the run.</param>
    public struct Cursor(ExtentMap map, int run, int index)
    {
        internal int Run = run;
        internal int Index = index;

        /// <summary>False behind the last extent.</summary>
        public readonly bool IsValid => Run < map._runs.Count && Index < map._runs[Run].Count;

        /// <summary>The extent here.</summary>
        public readonly ref readonly Extent Current => ref map._runs[Run].Items[Index];

        /// <summary>Goes to the next extent.</summary>
        public void Next()
        {
            if (++Index >= map._runs[Run].Count)
            {
                Run++;
                Index = 0;
            }
        }
    }

    private sealed class Run
    {
        public Extent[] Items = [];
        public int Count;

        public ulong End => Items[Count - 1].End;
    }
}
