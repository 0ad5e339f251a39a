using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Attributes of an inode.</summary>
public static class GetAttr
{
    /// <summary>ESTALE for an unknown inode.</summary>
    public static Status Apply(VolumeState v, OpContext c, in GetAttrRequest q, out EntryReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status == Status.OK)
        {
            c.Tell(inode);
            r = new EntryReply(inode.Attributes);
        }

        return status;
    }
}
