using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Unregisters an open handle; the last one of an inode without a name frees it.</summary>
public static class Close
{
    /// <summary>Always succeeds: an unknown handle is closed.</summary>
    public static Status Apply(VolumeState v, OpContext c, in CloseRequest q, out Rpc.Empty r)
    {
        r = default;
        Opens.Close(v, c, c.Session, q.Handle);
        return Status.OK;
    }
}
