using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Takes quota bytes back.</summary>
public static class ReturnGrant
{
    /// <summary>BadRequest when the session returns more than it has.</summary>
    public static Status Apply(VolumeState v, OpContext c, in ReturnGrantRequest q, out Rpc.Empty r)
    {
        r = default;
        return Take(v, c.Session, q.Bytes) ? Status.OK : Status.BadRequest;
    }

    /// <summary>Takes bytes out of a session's grant; false when it has fewer.</summary>
    internal static bool Take(VolumeState v, SessionState session, ulong bytes)
    {
        if (bytes > session.GrantBytes)
        {
            return false;
        }

        session.GrantBytes -= bytes;
        v.GrantedBytes -= bytes;
        return true;
    }
}
