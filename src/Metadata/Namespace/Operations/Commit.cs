using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Makes written bytes part of a file.</summary>
public static class Commit
{
    /// <summary>EFBIG; ENOSPC when neither the session's grant nor the free quota has the new pages; EXDEV when the bytes cannot become part of the
    /// file in this form (they would have to be joined with inline bytes that a metadata server cannot put into a block, or were joined with bytes
    /// that another node has replaced since); BadRequest for extents that are malformed or of blocks that the session may not use.</summary>
    public static Status Apply(VolumeState v, OpContext c, in CommitRequest q, out CommitReply r)
    {
        r = default;
        var status = v.FindFile(q.Ino, out var inode);
        if (status != Status.OK)
        {
            return status;
        }

        ref var attributes = ref inode.Attributes;
        var append = (q.Flags & CommitFlags.Append) != 0;
        var start = append ? attributes.Size : 0;
        var hasInline = (q.Flags & CommitFlags.HasInline) != 0;
        if ((hasInline ? q.Extents.Length : q.Inline.Length) > 0 || q.Extents.Length > Limits.ExtentsPerMessageMax)
        {
            return Status.BadRequest;
        }

        if (hasInline && !append && q.Base != attributes.DataVersion)
        {
            return Errno.EXDEV.ToStatus();
        }

        if (q.Size > Limits.FileMaxBytes - start)
        {
            return Errno.EFBIG.ToStatus();
        }

        var size = Math.Max(attributes.Size, start + q.Size);
        var grantBefore = c.Session.GrantBytes;
        status = hasInline ? SetInline(v, c, inode, q.Inline.Span, append, ref size) : SetExtents(v, c, inode, q.Extents, start, q.Base, ref size);
        if (status != Status.OK)
        {
            return status;
        }

        var changed = hasInline || q.Extents.Length > 0 || size != attributes.Size;
        attributes.Size = size;
        if (changed)
        {
            VolumeState.Changed(c, inode);
        }

        if ((q.Flags & CommitFlags.KillSuidgid) != 0)
        {
            inode.Attributes.KillSuidgid();
        }

        if ((q.Flags & CommitFlags.KeepMtime) == 0)
        {
            inode.Touch(c.TimeNs);
        }

        if ((q.Flags & CommitFlags.Quiet) != 0)
        {
            Opens.BecomeQuiet(c.Session, inode);
        }

        c.Change(inode);
        c.Tell(inode);
        r = new CommitReply(attributes, start, grantBefore - c.Session.GrantBytes);
        return Status.OK;
    }

    /// <summary>The bytes are all of the file, or with append those that follow its last one.</summary>
    private static Status SetInline(VolumeState v, OpContext c, Inode inode, ReadOnlySpan<byte> bytes, bool append, ref ulong size)
    {
        var old = inode.File;
        var at = 0;
        if (append)
        {
            var current = inode.Attributes.Size;
            if (current + (ulong)bytes.Length > Limits.InlineMaxBytes || (old is not null && HasWritten(old)))
            {
                return Errno.EXDEV.ToStatus();
            }

            at = (int)current;
        }

        var all = new byte[at + bytes.Length];
        if (append)
        {
            old?.Inline.CopyTo(all, 0);
        }

        bytes.CopyTo(all.AsSpan(at));
        size = Math.Max(size, (ulong)all.Length);

        // What stays besides the inline bytes is space that was allocated and not written.
        var pages = FileContent.PageEnd((ulong)all.Length);
        if (old?.Extents is { } extents)
        {
            var next = pages;
            for (var cursor = extents.Find((ulong)all.Length); cursor.IsValid; cursor.Next())
            {
                var from = Math.Max(next, cursor.Current.FileOffset / Limits.PageSizeBytes);
                var to = FileContent.PageEnd(cursor.Current.End);
                if (cursor.Current.IsUnwritten && to > from)
                {
                    pages += to - from;
                    next = to;
                }
            }
        }

        var status = v.Charge(c, inode, (long)pages - (long)(inode.Attributes.AllocatedBytes / Limits.PageSizeBytes), useGrant: true);
        if (status != Status.OK)
        {
            return status;
        }

        var file = inode.FileForWriting;
        file.RemoveWritten(v.Blocks);
        file.Inline = [];
        file.Remove(0, (ulong)all.Length, v.Blocks);
        file.Inline = all;
        if (file.IsEmpty)
        {
            inode.Content = null;
        }

        return Status.OK;
    }

    private static Status SetExtents(VolumeState v, OpContext c, Inode inode, Extent[] extents, ulong start, ulong baseVersion, ref ulong size)
    {
        if (extents.Length == 0)
        {
            return Status.OK;
        }

        var status = Validate(v, c.Session, extents, start);
        if (status != Status.OK)
        {
            return status;
        }

        var inlineEnd = (ulong)(inode.File?.Inline.Length ?? 0);
        var first = extents[0].FileOffset + start;
        if (first < inlineEnd && (baseVersion != inode.Attributes.DataVersion || !Covers(extents, start, first, inlineEnd)))
        {
            return Errno.EXDEV.ToStatus();
        }

        status = v.Charge(c, inode, (long)ExtentEdit.NewPages(inode.File, extents, start), useGrant: true);
        if (status != Status.OK)
        {
            return status;
        }

        var file = inode.FileForWriting;
        if (first < inlineEnd)
        {
            file.Inline = file.Inline[..(int)first];
        }

        // References first: a block whose old extents are replaced by new ones of its own must not be dropped in between.
        foreach (ref readonly var extent in extents.AsSpan())
        {
            v.Blocks.AddReference(extent);
            if (c.Session.Blocks.CanTake(BlockId.SequenceOf(extent.BlockId)))
            {
                // A block becomes part of a file once: after its last extent is gone it is deleted, and must not come back.
                c.Session.Blocks.Take(BlockId.SequenceOf(extent.BlockId));
            }
        }

        foreach (ref readonly var extent in extents.AsSpan())
        {
            var placed = extent with { FileOffset = extent.FileOffset + start };
            file.Remove(placed.FileOffset, placed.End, v.Blocks);
            file.Insert(placed, v.Blocks);
            v.Blocks.DropReference(extent);
        }

        size = Math.Max(size, extents[^1].End + start);
        return Status.OK;
    }

    private static Status Validate(VolumeState v, SessionState session, Extent[] extents, ulong start)
    {
        var end = 0UL;
        foreach (ref readonly var extent in extents.AsSpan())
        {
            if (extent.Length is 0 or > Limits.BlockSizeBytes || extent.BlockOffset > Limits.BlockSizeBytes - extent.Length
                || extent.IsUnwritten || extent.Server == 0 || extent.FileOffset < end
                || BlockId.VolumeOf(extent.BlockId) != v.Id
                || (v.Blocks.ReferencesTo(extent.BlockId) == 0 && !session.Blocks.CanTake(BlockId.SequenceOf(extent.BlockId))))
            {
                return Status.BadRequest;
            }

            if (extent.FileOffset > Limits.FileMaxBytes - start || extent.Length > Limits.FileMaxBytes - start - extent.FileOffset)
            {
                return Errno.EFBIG.ToStatus();
            }

            end = extent.End;
        }

        return Status.OK;
    }

    /// <summary>Whether the extents have all bytes of [<paramref name="from"/>, <paramref name="to"/>).</summary>
    private static bool Covers(Extent[] extents, ulong start, ulong from, ulong to)
    {
        foreach (ref readonly var extent in extents.AsSpan())
        {
            if (extent.FileOffset + start > from || from >= to)
            {
                break;
            }

            from = extent.End + start;
        }

        return from >= to;
    }

    private static bool HasWritten(FileContent file)
    {
        if (file.Extents is { } extents)
        {
            for (var at = extents.Find(0); at.IsValid; at.Next())
            {
                if (!at.Current.IsUnwritten)
                {
                    return true;
                }
            }
        }

        return false;
    }
}
