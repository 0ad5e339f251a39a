using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>setxattr(2).</summary>
public static class SetXattr
{
    private const uint Create = 1;
    private const uint Replace = 2;

    /// <summary>EOPNOTSUPP for a namespace other than user, trusted and security; EEXIST, ENODATA, EINVAL, ENAMETOOLONG; ENOSPC when the inode has
    /// too many.</summary>
    public static Status Apply(VolumeState v, OpContext c, in SetXattrRequest q, out Rpc.Empty r)
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

        if (q.Flags > Replace)
        {
            return Errno.EINVAL.ToStatus();
        }

        var index = Xattrs.IndexOf(inode, q.Name.Span);
        if (index >= 0 && q.Flags == Create)
        {
            return Errno.EEXIST.ToStatus();
        }

        if (index < 0 && q.Flags == Replace)
        {
            return Errno.ENODATA.ToStatus();
        }

        if (!Xattrs.HasRoom(inode, index, q.Name.Length, q.Value.Length))
        {
            return Errno.ENOSPC.ToStatus();
        }

        var xattr = new Xattr(q.Name.ToArray(), q.Value.ToArray());
        var list = (inode.Extras ??= new InodeExtras()).Xattrs ??= [];
        if (index >= 0)
        {
            list[index] = xattr;
        }
        else
        {
            list.Add(xattr);
        }

        inode.NoteXattrs();
        inode.Attributes.CtimeNs = c.TimeNs;
        c.Change(inode);
        return Status.OK;
    }
}
