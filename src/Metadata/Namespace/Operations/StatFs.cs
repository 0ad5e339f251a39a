using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Usage of the volume.</summary>
public static class StatFs
{
    /// <summary>Always succeeds.</summary>
    public static Status Apply(VolumeState v, OpContext c, in StatFsRequest q, out StatFsReply r)
    {
        r = new StatFsReply(v.LimitBytes, v.UsedBytes, v.GrantedBytes, v.LimitInodes, v.UsedInodes);
        return Status.OK;
    }
}
