using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>getxattr(2).</summary>
public static class GetXattr
{
    /// <summary>ENODATA.</summary>
    public static Status Apply(VolumeState v, OpContext c, in GetXattrRequest q, out XattrReply r)
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

        r = new XattrReply(inode.Extras!.Xattrs![index].Value);
        return Status.OK;
    }
}
