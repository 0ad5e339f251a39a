using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Gives a session quota bytes, inode numbers and block numbers to use without asking.</summary>
public static class AcquireGrant
{
    /// <summary>Most numbers of a kind in one grant.</summary>
    private const uint NumbersMax = 1 << 16;

    /// <summary>All grants together stay countable where there is no quota.</summary>
    private const ulong BytesMax = 1UL << 60;

    /// <summary>Gives what there is; fewer bytes than asked for leave the difference in the context.</summary>
    public static Status Apply(VolumeState v, OpContext c, in AcquireGrantRequest q, out AcquireGrantReply r)
    {
        var bytes = Math.Min(q.Bytes, v.FreeBytes);
        bytes = Math.Min(bytes, BytesMax - Math.Min(BytesMax, v.GrantedBytes));
        c.Session.GrantBytes += bytes;
        v.GrantedBytes += bytes;

        var inodes = Math.Min(q.Inodes, NumbersMax);
        var firstInode = v.NextIno;
        if (inodes > 0)
        {
            c.Session.Inodes.Add(firstInode, inodes);
            v.NextIno += inodes;
        }

        var blocks = Math.Min(q.Blocks, NumbersMax);
        var firstBlock = v.NextBlock;
        if (blocks > 0)
        {
            c.Session.Blocks.Add(firstBlock, blocks);
            v.NextBlock += blocks;
        }

        r = new AcquireGrantReply(bytes, firstInode, inodes, BlockId.Make(v.Id, firstBlock), blocks);
        return Status.OK;
    }
}
