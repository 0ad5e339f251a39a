using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>listxattr(2): names in the order in which they were first set.</summary>
public static class ListXattr
{
    /// <summary>ESTALE for an unknown inode.</summary>
    public static Status Apply(VolumeState v, OpContext c, in ListXattrRequest q, out XattrReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status == Status.OK && inode.Extras?.Xattrs is { } xattrs)
        {
            var names = new byte[xattrs.Sum(x => x.Name.Length + 1)];
            var at = 0;
            foreach (var xattr in xattrs)
            {
                xattr.Name.CopyTo(names, at);
                at += xattr.Name.Length + 1;
            }

            r = new XattrReply(names);
        }

        return status;
    }
}
