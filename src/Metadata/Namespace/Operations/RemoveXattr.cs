using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>removexattr(2).</summary>
public static class RemoveXattr
{
    /// <summary>ENODATA.</summary>
    public static Status Apply(VolumeState v, OpContext c, in RemoveXattrRequest q, out Rpc.Empty r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status == Status.OK)
        {
            status = XattrNames.Check(q.Name.Span).ToStatus();
        }

        if (status != Status.OK)
        {
            return status;
        }

        var index = Xattrs.IndexOf(inode, q.Name.Span);
        if (index < 0)
        {
            return Errno.ENODATA.ToStatus();
        }

        inode.Extras!.Xattrs!.RemoveAt(index);
        if (inode.Extras.Xattrs.Count == 0)
        {
            inode.Extras.Xattrs = null;
            inode.TrimExtras();
        }

        inode.NoteXattrs();
        inode.Attributes.CtimeNs = c.TimeNs;
        c.Change(inode);
        return Status.OK;
    }
}

/// <summary>What the operations on extended attributes have in common.</summary>
internal static class Xattrs
{
    /// <summary>Names and values of one inode together, so that a client exhausts no memory that its quota does not show.</summary>
    private const int InodeMaxBytes = 2 * Limits.XattrValueMaxBytes;

    public static int IndexOf(Inode inode, ReadOnlySpan<byte> name)
    {
        if (inode.Extras?.Xattrs is { } xattrs)
        {
            for (var i = 0; i < xattrs.Count; i++)
            {
                if (name.SequenceEqual(xattrs[i].Name))
                {
                    return i;
                }
            }
        }

        return -1;
    }

    /// <summary>Whether an attribute fits, in place of the one at <paramref name="index"/> or as a new one (−1).</summary>
    public static bool HasRoom(Inode inode, int index, int nameLength, int valueLength)
    {
        var names = index < 0 ? nameLength + 1L : 0;
        long values = valueLength;
        if (inode.Extras?.Xattrs is { } xattrs)
        {
            for (var i = 0; i < xattrs.Count; i++)
            {
                names += xattrs[i].Name.Length + 1;
                values += i == index ? 0 : xattrs[i].Value.Length;
            }
        }

        return names <= Limits.XattrListMaxBytes && names + values <= InodeMaxBytes;
    }
}
