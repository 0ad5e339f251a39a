using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Makes a file that a node has told its kernel is made, and commits its first bytes.</summary>
public static class CreateAndCommit
{
    /// <summary>As create with Exclusive, which is all that may fail; how the commit ended is in the answer. BadRequest when they are of different inodes.</summary>
    public static Status Apply(VolumeState v, OpContext c, in CreateAndCommitRequest q, out CreateAndCommitReply r)
    {
        r = default;
        if (q.Commit.Ino != q.Create.NewIno || (q.Create.Flags & OpenFlags.Exclusive) == 0)
        {
            return Status.BadRequest;
        }

        var committedNs = c.TimeNs;
        var parent = v.Inodes.Find(q.Create.Parent);
        var (mtimeNs, ctimeNs) = (parent?.Attributes.MtimeNs ?? 0, parent?.Attributes.CtimeNs ?? 0);
        c.TimeNs = q.CreatedNs;
        var status = Create.Apply(v, c, q.Create, out var created);
        c.TimeNs = committedNs;
        if (status != Status.OK)
        {
            return status;
        }

        if (ctimeNs > q.CreatedNs)
        {
            // The directory has changed since.
            (parent!.Attributes.MtimeNs, parent.Attributes.CtimeNs) = (mtimeNs, ctimeNs);
        }

        if (created.File.Attributes.Ino != q.Commit.Ino)
        {
            return Status.BadRequest;
        }

        status = Commit.Apply(v, c, q.Commit, out var committed);
        r = new CreateAndCommitReply(created, status, committed);
        return Status.OK;
    }
}
