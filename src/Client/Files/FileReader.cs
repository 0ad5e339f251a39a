using EphemeralFs.Client.Blocks;
using EphemeralFs.Client.State;
using EphemeralFs.Core;

namespace EphemeralFs.Client.Files;

/// <summary>The read path: unflushed bytes first, then inline bytes or blocks, zeros where nothing is; and what is likely wanted next is fetched ahead.</summary>
public sealed class FileReader(SegmentArena arena, BlockStore blocks, LayoutLoader layouts)
{
    /// <summary>Prefetch begins with this much and doubles with every sequential read.</summary>
    private const ulong PrefetchFirstBytes = 1 << 20;

    /// <summary>Prefetch goes this far ahead at most: eight blocks in flight hide the way to several servers.</summary>
    private const ulong PrefetchMaxBytes = 8 << 20;

    /// <summary>How often a read begins again because blocks were replaced under it.</summary>
    private const int AttemptsMax = 32;

    /// <summary>Reads up to <paramref name="target"/>.Length bytes; fewer only at the end of the file.</summary>
    public async ValueTask<(Errno Errno, int Read)> ReadAsync(FileNode file, ulong offset, Memory<byte> target, CancellationToken cancellation)
    {
        for (var attempt = 0; attempt < AttemptsMax; attempt++)
        {
            var plan = new List<Extent>();
            int count;
            List<Extent> prefetch;
            do
            {
                var errno = await layouts.EnsureAsync(file, offset + (ulong)target.Length);
                if (errno != Errno.OK)
                {
                    return (errno, 0);
                }
            }
            while (!TryPlan(file, offset, target.Span, plan, out count, out prefetch));

            foreach (var extent in prefetch)
            {
                _ = blocks.PrefetchAsync(extent.Server, extent.BlockId, extent.BlockOffset, (uint)extent.Length).AsTask();
            }

            var status = await FetchAsync(plan, offset, target, cancellation);
            switch (status)
            {
                case Status.OK:
                    return (Errno.OK, count);
                case Status.BlockNotFound:
                    LayoutLoader.Forget(file);
                    break;
                default:
                    return (status.ToErrno(), 0);
            }
        }

        return (Errno.EIO, 0);
    }

    private async ValueTask<Status> FetchAsync(List<Extent> plan, ulong offset, Memory<byte> target, CancellationToken cancellation)
    {
        if (plan.Count == 0)
        {
            return Status.OK;
        }

        if (plan.Count == 1)
        {
            return await FetchOneAsync(plan[0]);
        }

        var outcome = Status.OK;
        foreach (var task in plan.ConvertAll(extent => FetchOneAsync(extent).AsTask()))
        {
            var status = await task;
            outcome = outcome == Status.OK ? status : outcome;
        }

        return outcome;

        ValueTask<Status> FetchOneAsync(Extent extent) => blocks.ReadAsync(
            extent.Server, extent.BlockId, extent.BlockOffset, target.Slice((int)(extent.FileOffset - offset), (int)extent.Length), cancellation);
    }

    /// <summary>Copies what is in memory, clears holes, lists what is to be fetched. False when a recall has taken the layout away: no extent does not mean a hole
    /// then.</summary>
    private bool TryPlan(FileNode file, ulong offset, Span<byte> target, List<Extent> plan, out int count, out List<Extent> prefetch)
    {
        prefetch = [];
        count = 0;
        lock (file.Lock)
        {
            if (file.Layout.CoveredEnd < offset + (ulong)target.Length)
            {
                return false;
            }

            var size = file.Size;
            if (offset >= size)
            {
                return true;
            }

            count = (int)Math.Min((ulong)target.Length, size - offset);
            var missing = new RangeList();
            missing.Reset(offset, offset + (ulong)count);
            CopyUnflushed(file, offset, target, missing);
            for (var i = 0; i < missing.Count; i++)
            {
                var (start, end) = missing[i];
                target[(int)(start - offset)..(int)(end - offset)].Clear();
                var inline = file.Layout.Inline.Span;
                if (start < (ulong)inline.Length)
                {
                    inline[(int)start..(int)Math.Min(end, (ulong)inline.Length)].CopyTo(target[(int)(start - offset)..]);
                }

                // What lies beyond the committed size belongs to nobody yet.
                AddExtents(file, start, Math.Min(end, file.CommittedSize), plan);
            }

            Prefetch(file, offset, offset + (ulong)count, prefetch);
            return true;
        }
    }

    private static void AddExtents(FileNode file, ulong start, ulong end, List<Extent> plan)
    {
        var extents = file.Layout.Extents;
        for (var index = file.Layout.Find(start); index < extents.Count && extents[index].FileOffset < end; index++)
        {
            if (!extents[index].IsUnwritten)
            {
                plan.Add(extents[index].Slice(start, end));
            }
        }
    }

    private void CopyUnflushed(FileNode file, ulong offset, Span<byte> target, RangeList missing)
    {
        if (file.SegmentCount == 0)
        {
            return;
        }

        var end = offset + (ulong)target.Length;
        for (var window = offset / NodeMemory.SegmentBytes; window * NodeMemory.SegmentBytes < end; window++)
        {
            if (!file.Segments.TryGetValue(window, out var list))
            {
                continue;
            }

            var start = window * NodeMemory.SegmentBytes;
            for (var i = list.Count - 1; i >= 0; i--)
            {
                ref var header = ref arena.Header(list[i]);
                var copy = new Copy(target, offset, arena.Data(list[i]), start);
                for (var r = 0; r < header.RangeCount; r++)
                {
                    var (from, to) = header.Range(r);
                    missing.Subtract(start + from, start + to, ref copy, static (ref c, a, b) =>
                        c.Source[(int)(a - c.SourceOffset)..(int)(b - c.SourceOffset)].CopyTo(c.Target[(int)(a - c.TargetOffset)..]));
                }
            }
        }
    }

    /// <summary>Sequential reads move a window ahead of them; any other read closes it.</summary>
    private static void Prefetch(FileNode file, ulong start, ulong end, List<Extent> prefetch)
    {
        // The kernel's own read-ahead sends requests side by side: a little out of order is sequential still.
        var sequential = start <= file.ReadEnd + PrefetchFirstBytes && start + PrefetchFirstBytes >= file.ReadEnd && (start != 0 || file.ReadEnd == 0);
        if (!sequential)
        {
            file.ReadEnd = end;
            file.PrefetchedEnd = end;
            file.PrefetchWindow = 0;
            return;
        }

        file.ReadEnd = Math.Max(file.ReadEnd, end);
        file.PrefetchedEnd = Math.Max(file.PrefetchedEnd, file.ReadEnd);
        if (file.PrefetchedEnd - file.ReadEnd > file.PrefetchWindow / 2 && file.PrefetchWindow > 0)
        {
            return;
        }

        file.PrefetchWindow = Math.Clamp(file.PrefetchWindow * 2, PrefetchFirstBytes, PrefetchMaxBytes);
        var until = Math.Min(file.ReadEnd + file.PrefetchWindow, file.CommittedSize);
        if (until > file.PrefetchedEnd && !file.Layout.IsInline)
        {
            AddExtents(file, file.PrefetchedEnd, until, prefetch);
            file.PrefetchedEnd = until;
        }
    }

    private readonly ref struct Copy(Span<byte> target, ulong targetOffset, Span<byte> source, ulong sourceOffset)
    {
        public readonly Span<byte> Target = target;
        public readonly ulong TargetOffset = targetOffset;
        public readonly Span<byte> Source = source;
        public readonly ulong SourceOffset = sourceOffset;
    }
}
