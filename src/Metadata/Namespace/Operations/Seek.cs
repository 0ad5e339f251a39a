using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>lseek(2) with SEEK_DATA and SEEK_HOLE on committed data. Inline bytes are data, allocated unwritten space is a hole.</summary>
public static class Seek
{
    private const uint Data = 3;
    private const uint Hole = 4;

    /// <summary>ENXIO at or behind the end, and when no data follows; EINVAL for another whence.</summary>
    public static Status Apply(VolumeState v, OpContext c, in SeekRequest q, out SeekReply r)
    {
        r = default;
        var status = v.FindFile(q.Ino, out var inode);
        if (status != Status.OK)
        {
            return status;
        }

        if (q.Whence is not (Data or Hole))
        {
            return Errno.EINVAL.ToStatus();
        }

        var size = inode.Attributes.Size;
        if (q.Offset >= size)
        {
            return Errno.ENXIO.ToStatus();
        }

        var offset = q.Whence == Data ? NextData(inode.File, q.Offset) : NextHole(inode.File, q.Offset);
        if (q.Whence == Data && offset >= size)
        {
            return Errno.ENXIO.ToStatus();
        }

        r = new SeekReply(Math.Min(offset, size));
        return Status.OK;
    }

    private static ulong NextData(FileContent? file, ulong offset)
    {
        if (file is null || offset < (ulong)file.Inline.Length)
        {
            return file is null ? ulong.MaxValue : offset;
        }

        if (file.Extents is { } extents)
        {
            for (var at = extents.Find(offset); at.IsValid; at.Next())
            {
                if (!at.Current.IsUnwritten)
                {
                    return Math.Max(offset, at.Current.FileOffset);
                }
            }
        }

        return ulong.MaxValue;
    }

    private static ulong NextHole(FileContent? file, ulong offset)
    {
        if (file is null)
        {
            return offset;
        }

        offset = Math.Max(offset, (ulong)file.Inline.Length);
        if (file.Extents is { } extents)
        {
            for (var at = extents.Find(offset); at.IsValid && at.Current.FileOffset <= offset && !at.Current.IsUnwritten; at.Next())
            {
                offset = at.Current.End;
            }
        }

        return offset;
    }
}
