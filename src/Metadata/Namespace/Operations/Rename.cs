using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>rename(2) and renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE.</summary>
public static class Rename
{
    /// <summary>Checks in the order of the kernel's <c>do_renameat2</c> and <c>vfs_rename</c>, so that the same error wins when several apply; ESTALE when a kernel has been wrong about a name.</summary>
    public static Status Apply(VolumeState v, OpContext c, in RenameRequest q, out RenameReply r)
    {
        r = default;
        var status = Prepare(v, q, out var move);
        if (status != Status.OK)
        {
            return status;
        }

        if (move.Source == move.Target)
        {
            // Two names of one file: nothing happens, and that is success.
            r = new RenameReply(move.Source.Attributes, default, move.OldParent.Attributes, move.NewParent.Attributes);
            return Status.OK;
        }

        if (q.Flags == RenameRequest.Exchange)
        {
            Swap(c, q, move);
        }
        else
        {
            Move(v, c, q, move);
        }

        // The kernel of the caller moves the entries as they are, so it goes on to cache them at their new places.
        c.KeepNames(move.OldParent);
        c.KeepNames(move.NewParent);

        c.Tell(move.OldParent);
        c.Tell(move.NewParent);
        r = new RenameReply(move.Source.Attributes, move.Target?.Attributes ?? default, move.OldParent.Attributes, move.NewParent.Attributes);
        return Status.OK;
    }

    /// <summary>The inode that a rename would take its last or one of its names from, or null.</summary>
    internal static Inode? FindReplaced(VolumeState v, in RenameRequest q) =>
        q.Flags != RenameRequest.Exchange && Prepare(v, q, out var move) == Status.OK && move.Target != move.Source ? move.Target : null;

    private static Status Prepare(VolumeState v, in RenameRequest q, out Parts move)
    {
        move = default;
        if (q.Flags > RenameRequest.Exchange)
        {
            return Errno.EINVAL.ToStatus();
        }

        var status = v.FindDirectory(q.Parent, out var oldParent);
        var newParent = oldParent;
        if (status == Status.OK)
        {
            status = v.FindDirectory(q.NewParent, out newParent);
        }

        if (status == Status.OK)
        {
            status = VolumeState.CheckName(q.Name.Span);
        }

        if (status == Status.OK)
        {
            status = VolumeState.CheckName(q.NewName.Span);
        }

        if (status != Status.OK)
        {
            return status;
        }

        if (v.Inodes.Find(oldParent.Directory.Find(q.Name.Span)) is not { } source)
        {
            return Errno.ENOENT.ToStatus();
        }

        var target = v.Inodes.Find(newParent.Directory.Find(q.NewName.Span));
        move = new Parts(oldParent, newParent, source, target);
        if (IsOther(q.Believed, source) || (q.Flags == RenameRequest.Exchange && target is not null && IsOther(q.NewBelieved, target)))
        {
            return Errno.ESTALE.ToStatus(); // the kernel looks both names up again and repeats
        }

        if (target is not null && q.Flags == RenameRequest.NoReplace)
        {
            return Errno.EEXIST.ToStatus();
        }

        if (target is null)
        {
            return q.Flags == RenameRequest.Exchange ? Errno.ENOENT.ToStatus()
                : IsWithin(v, newParent, source) ? Errno.EINVAL.ToStatus()
                : newParent.Directory.IsFull ? Errno.ENOSPC.ToStatus()
                : Status.OK;
        }

        if (IsWithin(v, newParent, source))
        {
            return Errno.EINVAL.ToStatus();
        }

        if (IsWithin(v, oldParent, target))
        {
            return (q.Flags == RenameRequest.Exchange ? Errno.EINVAL : Errno.ENOTEMPTY).ToStatus();
        }

        if (q.Flags == RenameRequest.Exchange || source == target)
        {
            return Status.OK;
        }

        var fromDirectory = source.Attributes.IsDirectory;
        return fromDirectory && !target.Attributes.IsDirectory ? Errno.ENOTDIR.ToStatus()
            : !fromDirectory && target.Attributes.IsDirectory ? Errno.EISDIR.ToStatus()
            : fromDirectory && target.Directory.Count > 0 ? Errno.ENOTEMPTY.ToStatus()
            : Status.OK;
    }

    private static void Move(VolumeState v, OpContext c, in RenameRequest q, in Parts move)
    {
        v.RemoveName(c, move.OldParent, q.Name.Span);
        if (move.Target is null)
        {
            v.AddName(c, move.NewParent, q.NewName.Span, move.Source);
        }
        else
        {
            Replace(c, move.NewParent, q.NewName.Span, move.Source);
        }

        move.Source.Attributes.CtimeNs = c.TimeNs;
        c.Change(move.Source);
        Reparent(c, move.Source, move.OldParent, q.Name.Span, move.NewParent);
        if (move.Target is { Attributes.IsDirectory: true })
        {
            move.NewParent.Attributes.Nlink--;
            Rmdir.RemoveDirectory(v, c, move.Target);
        }
        else if (move.Target is not null)
        {
            v.DropLink(c, move.Target);
        }
    }

    private static void Swap(OpContext c, in RenameRequest q, in Parts move)
    {
        var target = move.Target!;
        Replace(c, move.OldParent, q.Name.Span, target);
        Replace(c, move.NewParent, q.NewName.Span, move.Source);
        move.Source.Attributes.CtimeNs = c.TimeNs;
        target.Attributes.CtimeNs = c.TimeNs;
        c.Change(move.Source);
        c.Change(target);
        Reparent(c, move.Source, move.OldParent, q.Name.Span, move.NewParent);
        Reparent(c, target, move.NewParent, q.NewName.Span, move.OldParent);
    }

    private static bool IsOther(ulong believed, Inode inode) => believed != Ino.None && believed != inode.Ino;

    /// <summary>A name that stays names another inode.</summary>
    private static void Replace(OpContext c, Inode directory, ReadOnlySpan<byte> name, Inode inode)
    {
        directory.Directory.Replace(name, inode.Ino, FileMode.DirentType(inode.Attributes.Mode));
        directory.Touch(c.TimeNs);
        c.ChangeName(directory, name);
    }

    private static void Reparent(OpContext c, Inode inode, Inode from, ReadOnlySpan<byte> name, Inode to)
    {
        if (inode.Attributes.IsDirectory && from != to)
        {
            c.MovedAway.Add((from.Ino, name.ToArray()));
            from.Attributes.Nlink--;
            to.Attributes.Nlink++;
            inode.Directory.Parent = to.Ino;
        }
    }

    /// <summary>Whether a directory is <paramref name="ancestor"/> or lies below it.</summary>
    private static bool IsWithin(VolumeState v, Inode directory, Inode ancestor)
    {
        if (!ancestor.Attributes.IsDirectory)
        {
            return false;
        }

        while (directory != ancestor)
        {
            if (directory.Ino == Ino.Root)
            {
                return false;
            }

            directory = v.Inodes.Find(directory.Directory.Parent)!;
        }

        return true;
    }

    private readonly record struct Parts(Inode OldParent, Inode NewParent, Inode Source, Inode? Target);
}
