using EphemeralFs.Core;
using EphemeralFs.Metadata.Locks;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>All that is known of a volume: a deterministic state machine. The same operations in the same order give the same state.</summary>
/// <remarks>Knows no clock, socket, file or logger. Not thread-safe: the volume's lock protects it.</remarks>
public sealed class VolumeState
{
    /// <summary>Mode of a new volume's root: like <c>/tmp</c>.</summary>
    public const uint RootMode = FileMode.Directory | FileMode.Sticky | 0x1FF;

    /// <summary>An empty volume with its root directory.</summary>
    /// <param name="id">Volume id, 1 … 2^24−1.</param>
    /// <param name="limitBytes">Quota, 0 for none.</param>
    /// <param name="limitInodes">Quota without the root, 0 for none.</param>
    /// <param name="timeNs">Times of the root directory.</param>
    public VolumeState(uint id, ulong limitBytes, ulong limitInodes, long timeNs)
        : this(id)
    {
        LimitBytes = limitBytes;
        LimitInodes = limitInodes;
        Inodes.Add(new Inode
        {
            Attributes = InodeAttributes.New(Ino.Root, RootMode, 0, 0, 0, timeNs) with { Nlink = 2 },
            Content = new DirectoryContent(Ino.Root),
        });
    }

    /// <summary>A volume without anything, to be filled from a snapshot.</summary>
    public VolumeState(uint id)
    {
        Id = id;
        Blocks = new BlockTable(id);
    }

    public uint Id { get; }

    /// <summary>Quota, 0 for none.</summary>
    public ulong LimitBytes { get; set; }

    /// <summary>Quota without the root, 0 for none.</summary>
    public ulong LimitInodes { get; set; }

    /// <summary>Bytes of all inodes' allocated pages.</summary>
    public ulong UsedBytes { get; set; }

    /// <summary>Sum of the sessions' grants.</summary>
    public ulong GrantedBytes { get; set; }

    /// <summary>Inodes without the root.</summary>
    public ulong UsedInodes => (ulong)Inodes.Count - 1;

    /// <summary>The next inode number to be granted.</summary>
    public ulong NextIno { get; set; } = Ino.First;

    /// <summary>The next block number to be granted.</summary>
    public ulong NextBlock { get; set; } = 1;

    /// <summary>Sessions opened so far.</summary>
    public uint SessionsOpened { get; set; }

    /// <summary>Opens so far; see <see cref="Opener.Since"/>.</summary>
    public ulong Opens { get; set; }

    /// <summary>Names in all directories.</summary>
    public long Dentries { get; set; }

    public InodeTable Inodes { get; } = new();

    public SortedDictionary<ulong, SessionState> Sessions { get; } = [];

    public BlockTable Blocks { get; }

    public LockTable Locks { get; } = new();

    /// <summary>Quota bytes that are neither used nor granted.</summary>
    public ulong FreeBytes =>
        LimitBytes == 0 ? ulong.MaxValue : LimitBytes - Math.Min(LimitBytes, UsedBytes + GrantedBytes);

    /// <summary>The inode. ESTALE when it does not exist (any more): the kernel then walks the path again and finds what replaced it.</summary>
    public Status Find(ulong ino, out Inode inode)
    {
        inode = Inodes.Find(ino)!;
        return inode is null ? Errno.ESTALE.ToStatus() : Status.OK;
    }

    /// <summary>A directory that still has a name. ENOTDIR; ENOENT when it was removed but is still open.</summary>
    public Status FindDirectory(ulong ino, out Inode directory)
    {
        var status = Find(ino, out directory);
        return status != Status.OK ? status
            : !directory.Attributes.IsDirectory ? Errno.ENOTDIR.ToStatus()
            : directory.Attributes.Nlink == 0 ? Errno.ENOENT.ToStatus()
            : Status.OK;
    }

    /// <summary>A regular file. EISDIR for directories, EINVAL for everything else.</summary>
    public Status FindFile(ulong ino, out Inode file)
    {
        var status = Find(ino, out file);
        return status != Status.OK ? status
            : file.Attributes.IsRegular ? Status.OK
            : file.Attributes.IsDirectory ? Errno.EISDIR.ToStatus()
            : Errno.EINVAL.ToStatus();
    }

    /// <summary>A name that may be given or taken away. EINVAL for an empty one, "." and "..", and for '/' and NUL in it.</summary>
    public static Status CheckName(ReadOnlySpan<byte> name) =>
        name.IsEmpty || name.SequenceEqual("."u8) || name.SequenceEqual(".."u8) || name.ContainsAny((byte)'/', (byte)0) ? Errno.EINVAL.ToStatus()
        : name.Length > Limits.NameMaxBytes ? Errno.ENAMETOOLONG.ToStatus()
        : Status.OK;

    /// <summary>Whether the session may make an inode of that number now: ENOSPC at the inode limit, BadRequest for a number it was not granted.</summary>
    public Status CheckNewInode(SessionState session, ulong ino) =>
        LimitInodes != 0 && UsedInodes >= LimitInodes ? Errno.ENOSPC.ToStatus()
        : !session.Inodes.CanTake(ino) ? Status.BadRequest
        : Status.OK;

    /// <summary>Adds an inode whose number <see cref="CheckNewInode"/> has allowed.</summary>
    public void AddInode(SessionState session, Inode inode)
    {
        session.Inodes.Take(inode.Ino);
        Inodes.Add(inode);
    }

    /// <summary>Gives an inode a name in a directory whose times change with it.</summary>
    public void AddName(OpContext context, Inode directory, ReadOnlySpan<byte> name, Inode target)
    {
        directory.Directory.Add(name, target.Ino, FileMode.DirentType(target.Attributes.Mode));
        Dentries++;
        directory.Touch(context.TimeNs);
        context.ChangeName(directory, name);
    }

    /// <summary>Takes a name away from a directory whose times change with it.</summary>
    public void RemoveName(OpContext context, Inode directory, ReadOnlySpan<byte> name)
    {
        directory.Directory.Remove(name);
        Dentries--;
        directory.Touch(context.TimeNs);
        context.ChangeName(directory, name);
    }

    /// <summary>An inode that is no directory loses one name; without names and handles it is freed.</summary>
    public void DropLink(OpContext context, Inode inode)
    {
        inode.Attributes.Nlink--;
        inode.Attributes.CtimeNs = context.TimeNs;
        context.Change(inode);
        FreeIfUnused(context, inode);
    }

    /// <summary>Frees an inode that has neither a name nor a handle.</summary>
    public void FreeIfUnused(OpContext context, Inode inode)
    {
        if (inode.Attributes.Nlink != 0 || inode.IsOpen)
        {
            return;
        }

        inode.File?.Extents?.Clear(Blocks);
        UsedBytes -= inode.Attributes.AllocatedBytes;
        Inodes.Remove(inode.Ino);
        if (Locks.HeldCount + Locks.WaiterCount > 0)
        {
            Locks.ReleaseInode(inode.Ino, context.Dropped);
        }
    }

    /// <summary>Blocks to which files refer or which are queued for deletion, by storage server, each once: what is left when the volume is deleted.</summary>
    /// <param name="withOwn">Whether its own blocks are wanted too, not only those of other volumes.</param>
    public SortedDictionary<uint, DeleteQueue> BlocksLeft(bool withOwn)
    {
        var left = new BlockTable(Id);
        var seen = new HashSet<ulong>();
        foreach (var (server, queue) in Blocks.DeleteQueues)
        {
            foreach (var id in queue.Ids)
            {
                Add(server, id);
            }
        }

        foreach (var inode in Inodes.Unsorted())
        {
            if (inode.File?.Extents is { } extents)
            {
                for (var at = extents.Find(0); at.IsValid; at.Next())
                {
                    Add(at.Current.Server, at.Current.BlockId);
                }
            }
        }

        return left.DeleteQueues;

        void Add(uint server, ulong id)
        {
            if (id != BlockId.Unwritten && (withOwn || BlockId.VolumeOf(id) != Id) && seen.Add(id))
            {
                left.QueueFor(server).Add(id);
            }
        }
    }

    /// <summary>Accounts for a change of a file's allocated pages; growth comes first out of the session's grant, if it may, then out of what is free.
    /// ENOSPC changes nothing and leaves the missing bytes in the context.</summary>
    public Status Charge(OpContext context, Inode inode, long pages, bool useGrant)
    {
        if (pages > 0)
        {
            var bytes = (ulong)pages * Limits.PageSizeBytes;
            var session = context.Session;
            var granted = useGrant ? Math.Min(bytes, session.GrantBytes) : 0;
            if (bytes - granted > FreeBytes)
            {
                context.MissingBytes = bytes - granted - FreeBytes;
                return Errno.ENOSPC.ToStatus();
            }

            session.GrantBytes -= granted;
            GrantedBytes -= granted;
        }

        UsedBytes += (ulong)(pages * Limits.PageSizeBytes);
        inode.Attributes.AllocatedBytes += (ulong)(pages * Limits.PageSizeBytes);
        return Status.OK;
    }

    /// <summary>A file's bytes or size changed: counts its version up, takes its privileges, and tells the service whom it must tell.</summary>
    public static void Changed(OpContext context, Inode inode)
    {
        inode.Attributes.DataVersion++;
        inode.DropCapabilities();
        context.Changed = inode;
        context.Change(inode);
    }

    /// <summary>Cuts or extends a file. Bytes that appear by extending read as zeros. EFBIG beyond the largest size.</summary>
    public Status Resize(OpContext context, Inode inode, ulong size)
    {
        if (size > Limits.FileMaxBytes)
        {
            return Errno.EFBIG.ToStatus();
        }

        ref var attributes = ref inode.Attributes;
        var changed = size != attributes.Size;
        if (size <= attributes.Size && inode.File is { } file)
        {
            var firstPage = size / Limits.PageSizeBytes;
            var before = file.CountPages(firstPage, ulong.MaxValue / Limits.PageSizeBytes);
            changed |= file.Remove(size, ulong.MaxValue, Blocks);
            var after = file.CountPages(firstPage, ulong.MaxValue / Limits.PageSizeBytes);
            Charge(context, inode, (long)(after - before), useGrant: false);
            if (file.IsEmpty)
            {
                inode.Content = null;
            }
        }

        attributes.Size = size;
        if (changed)
        {
            Changed(context, inode);
        }

        return Status.OK;
    }
}
