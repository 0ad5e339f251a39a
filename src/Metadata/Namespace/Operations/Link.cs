using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Gives an inode one more name.</summary>
public static class Link
{
    /// <summary>EPERM for directories, EMLINK, EEXIST, ENOENT for an inode that lost its last name, as mknod.</summary>
    public static Status Apply(VolumeState v, OpContext c, in LinkRequest q, out NameReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status == Status.OK)
        {
            status = v.FindDirectory(q.NewParent, out _);
        }

        if (status == Status.OK)
        {
            status = VolumeState.CheckName(q.NewName.Span);
        }

        if (status != Status.OK)
        {
            return status;
        }

        var parent = v.Inodes.Find(q.NewParent)!;
        if (parent.Directory.Find(q.NewName.Span) != Ino.None)
        {
            return Errno.EEXIST.ToStatus();
        }

        var linkable = inode.Extras is { Linkable: true };
        if (inode.Attributes.IsDirectory)
        {
            return Errno.EPERM.ToStatus();
        }

        if (inode.Attributes.Nlink == 0 && !linkable)
        {
            return Errno.ENOENT.ToStatus();
        }

        if (inode.Attributes.Nlink >= Limits.LinkMax)
        {
            return Errno.EMLINK.ToStatus();
        }

        if (parent.Directory.IsFull)
        {
            return Errno.ENOSPC.ToStatus();
        }

        if (linkable)
        {
            inode.Extras!.Linkable = false;
            inode.TrimExtras();
        }

        inode.Attributes.Nlink++;
        inode.Attributes.CtimeNs = c.TimeNs;
        v.AddName(c, parent, q.NewName.Span, inode);
        c.Change(inode);
        c.TellNames(parent);
        c.Tell(inode);
        c.Tell(parent);
        r = new NameReply(inode.Attributes, parent.Attributes);
        return Status.OK;
    }
}
