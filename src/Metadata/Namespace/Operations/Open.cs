using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Registers an open handle.</summary>
public static class Open
{
    /// <summary>EISDIR, ENOTDIR with Directory, EINVAL for what is neither file nor directory; BadRequest for a handle of another inode.</summary>
    /// <remarks>A handle that is open already is told its mode again: a restarted daemon announces what it inherited, and a session that had become quiet
    /// (<see cref="CommitFlags.Quiet"/>) that it is going to write.</remarks>
    public static Status Apply(VolumeState v, OpContext c, in OpenRequest q, out OpenReply r)
    {
        r = default;
        Inode inode;
        Status status;
        if (c.Session.Handles.TryGetValue(q.Handle, out var known))
        {
            status = known.Ino == q.Ino ? v.Find(q.Ino, out inode) : Missing(out inode);
            if (status == Status.OK)
            {
                var isWriting = known.Write && (q.Flags & OpenFlags.Write) != 0;
                r = Layouts.Opened(inode, isWriting ? Opens.Wake(c.Session, inode) : Opens.ModeOf(c.Session, inode), created: false);
            }

            return status;
        }

        if ((q.Flags & OpenFlags.Directory) != 0)
        {
            status = v.Find(q.Ino, out inode);
            if (status == Status.OK && !inode.Attributes.IsDirectory)
            {
                status = Errno.ENOTDIR.ToStatus();
            }
        }
        else
        {
            status = v.FindFile(q.Ino, out inode);
        }

        if (status != Status.OK)
        {
            return status;
        }

        if ((q.Flags & (OpenFlags.Truncate | OpenFlags.Directory)) == OpenFlags.Truncate)
        {
            v.Resize(c, inode, 0);
            inode.Touch(c.TimeNs);
            c.Change(inode);
            if ((q.Flags & OpenFlags.KillSuidgid) != 0)
            {
                inode.Attributes.KillSuidgid();
            }
        }

        var mode = Opens.Register(v, c.Session, inode, q.Handle, (q.Flags & OpenFlags.Write) != 0);
        c.Tell(inode);
        r = Layouts.Opened(inode, mode, created: false);
        return Status.OK;
    }

    private static Status Missing(out Inode inode)
    {
        inode = null!;
        return Status.BadRequest;
    }
}
