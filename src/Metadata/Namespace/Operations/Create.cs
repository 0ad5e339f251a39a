using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Finds or makes a regular file and opens it.</summary>
public static class Create
{
    /// <summary>EEXIST with Exclusive; EISDIR; ESTALE when the name has become something else, so that the kernel looks again; as mknod and open.</summary>
    public static Status Apply(VolumeState v, OpContext c, in CreateRequest q, out CreateReply r)
    {
        r = default;
        if (c.Session.Handles.TryGetValue(q.Handle, out var known))
        {
            return AnswerAgain(v, c, q, known.Ino, out r);
        }

        var status = NewInode.Check(v, c, q.Parent, q.NewIno, q.Name.Span, out var parent);
        if (status == Errno.EEXIST.ToStatus() && (q.Flags & OpenFlags.Exclusive) == 0)
        {
            c.TellNames(parent);
            var existing = v.Inodes.Find(parent.Directory.Find(q.Name.Span))!;
            if (!existing.Attributes.IsRegular && !existing.Attributes.IsDirectory)
            {
                return Errno.ESTALE.ToStatus();
            }

            status = Open.Apply(v, c, new OpenRequest(existing.Ino, q.Handle, q.Flags & ~OpenFlags.Directory), out var opened);
            c.Tell(parent);
            r = new CreateReply(opened, parent.Attributes);
            return status;
        }

        if (status != Status.OK)
        {
            return status;
        }

        if ((q.FileMode & FileMode.TypeMask) is not (0 or FileMode.Regular))
        {
            return Errno.EINVAL.ToStatus();
        }

        var mode = FileMode.Regular | (q.FileMode & FileMode.PermissionMask);
        var inode = NewInode.Make(parent, q.NewIno, mode, q.Uid, q.Gid, 0, c.TimeNs);
        v.AddInode(c.Session, inode);
        v.AddName(c, parent, q.Name.Span, inode);
        c.TellNames(parent);
        var dataMode = Opens.Register(v, c.Session, inode, q.Handle, (q.Flags & OpenFlags.Write) != 0);
        c.Tell(inode);
        c.Tell(parent);
        r = new CreateReply(Layouts.Opened(inode, dataMode, created: true), parent.Attributes);
        return Status.OK;
    }

    /// <summary>
    /// The session has made the file before, with the same handle: a daemon that had deferred it died before it heard the answer. Others may have changed the name
    /// since, or have removed the directory. BadRequest for the handle of something else.
    /// </summary>
    private static Status AnswerAgain(VolumeState v, OpContext c, in CreateRequest q, ulong ino, out CreateReply r)
    {
        r = default;
        if (v.FindFile(ino, out var inode) != Status.OK)
        {
            return Status.BadRequest;
        }

        InodeAttributes directory = default;
        if (v.FindDirectory(q.Parent, out var parent) == Status.OK)
        {
            directory = parent.Attributes;
            c.Tell(parent);
            if (parent.Directory.Find(q.Name.Span) == ino)
            {
                c.TellNames(parent);
            }
        }

        c.Tell(inode);
        r = new CreateReply(Layouts.Opened(inode, Opens.ModeOf(c.Session, inode), created: true), directory);
        return Status.OK;
    }
}
