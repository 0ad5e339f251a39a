using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Removes a name that is not a directory.</summary>
public static class Unlink
{
    /// <summary>ENOENT, ENOTDIR, EISDIR.</summary>
    public static Status Apply(VolumeState v, OpContext c, in UnlinkRequest q, out NameReply r)
    {
        r = default;
        var status = v.FindDirectory(q.Parent, out var parent);
        if (status == Status.OK)
        {
            status = VolumeState.CheckName(q.Name.Span);
        }

        if (status != Status.OK)
        {
            return status;
        }

        if (v.Inodes.Find(parent.Directory.Find(q.Name.Span)) is not { } inode)
        {
            return Errno.ENOENT.ToStatus();
        }

        if (inode.Attributes.IsDirectory)
        {
            return Errno.EISDIR.ToStatus();
        }

        v.RemoveName(c, parent, q.Name.Span);
        v.DropLink(c, inode);
        c.Tell(parent);
        r = new NameReply(inode.Attributes, parent.Attributes);
        return Status.OK;
    }
}
