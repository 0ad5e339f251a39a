using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>copy_file_range(2) by reference: both files refer to the same blocks afterwards.</summary>
public static class Clone
{
    /// <summary>EINVAL for overlapping ranges of one file, EXDEV when inline bytes would have to move (copy instead), EFBIG, ENOSPC, EISDIR, EINVAL.</summary>
    public static Status Apply(VolumeState v, OpContext c, in CloneRequest q, out CloneReply r)
    {
        r = default;
        var status = v.FindFile(q.Source, out var source);
        var target = source;
        if (status == Status.OK)
        {
            status = v.FindFile(q.Target, out target);
        }

        if (status != Status.OK)
        {
            return status;
        }

        var length = Math.Min(q.Length, source.Attributes.Size - Math.Min(q.SourceOffset, source.Attributes.Size));
        if (length == 0)
        {
            r = new CloneReply(0, target.Attributes);
            return Status.OK;
        }

        if (q.TargetOffset > Limits.FileMaxBytes || length > Limits.FileMaxBytes - q.TargetOffset)
        {
            return Errno.EFBIG.ToStatus();
        }

        var (start, end) = (q.TargetOffset, q.TargetOffset + length);
        if (source == target && q.SourceOffset < end && start < q.SourceOffset + length)
        {
            return Errno.EINVAL.ToStatus();
        }

        var sourceInline = (ulong)(source.File?.Inline.Length ?? 0);
        var targetInline = (ulong)(target.File?.Inline.Length ?? 0);
        var takesInline = q.SourceOffset < sourceInline;
        var isWhole = q.SourceOffset == 0 && start == 0 && target.Content is null && target.Attributes.Size == 0 && length >= sourceInline;
        if ((takesInline && !isWhole) || (start < targetInline && end < targetInline))
        {
            return Errno.EXDEV.ToStatus();
        }

        var copies = Slices(source.File, q.SourceOffset, length, start);
        var inlinePages = takesInline ? FileContent.PageEnd(sourceInline) : 0;
        var pages = takesInline
            ? (long)(inlinePages + PagesFrom(copies, inlinePages))
            : ExtentEdit.PageChange(target.File, copies, start, end);
        status = v.Charge(c, target, pages, useGrant: false);
        if (status != Status.OK)
        {
            return status;
        }

        var file = target.FileForWriting;
        foreach (ref readonly var extent in copies)
        {
            v.Blocks.AddReference(extent);
        }

        file.Remove(start, end, v.Blocks);
        if (takesInline)
        {
            file.Inline = source.File!.Inline;
        }

        foreach (ref readonly var extent in copies)
        {
            file.Insert(extent, v.Blocks);
            v.Blocks.DropReference(extent);
        }

        if (file.IsEmpty)
        {
            target.Content = null;
        }

        target.Attributes.Size = Math.Max(target.Attributes.Size, end);
        VolumeState.Changed(c, target);
        target.Touch(c.TimeNs);
        c.Tell(target);
        r = new CloneReply(length, target.Attributes);
        return Status.OK;
    }

    private static Span<Extent> Slices(FileContent? file, ulong offset, ulong length, ulong target)
    {
        List<Extent> slices = [];
        if (file?.Extents is { } extents)
        {
            for (var at = extents.Find(offset); at.IsValid && at.Current.FileOffset < offset + length; at.Next())
            {
                var slice = at.Current.Slice(offset, offset + length);
                slices.Add(slice with { FileOffset = slice.FileOffset - offset + target });
            }
        }

        return System.Runtime.InteropServices.CollectionsMarshal.AsSpan(slices);
    }

    private static ulong PagesFrom(ReadOnlySpan<Extent> extents, ulong next)
    {
        var pages = 0UL;
        foreach (ref readonly var extent in extents)
        {
            var from = Math.Max(next, extent.FileOffset / Limits.PageSizeBytes);
            var to = FileContent.PageEnd(extent.End);
            if (to > from)
            {
                pages += to - from;
                next = to;
            }
        }

        return pages;
    }
}
