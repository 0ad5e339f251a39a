using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>chmod, chown, utimens and truncate.</summary>
public static class SetAttr
{
    /// <summary>EPERM with OwnerOnly for another than the owner; EISDIR or EINVAL for a size of what is no regular file; EFBIG.</summary>
    public static Status Apply(VolumeState v, OpContext c, in SetAttrRequest q, out EntryReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status != Status.OK)
        {
            return status;
        }

        ref var attributes = ref inode.Attributes;
        var fields = q.Fields;
        if ((fields & SetAttrFields.OwnerOnly) != 0 && attributes.Uid != q.Uid)
        {
            return Errno.EPERM.ToStatus();
        }

        // As on tmpfs, truncate(2) of a file without pages to the size that it has changes nothing. (ftruncate(2) sends MtimeNow.)
        var isNothing = (fields & ~(SetAttrFields.KillSuidgid | SetAttrFields.KillSetgid)) == SetAttrFields.Size && attributes.Size == q.Size && attributes.AllocatedBytes == 0;
        if ((fields & SetAttrFields.Size) != 0)
        {
            status = v.FindFile(q.Ino, out _);
            if (status == Status.OK)
            {
                status = v.Resize(c, inode, q.Size);
            }

            if (status != Status.OK)
            {
                return status;
            }

            if (!isNothing)
            {
                attributes.MtimeNs = c.TimeNs;
            }
        }

        q.ApplyTo(ref attributes, c.TimeNs);
        if ((fields & (SetAttrFields.Uid | SetAttrFields.Gid)) != 0)
        {
            inode.DropCapabilities();
        }

        if (!isNothing)
        {
            attributes.CtimeNs = c.TimeNs;
        }

        c.Change(inode);
        c.Tell(inode);
        r = new EntryReply(attributes);
        return Status.OK;
    }
}
