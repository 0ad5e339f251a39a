using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>A session that must commit what is dirty and write through before an operation of another session is applied.</summary>
/// <param name="Session">Who.</param>
/// <param name="Ino">Of which file.</param>
/// <param name="Since">Of which open (<see cref="Opener.Since"/>).</param>
public readonly record struct RecallNeed(ulong Session, ulong Ino, ulong Since);

/// <summary>Which sessions stand in the way of an operation because they cache, or may hold dirty, data of the file.</summary>
public static class Conflicts
{
    /// <summary>Opening for writing conflicts with everybody else who caches, opening for reading with those who write back.</summary>
    public static void Open(VolumeState v, SessionState session, in OpenRequest q, List<RecallNeed> needs)
    {
        if ((q.Flags & OpenFlags.Directory) == 0)
        {
            OpenInode(v, session, q.Ino, q.Flags, needs);
        }
    }

    public static void Create(VolumeState v, SessionState session, in CreateRequest q, List<RecallNeed> needs)
    {
        if (v.Inodes.Find(q.Parent) is { Content: DirectoryContent names } && (q.Flags & OpenFlags.Exclusive) == 0)
        {
            OpenInode(v, session, names.Find(q.Name.Span), q.Flags, needs);
        }
    }

    public static void SetAttr(VolumeState v, SessionState session, in SetAttrRequest q, List<RecallNeed> needs)
    {
        if ((q.Fields & SetAttrFields.Size) != 0)
        {
            Change(v, session, q.Ino, needs);
        }
    }

    public static void Commit(VolumeState v, SessionState session, in CommitRequest q, List<RecallNeed> needs) => Change(v, session, q.Ino, needs);

    public static void CreateAndCommit(VolumeState v, SessionState session, in CreateAndCommitRequest q, List<RecallNeed> needs) =>
        Change(v, session, q.Commit.Ino, needs);

    public static void Fallocate(VolumeState v, SessionState session, in FallocateRequest q, List<RecallNeed> needs) =>
        Change(v, session, q.Ino, needs);

    public static void Clone(VolumeState v, SessionState session, in CloneRequest q, List<RecallNeed> needs)
    {
        Change(v, session, q.Source, needs);
        Change(v, session, q.Target, needs);
    }

    public static void Unlink(VolumeState v, SessionState session, in UnlinkRequest q, List<RecallNeed> needs)
    {
        if (v.Inodes.Find(q.Parent) is { Content: DirectoryContent names })
        {
            Change(v, session, names.Find(q.Name.Span), needs);
        }
    }

    public static void Rename(VolumeState v, SessionState session, in RenameRequest q, List<RecallNeed> needs)
    {
        if (Operations.Rename.FindReplaced(v, q) is { } replaced)
        {
            Change(v, session, replaced.Ino, needs);
        }
    }

    private static void OpenInode(VolumeState v, SessionState session, ulong ino, OpenFlags flags, List<RecallNeed> needs)
    {
        if (v.Inodes.Find(ino) is not { Extras: { } extras } inode || !inode.Attributes.IsRegular)
        {
            return;
        }

        var writes = (flags & (OpenFlags.Write | OpenFlags.Truncate)) != 0;
        foreach (ref readonly var opener in extras.Openers)
        {
            writes |= opener.IsWriting;
        }

        foreach (ref readonly var opener in extras.Openers)
        {
            if (writes && opener.Session != session.Id && !opener.Through)
            {
                needs.Add(new RecallNeed(opener.Session, ino, opener.Since));
            }
        }
    }

    /// <summary>Another session may hold dirty data of the file: it must be committed before the file changes or is read by reference.</summary>
    private static void Change(VolumeState v, SessionState session, ulong ino, List<RecallNeed> needs)
    {
        if (v.Inodes.Find(ino) is not { Extras: { } extras } inode || !inode.Attributes.IsRegular)
        {
            return;
        }

        foreach (ref readonly var opener in extras.Openers)
        {
            if (opener.Session != session.Id && opener.IsWriting && !opener.Through)
            {
                needs.Add(new RecallNeed(opener.Session, ino, opener.Since));
            }
        }
    }
}
