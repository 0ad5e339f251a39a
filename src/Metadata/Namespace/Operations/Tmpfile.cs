using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Makes a regular file without a name and opens it.</summary>
public static class Tmpfile
{
    /// <summary>ENOENT, ENOTDIR, ENOSPC at the inode limit.</summary>
    public static Status Apply(VolumeState v, OpContext c, in TmpfileRequest q, out OpenReply r)
    {
        r = default;
        var status = v.FindDirectory(q.Parent, out var parent);
        if (status == Status.OK)
        {
            status = c.Session.Handles.ContainsKey(q.Handle) ? Status.BadRequest : v.CheckNewInode(c.Session, q.NewIno);
        }

        if (status != Status.OK)
        {
            return status;
        }

        var mode = FileMode.Regular | (q.FileMode & FileMode.PermissionMask);
        var inode = NewInode.Make(parent, q.NewIno, mode, q.Uid, q.Gid, 0, c.TimeNs);
        inode.Attributes.Nlink = 0;
        v.AddInode(c.Session, inode);
        var dataMode = Opens.Register(v, c.Session, inode, q.Handle, (q.Flags & OpenFlags.Write) != 0);
        inode.Extras!.Linkable = (q.Flags & OpenFlags.Exclusive) == 0;
        r = Layouts.Opened(inode, dataMode, created: true);
        return Status.OK;
    }
}
