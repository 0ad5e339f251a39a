using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Finds a name; "." and ".." are answered too, also in a directory that was removed.</summary>
public static class Lookup
{
    /// <summary>ENOTDIR, ENOENT, ENAMETOOLONG; ESTALE for an unknown directory.</summary>
    public static Status Apply(VolumeState v, OpContext c, in LookupRequest q, out EntryReply r)
    {
        r = default;
        var status = v.Find(q.Parent, out var parent);
        if (status != Status.OK)
        {
            return status;
        }

        if (!parent.Attributes.IsDirectory)
        {
            return Errno.ENOTDIR.ToStatus();
        }

        var name = q.Name.Span;
        if (name.Length > Limits.NameMaxBytes)
        {
            return Errno.ENAMETOOLONG.ToStatus();
        }

        var ino = name.SequenceEqual("."u8) ? parent.Ino
            : name.SequenceEqual(".."u8) ? parent.Directory.Parent
            : parent.Directory.Find(name);
        if (ino == Ino.None || v.Inodes.Find(ino) is not { } inode)
        {
            return Errno.ENOENT.ToStatus();
        }

        r = new EntryReply(inode.Attributes);
        return Status.OK;
    }
}
