using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>fallocate(2): allocates, punches holes, zeroes.</summary>
public static class Fallocate
{
    private const uint KeepSize = 1;
    private const uint PunchHole = 2;
    private const uint ZeroRange = 16;

    /// <summary>EOPNOTSUPP for other modes, EINVAL for no length, EFBIG, ENOSPC, EISDIR, EINVAL.</summary>
    public static Status Apply(VolumeState v, OpContext c, in FallocateRequest q, out EntryReply r)
    {
        r = default;
        var status = v.FindFile(q.Ino, out var inode);
        if (status != Status.OK)
        {
            return status;
        }

        if (q.AllocateMode is not (0 or KeepSize or (PunchHole | KeepSize) or ZeroRange or (ZeroRange | KeepSize)))
        {
            return Errno.EOPNOTSUPP.ToStatus();
        }

        if (q.Length == 0)
        {
            return Errno.EINVAL.ToStatus();
        }

        if (q.Offset > Limits.FileMaxBytes || q.Length > Limits.FileMaxBytes - q.Offset)
        {
            return Errno.EFBIG.ToStatus();
        }

        var end = q.Offset + q.Length;
        if ((q.AllocateMode & PunchHole) != 0)
        {
            Punch(v, c, inode, q.Offset, end);
        }
        else
        {
            status = v.Charge(c, inode, AllocatedPages(inode.File, q.Offset, end), useGrant: false);
            if (status != Status.OK)
            {
                return status;
            }

            var file = inode.FileForWriting;
            if ((q.AllocateMode & ZeroRange) != 0)
            {
                Zero(v, file, q.Offset, end);
            }

            file.Allocate(q.Offset, end, v.Blocks);
        }

        if ((q.AllocateMode & KeepSize) == 0)
        {
            inode.Attributes.Size = Math.Max(inode.Attributes.Size, end);
        }

        VolumeState.Changed(c, inode);
        inode.Touch(c.TimeNs);
        if (q.KillSuidgid)
        {
            inode.Attributes.KillSuidgid();
        }

        c.Tell(inode);
        r = new EntryReply(inode.Attributes);
        return Status.OK;
    }

    private static long AllocatedPages(FileContent? file, ulong start, ulong end)
    {
        var first = start / Limits.PageSizeBytes;
        var last = FileContent.PageEnd(end);
        return (long)(last - first - (file?.CountPages(first, last) ?? 0));
    }

    private static void Punch(VolumeState v, OpContext c, Inode inode, ulong start, ulong end)
    {
        if (inode.File is not { } file)
        {
            return;
        }

        var first = start / Limits.PageSizeBytes;
        var last = FileContent.PageEnd(Math.Max(end, (ulong)file.Inline.Length));
        var before = file.CountPages(first, last);
        file.Remove(start, end, v.Blocks);
        v.Charge(c, inode, (long)file.CountPages(first, last) - (long)before, useGrant: false);
        if (file.IsEmpty)
        {
            inode.Content = null;
        }
    }

    /// <summary>Bytes become zeros and stay allocated; inline ones stay inline.</summary>
    private static void Zero(VolumeState v, FileContent file, ulong start, ulong end)
    {
        if (start < (ulong)file.Inline.Length)
        {
            var bytes = (byte[])file.Inline.Clone();
            bytes.AsSpan((int)start, (int)(Math.Min(end, (ulong)bytes.Length) - start)).Clear();
            file.Inline = bytes;
        }

        file.Extents?.Remove(start, end, v.Blocks);
    }
}
