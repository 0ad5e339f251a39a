using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>mknod, mkdir and symlink.</summary>
public static class Mknod
{
    /// <summary>EEXIST, ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL for a type that is none, ENOSPC at the inode limit.</summary>
    public static Status Apply(VolumeState v, OpContext c, in MknodRequest q, out NameReply r)
    {
        r = default;
        var status = NewInode.Check(v, c, q.Parent, q.NewIno, q.Name.Span, out var parent);
        if (status != Status.OK)
        {
            return status;
        }

        var type = q.Mode & FileMode.TypeMask;
        object? content = null;
        switch (type)
        {
            case FileMode.Directory:
                content = new DirectoryContent(parent.Ino);
                break;
            case FileMode.Symlink when q.Target.Length > 0:
                content = q.Target.ToArray();
                break;
            case FileMode.Regular or FileMode.Fifo or FileMode.Socket or FileMode.CharDevice or FileMode.BlockDevice:
                break;
            default:
                return Errno.EINVAL.ToStatus();
        }

        var isDevice = type is FileMode.CharDevice or FileMode.BlockDevice;
        var inode = NewInode.Make(parent, q.NewIno, q.Mode, q.Uid, q.Gid, isDevice ? q.Rdev : 0, c.TimeNs);
        inode.Content = content;
        if (type == FileMode.Directory)
        {
            inode.Attributes.Nlink = 2;
            parent.Attributes.Nlink++;
        }
        else if (type == FileMode.Symlink)
        {
            inode.Attributes.Size = (ulong)q.Target.Length;
        }

        v.AddInode(c.Session, inode);
        v.AddName(c, parent, q.Name.Span, inode);
        c.TellNames(parent);
        c.Tell(inode);
        if (content is DirectoryContent names && c.AttributesTold)
        {
            // Who makes a directory knows that it is empty.
            names.NamesCachedBy |= c.Holder;
        }

        c.Tell(parent);
        r = new NameReply(inode.Attributes, parent.Attributes);
        return Status.OK;
    }
}

/// <summary>What mknod, create and tmpfile have in common.</summary>
internal static class NewInode
{
    /// <summary>Whether a new inode may get that name in that directory.</summary>
    public static Status Check(VolumeState v, OpContext c, ulong parentIno, ulong newIno, ReadOnlySpan<byte> name, out Inode parent)
    {
        var status = v.FindDirectory(parentIno, out parent);
        if (status == Status.OK)
        {
            status = VolumeState.CheckName(name);
        }

        return status != Status.OK ? status
            : parent.Directory.Find(name) != Ino.None ? Errno.EEXIST.ToStatus()
            : parent.Directory.IsFull ? Errno.ENOSPC.ToStatus()
            : v.CheckNewInode(c.Session, newIno);
    }

    /// <summary>A new inode.</summary>
    public static Inode Make(Inode parent, ulong ino, uint mode, uint uid, uint gid, uint rdev, long timeNs) =>
        new() { Attributes = InodeAttributes.NewIn(parent.Attributes, ino, mode, uid, gid, rdev, timeNs) };
}
