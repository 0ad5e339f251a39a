using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Unregisters open handles; the last one of an inode without a name frees it.</summary>
public static class Close
{
    /// <summary>Always succeeds: an unknown handle is closed.</summary>
    public static Status Apply(VolumeState v, OpContext c, in CloseRequest q, out Rpc.Empty r)
    {
        r = default;
        foreach (var handle in q.Handles)
        {
            Opens.Close(v, c, c.Session, handle);
        }

        return Status.OK;
    }
}
