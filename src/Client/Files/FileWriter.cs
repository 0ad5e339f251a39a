using System.Numerics;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>What a write writes.</summary>
public enum WriteKind
{
    /// <summary>Bytes at an offset.</summary>
    Bytes,

    /// <summary>Bytes at the end of the file (O_APPEND).</summary>
    Append,

    /// <summary>A page that a program has written through a mapping.</summary>
    Page,
}

/// <summary>The write path up to the write-back cache: quota, a segment, a copy, an answer.</summary>
public sealed class FileWriter(SegmentArena arena, GrantPool grants, LayoutLoader layouts, FileFlusher flusher)
{
    /// <summary>A file with this many unflushed segments (4 MiB) begins to flush: enough for full blocks in parallel, little to wait for at close.</summary>
    private const int FlushAfterSegments = 32;

    /// <summary>Takes a program's bytes.</summary>
    /// <param name="operation">The program's request.</param>
    /// <param name="file">The open file.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="data">The bytes; read before the task completes.</param>
    /// <param name="through">Answer only when committed.</param>
    /// <param name="killSuidgid">Clear set-user-ID and set-group-ID.</param>
    /// <param name="kind">What it writes.</param>
    /// <returns>Bytes taken: fewer than given when the quota ends in between, or where an append must go on through the server.</returns>
    public async ValueTask<(Errno Errno, int Written)> WriteAsync(
        Operation operation, FileNode file, ulong offset, ReadOnlyMemory<byte> data, bool through, bool killSuidgid, WriteKind kind)
    {
        if (offset + (ulong)data.Length > Limits.FileMaxBytes)
        {
            return (Errno.EFBIG, 0);
        }

        var written = 0;
        var time = Clock.NowNs();
        while (written < data.Length)
        {
            var at = offset + (ulong)written;
            var count = (int)Math.Min((ulong)(data.Length - written), NodeMemory.SegmentBytes - (at % NodeMemory.SegmentBytes));
            var outcome = TryStore(file, at, data.Span.Slice(written, count), time, killSuidgid, MayStore(kind, through), out var missingBytes);
            switch (outcome)
            {
                case Outcome.Stored:
                    written += count;
                    break;

                case Outcome.Ended:
                    return (Errno.EIO, 0);

                case Outcome.GoesThrough when kind == WriteKind.Append:
                    return await FinishAsync(file, written, through: true); // the server says where the rest goes

                case Outcome.GoesThrough:
                    through = true;
                    break;

                case Outcome.NeedsLayout:
                    var errno = await layouts.EnsureAsync(file, offset + (ulong)data.Length);
                    if (errno != Errno.OK)
                    {
                        return written > 0 ? await FinishAsync(file, written, through) : (errno, 0);
                    }

                    break;

                case Outcome.NeedsQuota:
                    var status = await grants.AcquireAsync(missingBytes);
                    if (status != Status.OK)
                    {
                        // The pages that still fit, then a short write as write(2) has it.
                        if (FitsPartly(file, at, count, out var fitting)
                            && TryStore(file, at, data.Span.Slice(written, fitting), time, killSuidgid, MayStore(kind, through), out _) == Outcome.Stored)
                        {
                            written += fitting;
                        }

                        return written > 0 ? await FinishAsync(file, written, through) : (status.ToErrno(), 0);
                    }

                    break;

                default:
                    flusher.RelieveArena(file);
                    try
                    {
                        await arena.WaitAsync(operation.Interrupted);
                    }
                    catch (OperationCanceledException)
                    {
                        return written > 0 ? await FinishAsync(file, written, through) : (Errno.EINTR, 0);
                    }

                    break;
            }
        }

        return await FinishAsync(file, written, through);
    }

    /// <summary>Whether it may become dirty also in a file that is written through: it is committed at once, where it was meant to go, or nobody waits for it.</summary>
    private static bool MayStore(WriteKind kind, bool through) => kind == WriteKind.Page || (through && kind != WriteKind.Append);

    private async ValueTask<(Errno Errno, int Written)> FinishAsync(FileNode file, int written, bool through)
    {
        if (through)
        {
            var errno = await flusher.FlushAsync(file);
            return (errno, errno == Errno.OK ? written : 0);
        }

        if (file.SegmentCount >= FlushAfterSegments || arena.IsUnderPressure)
        {
            flusher.FlushInBackground(file);
        }

        return (Errno.OK, written);
    }

    /// <summary>How many bytes of a range fit into pages that need no new quota or into the quota in hand.</summary>
    private bool FitsPartly(FileNode file, ulong offset, int count, out int fitting)
    {
        var pages = Math.Max(0, grants.UnusedBytes) / Limits.PageSizeBytes;
        lock (file.Lock)
        {
            var missing = MissingPages(file, offset, count);
            var end = offset;
            while (end < offset + (ulong)count)
            {
                var page = (int)(end % NodeMemory.SegmentBytes / Limits.PageSizeBytes);
                if ((missing & (1u << page)) != 0 && pages-- <= 0)
                {
                    break;
                }

                end = (end / Limits.PageSizeBytes * Limits.PageSizeBytes) + Limits.PageSizeBytes;
            }

            fitting = (int)(Math.Min(end, offset + (ulong)count) - offset);
            return fitting > 0;
        }
    }

    /// <param name="file">The file.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="data">Within one window.</param>
    /// <param name="time">When.</param>
    /// <param name="killSuidgid">Clear set-user-ID and set-group-ID.</param>
    /// <param name="always">Also when the file is to be written through (<see cref="MayStore"/>).</param>
    /// <param name="missingBytes">Quota that was missing.</param>
    private Outcome TryStore(FileNode file, ulong offset, ReadOnlySpan<byte> data, long time, bool killSuidgid, bool always, out long missingBytes)
    {
        var window = offset / NodeMemory.SegmentBytes;
        var start = (uint)(offset % NodeMemory.SegmentBytes);
        lock (file.Lock)
        {
            missingBytes = 0;
            if (file.IsEnded)
            {
                return Outcome.Ended;
            }

            if (file.Mode == DataMode.Through && !always)
            {
                return Outcome.GoesThrough;
            }

            if (file.Layout.CoveredEnd < offset + (ulong)data.Length)
            {
                return Outcome.NeedsLayout;
            }

            var missing = MissingPages(file, offset, data.Length);
            missingBytes = BitOperations.PopCount(missing) * (long)Limits.PageSizeBytes;
            if (missing != 0 && !grants.TryReserve(missingBytes))
            {
                return Outcome.NeedsQuota;
            }

            if (file.Segments.TryGetValue(window, out var list))
            {
                var top = list[^1];
                ref var header = ref arena.Header(top);
                if (header.State == SegmentState.Dirty)
                {
                    // Bytes outside the recorded ranges mean nothing, so a death between copy and record loses nothing that was answered.
                    data.CopyTo(arena.Data(top)[(int)start..]);
                    if (header.TryAdd(start, start + (uint)data.Length))
                    {
                        Finish(file, top, ref header, missing, time, killSuidgid);
                        return Outcome.Stored;
                    }
                }
            }

            if (!arena.TryAllocate(file.Ino, window, out var index))
            {
                grants.Return(missingBytes);
                return Outcome.NeedsSegment;
            }

            ref var fresh = ref arena.Header(index);
            data.CopyTo(arena.Data(index)[(int)start..]);
            fresh.TryAdd(start, start + (uint)data.Length);
            fresh.TimeNs = time;
            Volatile.Write(ref System.Runtime.CompilerServices.Unsafe.As<SegmentState, uint>(ref fresh.State), (uint)SegmentState.Dirty);
            file.Attach(index);
            Finish(file, index, ref fresh, missing, time, killSuidgid);
            return Outcome.Stored;
        }
    }

    private static void Finish(FileNode file, int index, ref SegmentHeader header, uint reserved, long time, bool killSuidgid)
    {
        header.ReservedPages |= reserved;
        header.TimeNs = time;
        if (killSuidgid)
        {
            header.KillSuidgid = 1;
        }

        file.Touched(index);
    }

    /// <summary>The pages of a range (within one window) that are neither charged nor reserved, as bits; under the lock.</summary>
    private uint MissingPages(FileNode file, ulong offset, int count)
    {
        var first = (int)(offset % NodeMemory.SegmentBytes / Limits.PageSizeBytes);
        var last = (int)(((offset % NodeMemory.SegmentBytes) + (ulong)count - 1) / Limits.PageSizeBytes);
        uint reserved = 0;
        if (file.Segments.TryGetValue(offset / NodeMemory.SegmentBytes, out var list))
        {
            foreach (var index in list)
            {
                reserved |= arena.Header(index).ReservedPages;
            }
        }

        uint missing = 0;
        var windowStart = offset / NodeMemory.SegmentBytes * NodeMemory.SegmentBytes;
        for (var page = first; page <= last; page++)
        {
            if ((reserved & (1u << page)) == 0 && !file.Layout.IsPageAllocated(windowStart + ((ulong)page * Limits.PageSizeBytes)))
            {
                missing |= 1u << page;
            }
        }

        return missing;
    }

    private enum Outcome
    {
        Stored,
        NeedsQuota,
        NeedsSegment,

        /// <summary>The server has told the node meanwhile to write the file through: what was dirty then is committed, and nothing may become dirty any more.</summary>
        GoesThrough,

        /// <summary>Which pages need quota is not known, or not any more after a recall.</summary>
        NeedsLayout,

        /// <summary>The session of the file has ended.</summary>
        Ended,
    }
}
