using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Where the bytes of a range are.</summary>
public static class GetLayout
{
    /// <summary>EISDIR; EINVAL for what is no regular file.</summary>
    public static Status Apply(VolumeState v, OpContext c, in GetLayoutRequest q, out LayoutReply r)
    {
        var status = v.FindFile(q.Ino, out var inode);
        r = status == Status.OK ? Layouts.Of(inode, q.Offset, q.Length, Limits.ExtentsPerMessageMax) : default;
        return status;
    }
}
