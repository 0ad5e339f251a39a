using System.IO;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>Writes the parts of a state in a fixed order. Sums, block references and link targets that follow from other parts are not written.</summary>
internal static class SnapshotWriter
{
    public static void Write(BinaryWriter w, VolumeState v)
    {
        w.Write(v.LimitBytes);
        w.Write(v.LimitInodes);
        w.Write(v.NextIno);
        w.Write(v.NextBlock);
        w.Write(v.SessionsOpened);
        w.Write(v.Opens);
        var inodes = v.Inodes.Sorted();
        w.Write(inodes.Length);
        foreach (var inode in inodes)
        {
            WriteInode(w, inode, inode.Extras);
        }

        w.Write(v.Sessions.Count);
        foreach (var session in v.Sessions.Values)
        {
            WriteSession(w, session);
        }

        w.Write(v.Blocks.DeleteQueues.Count);
        foreach (var (server, queue) in v.Blocks.DeleteQueues)
        {
            w.Write(server);
            w.Write(queue.Count);
            foreach (var id in queue.Ids)
            {
                w.Write(id);
            }
        }

        var locks = v.Locks.Held().ToArray();
        w.Write(locks.Length);
        foreach (var held in locks)
        {
            w.Write(held.Ino);
            w.Write(held.Owner.Session);
            w.Write(held.Owner.Owner);
            w.Write(held.Flock);
            w.Write((byte)held.Range.Type);
            w.Write(held.Range.Start);
            w.Write(held.Range.End);
            w.Write(held.Range.Pid);
        }
    }

    /// <summary>A volume that has the inodes with names, and nothing that belongs to a session. Its own blocks are numbered from 1.</summary>
    public static void WriteCopy(BinaryWriter w, VolumeState source, ulong limitBytes, ulong limitInodes)
    {
        const ulong FirstBlock = 1;
        const uint NoSessions = 0;
        const ulong NoOpens = 0;
        w.Write(limitBytes);
        w.Write(limitInodes);
        w.Write(source.NextIno);
        w.Write(FirstBlock);
        w.Write(NoSessions);
        w.Write(NoOpens);
        var inodes = Array.FindAll(source.Inodes.Sorted(), inode => inode.Attributes.Nlink > 0);
        w.Write(inodes.Length);
        foreach (var inode in inodes)
        {
            WriteInode(w, inode, inode.Extras?.Xattrs is { } xattrs ? new InodeExtras { Xattrs = xattrs } : null);
        }

        // Neither sessions, nor blocks to delete, nor locks.
        w.Write(0);
        w.Write(0);
        w.Write(0);
    }

    private static void WriteInode(BinaryWriter w, Inode inode, InodeExtras? extras)
    {
        ref readonly var a = ref inode.Attributes;
        w.Write(a.Ino);
        w.Write(a.Generation);
        w.Write(a.Mode);
        w.Write(a.Nlink);
        w.Write(a.Uid);
        w.Write(a.Gid);
        w.Write(a.Rdev);
        w.Write(a.Size);
        w.Write(a.AllocatedBytes);
        w.Write(a.AtimeNs);
        w.Write(a.MtimeNs);
        w.Write(a.CtimeNs);
        w.Write(a.BtimeNs);
        w.Write(a.DataVersion);
        switch (inode.Content)
        {
            case DirectoryContent directory:
                WriteDirectory(w, directory);
                break;
            case FileContent file:
                WriteFile(w, file);
                break;
            case byte[] target:
                w.Write((byte)ContentKind.Symlink);
                WriteBytes(w, target);
                break;
            default:
                w.Write((byte)ContentKind.None);
                break;
        }

        WriteExtras(w, extras);
    }

    private static void WriteDirectory(BinaryWriter w, DirectoryContent directory)
    {
        w.Write((byte)ContentKind.Directory);
        w.Write(directory.Parent);
        w.Write(directory.NextCookie);
        w.Write(directory.Count);
        var position = directory.PositionAfter(0);
        while (directory.TryRead(ref position, out var item))
        {
            w.Write(item.Cookie);
            w.Write(item.Ino);
            w.Write(item.Type);
            w.Write((byte)item.Name.Length);
            w.Write(item.Name.Span);
        }
    }

    private static void WriteFile(BinaryWriter w, FileContent file)
    {
        w.Write((byte)ContentKind.File);
        WriteBytes(w, file.Inline);
        w.Write(file.Extents?.Count ?? 0);
        if (file.Extents is { } extents)
        {
            for (var at = extents.Find(0); at.IsValid; at.Next())
            {
                ref readonly var extent = ref at.Current;
                w.Write(extent.FileOffset);
                w.Write(extent.Length);
                w.Write(extent.BlockId);
                w.Write(extent.BlockOffset);
                w.Write(extent.Server);
            }
        }
    }

    private static void WriteExtras(BinaryWriter w, InodeExtras? extras)
    {
        w.Write(extras is not null);
        if (extras is null)
        {
            return;
        }

        w.Write(extras.Linkable);
        w.Write(extras.Xattrs?.Count ?? 0);
        foreach (var xattr in extras.Xattrs ?? [])
        {
            WriteBytes(w, xattr.Name);
            WriteBytes(w, xattr.Value);
        }

        w.Write(extras.OpenerCount);
        foreach (ref readonly var opener in extras.Openers)
        {
            w.Write(opener.Session);
            w.Write(opener.Since);
            w.Write(opener.Readers);
            w.Write(opener.Writers);
            w.Write(opener.Through);
            w.Write(opener.Quiet);
        }
    }

    private static void WriteSession(BinaryWriter w, SessionState session)
    {
        w.Write(session.Id);
        w.Write(session.Node);
        w.Write(session.Opening);
        w.Write(session.Epoch);
        w.Write(session.GrantBytes);
        WriteGrants(w, session.Inodes);
        WriteGrants(w, session.Blocks);
        w.Write(session.Handles.Count);
        foreach (var (handle, open) in session.Handles.OrderBy(pair => pair.Key))
        {
            w.Write(handle);
            w.Write(open.Ino);
            w.Write(open.Write);
        }

        var slots = session.Slots;
        for (var i = 0; i < slots.Length; i++)
        {
            if (slots[i].Sequence != 0)
            {
                w.Write(i);
                w.Write(slots[i].Sequence);
                w.Write(slots[i].ChangedIno);
                WriteBytes(w, slots[i].Reply);
            }
        }

        w.Write(-1);
    }

    private static void WriteGrants(BinaryWriter w, NumberGrants grants)
    {
        w.Write(grants.Ranges.Count);
        foreach (var range in grants.Ranges)
        {
            w.Write(range.First);
            w.Write(range.Count);
            w.Write(range.Left);
            foreach (var bits in range.Bits)
            {
                w.Write(bits);
            }
        }
    }

    private static void WriteBytes(BinaryWriter w, ReadOnlySpan<byte> bytes)
    {
        w.Write(bytes.Length);
        w.Write(bytes);
    }
}

/// <summary>What kind of content an inode has in a snapshot.</summary>
internal enum ContentKind : byte
{
    None = 0,
    Directory = 1,
    File = 2,
    Symlink = 3,
}
