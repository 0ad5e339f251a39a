using EphemeralFs.Tests.Model.Running;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>open(2), the handle kept in a slot. Never blocks: fifos are opened with O_NONBLOCK.</summary>
public sealed record Open(int Slot, string Path, int Flags, uint Mode) : Op
{
    public override Outcome Apply(Tree tree)
    {
        // What the slot held goes first: the new descriptor must not depend on whether open succeeds.
        tree.Close(Slot);
        int fd = tree.Calls.Open(tree.Path(Node, Path), Flags | O_NONBLOCK, Mode);
        if (fd >= 0)
        {
            tree.Keep(Slot, fd, Node, Flags);
        }
        return Outcome.Of(Math.Min(fd, 0));
    }

    public override IEnumerable<Op> Simpler()
    {
        foreach (int flag in new[] { O_TRUNC, O_EXCL, O_APPEND, O_NOFOLLOW, O_DIRECTORY })
        {
            if ((Flags & flag) != 0)
            {
                yield return this with { Flags = Flags & ~flag };
            }
        }
        if ((Flags & O_CREAT) != 0 && Mode != 0x1A4)
        {
            yield return this with { Mode = 0x1A4 };
        }
        foreach (var op in base.Simpler())
        {
            yield return op;
        }
    }
}

/// <summary>open(2) with O_TMPFILE in a directory.</summary>
public sealed record OpenTemporary(int Slot, string Path, bool Exclusive, uint Mode) : Op
{
    public override Outcome Apply(Tree tree)
    {
        tree.Close(Slot);
        int flags = O_TMPFILE | O_RDWR | (Exclusive ? O_EXCL : 0);
        int fd = tree.Calls.Open(tree.Path(Node, Path), flags, Mode);
        if (fd >= 0)
        {
            tree.Keep(Slot, fd, Node, flags & ~O_TMPFILE);
        }
        return Outcome.Of(Math.Min(fd, 0));
    }
}

/// <summary>close(2).</summary>
public sealed record Close(int Slot) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Close(Slot));
}

/// <summary>fsync(2), fdatasync(2) or syncfs(2).</summary>
public sealed record Sync(int Slot, SyncKind Kind) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree) => Outcome.Of(Kind switch
    {
        SyncKind.Data => tree.Calls.SyncData(tree.Fd(Slot)),
        SyncKind.FileSystem => tree.Calls.SyncFileSystem(tree.Fd(Slot)),
        _ => tree.Calls.Sync(tree.Fd(Slot)),
    });
}

public enum SyncKind
{
    All,
    Data,
    FileSystem,
}

/// <summary>fsync, then dropping the kernel's cached pages, so that the next read asks the file system.</summary>
public sealed record DropCache(int Slot) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int synced = tree.Calls.Sync(tree.Fd(Slot));
        return Outcome.Of(synced < 0 ? synced : tree.Calls.DropCache(tree.Fd(Slot)));
    }
}

/// <summary>
/// flock(2) without waiting. Slots are different open file descriptions, so they exclude each other, across nodes too; but what is no regular file the kernel
/// locks for itself, on each node (S60): that is compared on one node only.
/// </summary>
public sealed record Lock(int Slot, int Operation) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        bool isOfOneNode = tree.Calls.Stat(tree.Fd(Slot), "", AT_EMPTY_PATH, out var status) == 0 && !status.IsFile;
        return Outcome.Of(isOfOneNode && tree.Slots[Slot].Node != 0 ? -EBADF : tree.Calls.Flock(tree.Fd(Slot), Operation | LOCK_NB));
    }

    /// <summary>FUSE releases files in the background (fs/fuse/file.c, fuse_file_put), and their flocks with them: close(2) may return before.</summary>
    public override bool MayLag(Outcome expected, Outcome found) => expected.Errno == 0 && found.Errno == EAGAIN;
}
