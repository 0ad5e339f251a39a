using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>chmod, chown, utimens and truncate.</summary>
public static class SetAttr
{
    /// <summary>EISDIR or EINVAL for a size of what is no regular file, EFBIG.</summary>
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

        // As on tmpfs, truncate(2) of a file without pages to the size that it has changes nothing. (ftruncate(2) sends MtimeNow.)
        var isNothing = fields == SetAttrFields.Size && attributes.Size == q.Size && attributes.AllocatedBytes == 0;
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

        if ((fields & SetAttrFields.KillSuidgid) != 0)
        {
            inode.KillSuidgid();
        }

        if ((fields & SetAttrFields.KillSetgid) != 0)
        {
            attributes.Mode &= ~FileMode.SetGid;
        }

        if ((fields & SetAttrFields.Mode) != 0)
        {
            attributes.Mode = (attributes.Mode & FileMode.TypeMask) | (q.Mode & FileMode.PermissionMask);
        }

        if ((fields & SetAttrFields.Uid) != 0)
        {
            attributes.Uid = q.Uid;
        }

        if ((fields & SetAttrFields.Gid) != 0)
        {
            attributes.Gid = q.Gid;
        }

        if ((fields & (SetAttrFields.Uid | SetAttrFields.Gid)) != 0)
        {
            inode.DropCapabilities();
        }

        if ((fields & (SetAttrFields.Atime | SetAttrFields.AtimeNow)) != 0)
        {
            attributes.AtimeNs = (fields & SetAttrFields.AtimeNow) != 0 ? c.TimeNs : q.AtimeNs;
        }

        if ((fields & (SetAttrFields.Mtime | SetAttrFields.MtimeNow)) != 0)
        {
            attributes.MtimeNs = (fields & SetAttrFields.MtimeNow) != 0 ? c.TimeNs : q.MtimeNs;
        }

        if (!isNothing)
        {
            attributes.CtimeNs = c.TimeNs;
        }

        r = new EntryReply(attributes);
        return Status.OK;
    }
}
