using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Target of a symbolic link.</summary>
public static class ReadLink
{
    /// <summary>EINVAL when it is none.</summary>
    public static Status Apply(VolumeState v, OpContext c, in ReadLinkRequest q, out ReadLinkReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status != Status.OK)
        {
            return status;
        }

        if (!inode.Attributes.IsSymlink)
        {
            return Errno.EINVAL.ToStatus();
        }

        r = new ReadLinkReply((byte[])inode.Content!);
        return Status.OK;
    }
}
