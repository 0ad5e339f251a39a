using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Attributes of an inode.</summary>
public static class GetAttr
{
    /// <summary>ESTALE for an unknown inode.</summary>
    public static Status Apply(VolumeState v, OpContext c, in GetAttrRequest q, out EntryReply r)
    {
        var status = v.Find(q.Ino, out var inode);
        r = status == Status.OK ? new EntryReply(inode.Attributes) : default;
        return status;
    }
}
