using EphemeralFs.Client.Blocks;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>The write path from the write-back cache on: segments become blocks on storage servers, then extents in the metadata.</summary>
public sealed class FileFlusher(
    MetadataSession session, SegmentArena arena, GrantPool grants, BlockStore blocks, Placement placement, LayoutLoader layouts, FileTable files, DeferredCreates creates,
    LostLog lost, RunningWork work)
{
    /// <summary>Block writes of one file in flight: enough to keep several servers busy.</summary>
    private const int BlocksInFlight = 4;

    /// <summary>Commits everything that is unflushed now, and waits for flushes that already run.</summary>
    /// <returns>An error loses the bytes, as a failed write-back does; it is returned here and kept for every open handle.</returns>
    /// <param name="file">The file.</param>
    /// <param name="becomesQuiet">Nobody on this node is going to write it any more, as far as one can tell: the commit says so (<see cref="CommitFlags.Quiet"/>).</param>
    public async ValueTask<Errno> FlushAsync(FileNode file, bool becomesQuiet = false)
    {
        if (!work.TryBegin())
        {
            return Errno.EIO; // nobody hears it: the daemon has left the mount, or the mount is gone
        }

        try
        {
            await file.Gate.WaitAsync();
            try
            {
                return await FlushLockedAsync(file, becomesQuiet);
            }
            finally
            {
                file.Gate.Release();
            }
        }
        finally
        {
            work.End();
        }
    }

    /// <summary>As <see cref="FlushAsync"/>, for a caller that holds the gate.</summary>
    public async ValueTask<Errno> FlushLockedAsync(FileNode file, bool becomesQuiet = false)
    {
        List<int> segments;
        lock (file.Lock)
        {
            if (file.IsEnded)
            {
                return Errno.EIO;
            }

            // Whoever writes from now on waits at the gate.
            file.IsQuiet |= becomesQuiet && file.SegmentCount > 0;
            segments = [];
            foreach (var (_, list) in file.Segments)
            {
                foreach (var index in list)
                {
                    arena.Header(index).State = SegmentState.Frozen;
                    segments.Add(index);
                }
            }
        }

        if (segments.Count == 0)
        {
            return (await creates.SendAsync(file.Ino)).ToErrno();
        }

        Errno errno;
        var isUnknown = false;
        while ((errno = await layouts.EnsureAsync(file, long.MaxValue)) == Errno.OK)
        {
            var status = await CommitAsync(file, segments, becomesQuiet ? CommitFlags.Quiet : CommitFlags.None);
            (errno, isUnknown) = (status.ToErrno(), IsUnknown(status));
            if (errno != Errno.EXDEV)
            {
                break;
            }

            // Another node has changed a file with whose inline bytes these were joined. It got on, so this ends.
            LayoutLoader.Forget(file);
        }

        // When the session has ended, its end writes off everything that was unflushed; when the daemon leaves, its successor writes it.
        if (errno != Errno.OK && session.IsCurrent(file.Life))
        {
            lock (file.Lock)
            {
                if (!file.IsEnded)
                {
                    lost.Add(new LostFile(Clock.NowNs(), file.Ino, file.BytesOf(segments), LostReason.WriteBackFailed, ""));
                }
            }

            Discard(file, segments, isUnknown);
            if (isUnknown)
            {
                LayoutLoader.Forget(file);
            }

            file.Fail(errno, files.HandlesOf(file.Ino).Select(record => record.Handle));
        }

        return errno;
    }

    /// <summary>O_APPEND on a file that other nodes write too: the server decides where the bytes go.</summary>
    public async ValueTask<(Errno Errno, int Written, ulong Offset)> AppendAsync(Operation operation, FileNode file, ReadOnlyMemory<byte> data, bool killSuidgid)
    {
        await file.Gate.WaitAsync();
        try
        {
            var errno = await FlushLockedAsync(file);
            if (errno != Errno.OK)
            {
                return (errno, 0, 0);
            }

            // Whether the quota allows it is asked with the reservation that the commit consumes.
            var reserve = RoundUpToPages(data.Length) + Limits.PageSizeBytes;
            while (!grants.TryReserve(reserve))
            {
                var acquired = await grants.AcquireAsync(reserve);
                if (acquired != Status.OK)
                {
                    return (acquired.ToErrno(), 0, 0);
                }
            }

            var (status, blockId, server) = await blocks.WriteAsync(session, grants, placement, data);
            if (status != Status.OK)
            {
                grants.Return(reserve, file.Life);
                return (status.ToErrno(), 0, 0);
            }

            var flags = CommitFlags.Append | (killSuidgid ? CommitFlags.KillSuidgid : CommitFlags.None);
            var request = new CommitRequest(file.Ino, flags, (ulong)data.Length, [new Extent(0, (ulong)data.Length, blockId, 0, server)], default, Base: 0);
            var result = await creates.CommitAsync(operation, request);
            if (!IsUnknown(result.Status))
            {
                grants.Return(reserve - (long)result.Value.ChargedBytes, file.Life);
            }

            if (!result.IsOk)
            {
                LayoutLoader.Forget(file);
                return (result.Errno, 0, 0);
            }

            lock (file.Lock)
            {
                file.Layout.Clear();
                file.LearnOwn(result.Value.Attributes);
            }

            return (Errno.OK, data.Length, result.Value.Offset);
        }
        finally
        {
            file.Gate.Release();
        }
    }

    /// <summary>Begins a flush nobody waits for; its error is reported at the next fsync or close.</summary>
    /// <param name="file">The file.</param>
    /// <param name="all">Also of what a flush that runs has not taken along.</param>
    public void FlushInBackground(FileNode file, bool all = false)
    {
        lock (file.Lock)
        {
            if (file.IsFlushing || file.SegmentCount == 0)
            {
                file.IsFlushedAgain |= all && file.SegmentCount > 0;
                return;
            }

            file.IsFlushing = true;
        }

        _ = FlushUnawaitedAsync(file);
    }

    private async Task FlushUnawaitedAsync(FileNode file)
    {
        // Whoever asks for it has something else to do.
        await Task.Yield();
        try
        {
            await FlushAsync(file);
        }
        finally
        {
            bool isAgain;
            lock (file.Lock)
            {
                (isAgain, file.IsFlushedAgain, file.IsFlushing) = (file.IsFlushedAgain, false, false);
            }

            if (isAgain)
            {
                FlushInBackground(file);
            }
        }
    }

    /// <summary>The cache is full: flushes the file that waits and all others.</summary>
    public void RelieveArena(FileNode waiting)
    {
        FlushInBackground(waiting, all: true);
        foreach (var file in files.Snapshot())
        {
            FlushInBackground(file, all: true);
        }
    }

    /// <summary>Drops unflushed bytes that nobody will read, or that could not be written.</summary>
    /// <param name="file">The file.</param>
    /// <param name="segments">Which; all by default.</param>
    /// <param name="isUnknown">The server may have committed them: the quota that was reserved for them may be used, and is not in hand any more.</param>
    public void Discard(FileNode file, IReadOnlyCollection<int>? segments = null, bool isUnknown = false)
    {
        lock (file.Lock)
        {
            if (file.IsEnded)
            {
                return;
            }

            segments ??= [.. file.Segments.Values.SelectMany(list => list)];
            if (!isUnknown)
            {
                grants.Return(arena.ReservedBytes(segments));
            }

            file.Detach(segments);
        }
    }

    /// <summary>Nobody has answered: the operation may have happened all the same.</summary>
    private static bool IsUnknown(Status status) => status is Status.Unavailable or Status.Canceled;

    private static long RoundUpToPages(long bytes) => (bytes + Limits.PageSizeBytes - 1) / Limits.PageSizeBytes * Limits.PageSizeBytes;

    private async ValueTask<Status> CommitAsync(FileNode file, List<int> segments, CommitFlags lastly)
    {
        List<Piece> pieces;
        ulong end;
        var flags = CommitFlags.None;
        long time = 0;
        byte[]? inline = null;
        ulong version;
        ReadOnlyMemory<byte> committed;
        lock (file.Lock)
        {
            if (file.IsEnded)
            {
                return Status.StaleEpoch;
            }

            (version, committed) = (file.Layout.Version, file.Layout.Inline);
            pieces = CollectPieces(file, segments, out end);
            foreach (var index in segments)
            {
                time = Math.Max(time, arena.Header(index).TimeNs);
                if (arena.Header(index).KillSuidgid != 0)
                {
                    flags |= CommitFlags.KillSuidgid;
                }
            }

            if (end <= Limits.InlineMaxBytes && file.Layout.Extents.Count == 0 && CoversWithoutGap(file, pieces))
            {
                inline = new byte[Math.Max(end, (ulong)committed.Length)];
                committed.CopyTo(inline);
                foreach (var piece in pieces)
                {
                    piece.Source(arena, committed.Span).CopyTo(inline.AsSpan((int)piece.Start));
                }
            }
        }

        if (inline is not null)
        {
            return await SendCommitAsync(file, segments, new(file.Ino, flags | lastly | CommitFlags.HasInline, end, [], inline, version), time);
        }

        var extents = new List<Extent>();
        var status = await WriteBlocksAsync(file, pieces, committed, extents);
        if (status != Status.OK)
        {
            return status.ToErrno().ToStatus(); // the metadata server has heard of nothing
        }

        // All but the last commit keep their segments: a death in between commits the same bytes once more.
        for (var sent = 0; ;)
        {
            var part = extents.Skip(sent).Take(Limits.ExtentsPerMessageMax).ToArray();
            sent += part.Length;
            var last = sent == extents.Count;
            status = await SendCommitAsync(file, last ? segments : [], new(file.Ino, flags | (last ? lastly : CommitFlags.None), last ? end : part[^1].End, part, default, version), time);
            if (status != Status.OK || last)
            {
                return status;
            }
        }
    }

    private async ValueTask<Status> SendCommitAsync(FileNode file, List<int> done, CommitRequest request, long time)
    {
        KillPoint.Hit("node.before-commit");
        var operation = session.BeginFor(file.Life);
        var result = await creates.CommitAsync(operation, request, time);
        operation.Complete();
        KillPoint.Hit("node.after-commit");
        if (!result.IsOk)
        {
            return result.Status;
        }

        lock (file.Lock)
        {
            if (file.IsEnded)
            {
                return Status.StaleEpoch;
            }

            if (file.Layout.Advance(result.Value.Attributes.DataVersion))
            {
                if ((request.Flags & CommitFlags.HasInline) != 0)
                {
                    file.Layout.SetInline(request.Inline);
                }
                else
                {
                    file.Layout.Replace(request.Extents);
                }
            }

            file.LearnOwn(result.Value.Attributes);
            grants.Return(arena.ReservedBytes(done) - (long)result.Value.ChargedBytes);
            file.Detach(done);
        }

        return Status.OK;
    }

    /// <summary>The newest bytes of every dirty place, in file order; and, when an inline file outgrows its record, the inline bytes with them. Under the lock.</summary>
    private List<Piece> CollectPieces(FileNode file, List<int> segments, out ulong end)
    {
        var pieces = new List<Piece>();
        var missing = new RangeList();
        end = 0;
        foreach (var index in segments)
        {
            ref var header = ref arena.Header(index);
            end = Math.Max(end, (header.Window * NodeMemory.SegmentBytes) + header.DirtyEnd);
        }

        var inlineIsOwed = file.Layout.IsInline && file.Layout.Inline.Length > 0;
        foreach (var window in segments.GroupBy(index => arena.Header(index).Window))
        {
            var start = window.Key * NodeMemory.SegmentBytes;
            missing.Reset(start, start + NodeMemory.SegmentBytes);
            var first = pieces.Count;
            foreach (var index in window.OrderByDescending(index => arena.Header(index).Order))
            {
                ref var header = ref arena.Header(index);
                var state = (pieces, index);
                for (var i = 0; i < header.RangeCount; i++)
                {
                    var (from, to) = header.Range(i);
                    missing.Subtract(start + from, start + to, ref state, static (ref s, a, b) => s.pieces.Add(new Piece(a, b, s.index)));
                }
            }

            if (window.Key == 0 && inlineIsOwed)
            {
                inlineIsOwed = false;
                AddInline(file, missing, pieces);
            }

            pieces.Sort(first, pieces.Count - first, null);
        }

        if (inlineIsOwed)
        {
            missing.Reset(0, NodeMemory.SegmentBytes);
            AddInline(file, missing, pieces);
        }

        pieces.Sort();
        return pieces;
    }

    private static void AddInline(FileNode file, RangeList missing, List<Piece> pieces)
    {
        var state = pieces;
        missing.Subtract(0, (ulong)file.Layout.Inline.Length, ref state, static (ref s, a, b) => s.Add(new Piece(a, b, Piece.InlineSource)));
    }

    /// <summary>Whether the pieces begin at 0 and touch each other: only then do inline bytes charge what was reserved.</summary>
    private static bool CoversWithoutGap(FileNode file, List<Piece> pieces)
    {
        ulong at = 0;
        foreach (var piece in pieces)
        {
            if (piece.Start > at)
            {
                return false;
            }

            at = Math.Max(at, piece.End);
        }

        return at >= file.CommittedSize || (ulong)file.Layout.Inline.Length >= at;
    }

    /// <summary>Packs pieces into blocks in file order and writes these, several at a time.</summary>
    private async ValueTask<Status> WriteBlocksAsync(FileNode file, List<Piece> pieces, ReadOnlyMemory<byte> committed, List<Extent> extents)
    {
        var writes = new Queue<Task<(Status Status, List<Extent> Extents)>>();
        var status = Status.OK;
        var next = 0;
        ulong within = 0;
        var left = pieces.Sum(piece => (long)(piece.End - piece.Start));
        while (next < pieces.Count || writes.Count > 0)
        {
            while (next < pieces.Count && writes.Count < BlocksInFlight && status == Status.OK)
            {
                var block = PooledBuffer.Rent((int)Math.Min(left, Limits.BlockSizeBytes));
                var parts = new List<Extent>();
                var filled = 0;
                lock (file.Lock)
                {
                    if (file.IsEnded)
                    {
                        block.Dispose();
                        status = Status.StaleEpoch;
                        break;
                    }

                    while (next < pieces.Count && filled < block.Length)
                    {
                        var source = pieces[next].Source(arena, committed.Span)[(int)within..];
                        var count = Math.Min(source.Length, block.Length - filled);
                        source[..count].CopyTo(block.Span[filled..]);
                        var start = pieces[next].Start + within;
                        if (parts.Count > 0 && parts[^1].End == start)
                        {
                            parts[^1] = parts[^1] with { Length = parts[^1].Length + (ulong)count };
                        }
                        else
                        {
                            parts.Add(new Extent(start, (ulong)count, 1, (uint)filled, 0));
                        }

                        filled += count;
                        within += (ulong)count;
                        if (count == source.Length)
                        {
                            next++;
                            within = 0;
                        }
                    }
                }

                left -= filled;
                writes.Enqueue(WriteBlockAsync(block, parts));
            }

            if (writes.Count == 0)
            {
                break;
            }

            var done = await writes.Dequeue();
            if (done.Status != Status.OK)
            {
                status = done.Status;
            }

            extents.AddRange(done.Extents);
        }

        return status;
    }

    private async Task<(Status Status, List<Extent> Extents)> WriteBlockAsync(PooledBuffer block, List<Extent> parts)
    {
        using (block)
        {
            var (status, blockId, server) = await blocks.WriteAsync(session, grants, placement, block);
            return (status, parts.ConvertAll(part => part with { BlockId = blockId, Server = server }));
        }
    }

    /// <summary>Bytes [Start, End) of the file and the segment that has them, or the committed inline bytes.</summary>
    private readonly record struct Piece(ulong Start, ulong End, int Segment) : IComparable<Piece>
    {
        public const int InlineSource = -1;

        public int CompareTo(Piece other) => Start.CompareTo(other.Start);

        public ReadOnlySpan<byte> Source(SegmentArena arena, ReadOnlySpan<byte> committed) => Segment == InlineSource
            ? committed[(int)Start..(int)End]
            : arena.Data(Segment).Slice((int)(Start % NodeMemory.SegmentBytes), (int)(End - Start));
    }
}
