using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Removes an empty directory.</summary>
public static class Rmdir
{
    /// <summary>ENOENT, ENOTDIR, ENOTEMPTY, EINVAL for ".".</summary>
    public static Status Apply(VolumeState v, OpContext c, in RmdirRequest q, out NameReply r)
    {
        r = default;
        var status = v.FindDirectory(q.Parent, out var parent);
        if (status == Status.OK)
        {
            status = q.Name.Span.SequenceEqual(".."u8) ? Errno.ENOTEMPTY.ToStatus() : VolumeState.CheckName(q.Name.Span);
        }

        if (status != Status.OK)
        {
            return status;
        }

        if (v.Inodes.Find(parent.Directory.Find(q.Name.Span)) is not { } inode)
        {
            return Errno.ENOENT.ToStatus();
        }

        if (!inode.Attributes.IsDirectory)
        {
            return Errno.ENOTDIR.ToStatus();
        }

        if (inode.Directory.Count > 0)
        {
            return Errno.ENOTEMPTY.ToStatus();
        }

        v.RemoveName(c, parent, q.Name.Span);
        parent.Attributes.Nlink--;
        RemoveDirectory(v, c, inode);
        c.Tell(parent);
        r = new NameReply(inode.Attributes, parent.Attributes);
        return Status.OK;
    }

    /// <summary>An empty directory has lost its name.</summary>
    internal static void RemoveDirectory(VolumeState v, OpContext c, Inode directory)
    {
        directory.Attributes.Nlink = 0;
        directory.Attributes.CtimeNs = c.TimeNs;
        c.Change(directory);
        v.FreeIfUnused(c, directory);
    }
}
