using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Finds a name for a program that is expected to read the file.</summary>
public static class OpenName
{
    /// <summary>As look-up; BadRequest for a handle that is open.</summary>
    /// <remarks>Only what stands in nobody's way is opened: the program may not want it after all.</remarks>
    public static Status Apply(VolumeState v, OpContext c, in OpenNameRequest q, out OpenNameReply r)
    {
        r = default;
        if (c.Session.Handles.ContainsKey(q.Handle))
        {
            return Status.BadRequest;
        }

        var status = Lookup.Find(v, c, q.Parent, q.Name.Span, out var inode);
        if (status == Status.OK)
        {
            var opens = inode.Attributes.IsRegular && !IsInTheWay(c.Session, inode);
            if (opens)
            {
                Opens.Register(v, c.Session, inode, q.Handle, write: false);
            }

            c.Tell(inode);
            r = new OpenNameReply(opens, opens ? Layouts.Of(inode, 0, ulong.MaxValue, Layouts.ExtentsPerOpen) : new LayoutReply(inode.Attributes, false, default, [], 0));
        }

        return status;
    }

    private static bool IsInTheWay(SessionState session, Inode inode) =>
        inode.Extras is { OpenerCount: > 0 } extras && (extras.IndexOf(session.Id) >= 0 || Opens.AnyWriter(extras.Openers));
}
