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
        var status = Find(v, c, q.Parent, q.Name.Span, out var inode);
        if (status == Status.OK)
        {
            c.Tell(inode);
            r = new EntryReply(inode.Attributes);
        }

        return status;
    }

    /// <summary>The inode of a name, or why there is none; tells of the name.</summary>
    internal static Status Find(VolumeState v, OpContext c, ulong directory, ReadOnlySpan<byte> name, out Inode inode)
    {
        inode = null!;
        var status = v.Find(directory, out var parent);
        if (status != Status.OK)
        {
            return status;
        }

        if (!parent.Attributes.IsDirectory)
        {
            return Errno.ENOTDIR.ToStatus();
        }

        if (name.Length > Limits.NameMaxBytes)
        {
            return Errno.ENAMETOOLONG.ToStatus();
        }

        ulong ino;
        if (name.SequenceEqual("."u8) || name.SequenceEqual(".."u8))
        {
            ino = name.Length == 1 ? parent.Ino : parent.Directory.Parent;
        }
        else
        {
            ino = parent.Directory.Find(name);
            c.TellNames(parent);
        }

        if (ino == Ino.None || v.Inodes.Find(ino) is not { } found)
        {
            return Errno.ENOENT.ToStatus();
        }

        inode = found;
        return Status.OK;
    }
}
