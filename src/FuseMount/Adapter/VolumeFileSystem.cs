using EphemeralFs.Client;
using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>
/// The kernel's operations on a volume: thin, one method each. What has a meaning beyond the kernel protocol is in
/// <see cref="VolumeClient"/>, which knows no kernel. Names and attributes are here, open files in <see cref="VolumeFileSystemData"/>.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="files">The node's own files in the root.</param>
/// <param name="clusterSpace">Capacity and free bytes of the cluster: what df shows for a volume without quota.</param>
internal class VolumeFileSystem(VolumeClient volume, VirtualFiles files, Func<(ulong Capacity, ulong Free)> clusterSpace) : FuseHandler
{
    protected VolumeClient Volume { get; } = volume;

    protected VirtualFiles Virtual { get; } = files;

    /// <summary>
    /// What the kernel is told as the generation of a regular file: another one in each life of the session. An inode that it knows from an earlier one, with its
    /// pages and handles, it gives up when a look-up finds the new one (<c>fuse_stale_inode</c> in fs/fuse). Directories, and what has no bytes, go on.
    /// </summary>
    protected uint LifeOf(in InodeAttributes attributes) => attributes.IsRegular ? (uint)Volume.Session.Life : 0;

    public override void Lookup(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        if (VirtualFiles.Find(r.NodeId, r.Name) is not Ino.None and var own)
        {
            r.ReplyEntry(AttributeMapping.ToEntry(self.Virtual.Attributes(own), life: 0));
            return;
        }

        var found = await self.Volume.Namespace.LookupAsync(r.NodeId, r.NameMemory, r.IsResent ? 0 : r.Unique);
        if (found.Status != Errno.ENOENT.ToStatus())
        {
            self.ReplyEntry(r, found, isVersioned: true);
            return;
        }

        using var telling = self.Volume.Leases.Tell(found.Lease);
        var nameMs = telling.NameMs(r.NodeId, r.Name, Ino.None);
        if (nameMs > 0)
        {
            r.ReplyEntry(AttributeMapping.ToEntry(default, life: 0, nameMs));
        }
        else
        {
            r.ReplyError(Errno.ENOENT);
        }
    });

    public override void Forget(FuseRequest request) => Volume.Namespace.Forget(request.NodeId);

    public override void BatchForget(FuseRequest request)
    {
        foreach (ref readonly var forget in request.Forgets)
        {
            Volume.Namespace.Forget(forget.NodeId);
        }
    }

    public override void GetAttr(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        // Of a read at the end of a file the kernel asks for nothing but the size.
        if ((r.In<FuseGetattrIn>().Flags & FuseGetattrFlags.FH) != 0 && self.Volume.Files.IsEnded(r.In<FuseGetattrIn>().Fh))
        {
            r.ReplyError(Errno.EIO);
            return;
        }

        var found = await self.AttributesAsync(r.NodeId);
        if (found.Status == Status.OK)
        {
            using var telling = self.Volume.Leases.Tell(found.Lease);
            r.ReplyAttr(AttributeMapping.ToAttrOut(found.Attributes, telling.AttributesMs(r.NodeId)));
        }
        else
        {
            r.ReplyError(found.Status.ToErrno());
        }
    });

    public override void Statx(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var found = await self.AttributesAsync(r.NodeId);
        if (found.Status == Status.OK)
        {
            using var telling = self.Volume.Leases.Tell(found.Lease);
            r.ReplyStatx(AttributeMapping.ToStatx(found.Attributes, telling.AttributesMs(r.NodeId)));
        }
        else
        {
            r.ReplyError(found.Status.ToErrno());
        }
    });

    public override void SetAttr(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        if (VirtualFiles.Contains(r.NodeId))
        {
            r.ReplyError(Errno.EPERM);
            return;
        }

        var input = r.In<FuseSetattrIn>();
        if ((input.Valid & FuseSetattrValid.FH) != 0 && self.Volume.Files.IsEnded(input.Fh))
        {
            r.ReplyError(Errno.EIO);
            return;
        }

        var message = ToMessage(r.NodeId, input);
        if ((message.Fields & (SetAttrFields.KillSuidgid | SetAttrFields.Size)) == SetAttrFields.KillSuidgid && await self.LosesSetgidAsync(r))
        {
            message = message with { Fields = message.Fields | SetAttrFields.KillSetgid };
        }

        // Through a descriptor the kernel judges by the owner it saw last, which another node may have changed since.
        var caller = Caller.Of(r);
        var asOwner = !caller.IsRoot && NeedsOwner(message.Fields);
        var (status, attributes) = await self.Volume.Namespace.SetAttrAsync(operation, asOwner ? ForOwner(message, caller.User) : message);
        if (asOwner && status == Errno.EPERM.ToStatus() && caller.UnmappedUser != caller.User)
        {
            (status, attributes) = await self.Volume.Namespace.SetAttrAsync(operation, ForOwner(message, caller.UnmappedUser));
        }

        if (asOwner && status == Errno.EPERM.ToStatus() && caller.MayActAsOwner)
        {
            (status, attributes) = await self.Volume.Namespace.SetAttrAsync(operation, message);
        }

        KillPoint.Hit("node.before-reply");
        if (status == Status.OK)
        {
            // Without a time-out: the kernel takes these attributes also when a recall of them has come since (fuse_do_setattr).
            r.ReplyAttr(AttributeMapping.ToAttrOut(attributes));
        }
        else
        {
            r.ReplyError(status.ToErrno());
        }
    });

    public override void ReadLink(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var (status, target) = await self.Volume.Namespace.ReadLinkAsync(r.NodeId);
        if (status == Status.OK)
        {
            r.ReplyData(target.Span);
        }
        else
        {
            r.ReplyError(status.ToErrno());
        }
    });

    public override void MkNod(FuseRequest request) => Mutate(this, request, static (r, operation, self) =>
    {
        var input = r.In<FuseMknodIn>();
        return self.MakeAsync(r, operation, r.NameMemory, input.Mode, input.Rdev, default);
    });

    public override void MkDir(FuseRequest request) => Mutate(this, request, static (r, operation, self) =>
        self.MakeAsync(r, operation, r.NameMemory, FileMode.Directory | (r.In<FuseMkdirIn>().Mode & FileMode.PermissionMask), 0, default));

    public override void SymLink(FuseRequest request) => Mutate(this, request, static (r, operation, self) =>
        self.MakeAsync(r, operation, r.NameMemory, FileMode.Symlink | 0x1FF, 0, r.Name2Memory));

    public override void Unlink(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
        ReplyStatus(r, await self.Volume.Namespace.UnlinkAsync(operation, r.NodeId, r.NameMemory)));

    public override void RmDir(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
        ReplyStatus(r, await self.Volume.Namespace.RmdirAsync(operation, r.NodeId, r.NameMemory)));

    public override void Rename(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var input = r.In<FuseRename2In>();
        ReplyStatus(r, await self.Volume.Namespace.RenameAsync(operation, r.NodeId, r.NameMemory, input.NewDir, r.Name2Memory, (uint)input.Flags));
    });

    public override void Link(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var found = await self.Volume.Namespace.LinkAsync(operation, r.In<FuseLinkIn>().OldNodeId, r.NodeId, r.NameMemory);
        KillPoint.Hit("node.before-reply");
        self.ReplyEntry(r, found, isVersioned: false);
    });

    public override void StatFs(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var (status, usage) = await self.Volume.Namespace.StatFsAsync();
        if (status != Status.OK)
        {
            r.ReplyError(status.ToErrno());
            return;
        }

        r.ReplyStatFs(self.ToStatfs(usage));
    });

    public override void SetXAttr(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
        ReplyStatus(r, await self.Volume.Namespace.SetXattrAsync(operation, r.NodeId, r.NameMemory, r.PayloadMemory, r.In<FuseSetxattrIn>().Flags)));

    public override void GetXAttr(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var (status, value) = await self.Volume.Namespace.GetXattrAsync(r.NodeId, r.NameMemory);
        ReplyXattr(r, status, value);
    });

    public override void ListXAttr(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var (status, names) = await self.Volume.Namespace.ListXattrAsync(r.NodeId);
        ReplyXattr(r, status, VisibleNames(r, names));
    });

    public override void RemoveXAttr(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
        ReplyStatus(r, await self.Volume.Namespace.RemoveXattrAsync(operation, r.NodeId, r.NameMemory)));

    /// <summary>Operations commit directories themselves, but for files that the server has not heard of.</summary>
    public override void FSyncDir(FuseRequest request) => request.Run(this, static async (r, self) =>
        r.ReplyError((await self.Volume.Creates.SendAllAsync()).ToErrno()));

    public override void Ioctl(FuseRequest request) => request.ReplyError(Errno.ENOTTY);

    /// <summary>Runs an operation that changes something; its slots are given back after the kernel has its answer.</summary>
    protected static void Mutate<TSelf>(TSelf self, FuseRequest request, Func<FuseRequest, Operation, TSelf, ValueTask> work)
        where TSelf : VolumeFileSystem =>
        request.Run((self, work), static async (r, state) =>
        {
            var operation = state.self.Volume.Session.Begin(r.Unique, r.IsResent);
            try
            {
                await state.work(r, operation, state.self);
            }
            finally
            {
                operation.Complete();
            }
        });

    protected static void ReplyStatus(FuseRequest request, Status status)
    {
        KillPoint.Hit("node.before-reply");
        request.ReplyError(status.ToErrno());
    }

    /// <param name="request">LOOKUP, MKNOD, MKDIR, SYMLINK or LINK.</param>
    /// <param name="found">What it came to.</param>
    /// <param name="isVersioned">Whether the kernel leaves the attributes aside when a recall of them has come since it asked. Where it does not (<c>fuse_iget</c> with
    /// version 0: all but LOOKUP) it gets them without a time-out.</param>
    private void ReplyEntry(FuseRequest request, in Found found, bool isVersioned)
    {
        if (found.Status != Status.OK)
        {
            request.ReplyError(found.Status.ToErrno());
            return;
        }

        using var telling = Volume.Leases.Tell(found.Lease);
        var attributesMs = telling.AttributesMs(found.Attributes.Ino);
        request.ReplyEntry(AttributeMapping.ToEntry(
            found.Attributes, LifeOf(found.Attributes), telling.NameMs(request.NodeId, request.Name, found.Attributes.Ino), isVersioned ? attributesMs : 0));
    }

    private static void ReplyXattr(FuseRequest request, Status status, ReadOnlyMemory<byte> value)
    {
        var size = request.In<FuseGetxattrIn>().Size;
        if (status != Status.OK)
        {
            request.ReplyError(status.ToErrno());
        }
        else if (size == 0)
        {
            request.ReplyXAttrSize((uint)value.Length);
        }
        else if (value.Length > size)
        {
            request.ReplyError(Errno.ERANGE);
        }
        else
        {
            request.ReplyData(value.Span);
        }
    }

    /// <summary>xattr(7): the names of <c>trusted.</c> attributes are for the privileged only; the kernel checks all but the list.</summary>
    private static ReadOnlyMemory<byte> VisibleNames(FuseRequest request, ReadOnlyMemory<byte> names)
    {
        if (names.Span.IndexOf("trusted."u8) < 0 || Caller.Of(request) is { IsRoot: true } or { IsAdministrator: true })
        {
            return names;
        }

        var visible = new byte[names.Length];
        var length = 0;
        for (var rest = names.Span; rest.Length > 0;)
        {
            var name = rest[..(rest.IndexOf((byte)0) + 1)];
            rest = rest[name.Length..];
            if (!name.StartsWith("trusted."u8))
            {
                name.CopyTo(visible.AsSpan(length));
                length += name.Length;
            }
        }

        return visible.AsMemory(0, length);
    }

    /// <summary>Whether only the owner may make this change, chmod(2), chown(2), utimensat(2).</summary>
    private static bool NeedsOwner(SetAttrFields fields) =>
        (fields & (SetAttrFields.Mode | SetAttrFields.Uid | SetAttrFields.Gid)) != 0
        || (fields & (SetAttrFields.Atime | SetAttrFields.AtimeNow)) == SetAttrFields.Atime
        || (fields & (SetAttrFields.Mtime | SetAttrFields.MtimeNow)) == SetAttrFields.Mtime;

    /// <summary>Of an owner the kernel lets no other uid through than his own.</summary>
    private static SetAttrRequest ForOwner(in SetAttrRequest message, uint uid) => message with
    {
        Fields = message.Fields | SetAttrFields.OwnerOnly,
        Uid = (message.Fields & SetAttrFields.Uid) != 0 ? message.Uid : uid,
    };

    private static SetAttrRequest ToMessage(ulong ino, in FuseSetattrIn input)
    {
        var fields = SetAttrFields.None;
        Add(FuseSetattrValid.MODE, SetAttrFields.Mode, input);
        Add(FuseSetattrValid.UID, SetAttrFields.Uid, input);
        Add(FuseSetattrValid.GID, SetAttrFields.Gid, input);
        Add(FuseSetattrValid.SIZE, SetAttrFields.Size, input);
        Add(FuseSetattrValid.ATIME, SetAttrFields.Atime, input);
        Add(FuseSetattrValid.MTIME, SetAttrFields.Mtime, input);
        Add(FuseSetattrValid.ATIME_NOW, SetAttrFields.AtimeNow, input);
        Add(FuseSetattrValid.MTIME_NOW, SetAttrFields.MtimeNow, input);
        Add(FuseSetattrValid.KILL_SUIDGID, SetAttrFields.KillSuidgid, input);

        // ftruncate(2) moves the times always, truncate(2) when something changes; for the former the kernel sends the handle and leaves the times to us
        // (update_mtime in fs/fuse/dir.c).
        if ((input.Valid & (FuseSetattrValid.SIZE | FuseSetattrValid.FH | FuseSetattrValid.MTIME)) == (FuseSetattrValid.SIZE | FuseSetattrValid.FH))
        {
            fields |= SetAttrFields.MtimeNow;
        }

        // With HANDLE_KILLPRIV_V2 clearing the bits at chown is our part, whoever calls: include/uapi/linux/fuse.h. A request for nothing is chown(-1, -1).
        if ((input.Valid & (FuseSetattrValid.UID | FuseSetattrValid.GID)) != 0 || fields == SetAttrFields.None)
        {
            fields |= SetAttrFields.KillSuidgid;
        }

        return new SetAttrRequest(
            ino,
            fields,
            input.Mode & FileMode.PermissionMask,
            input.Uid,
            input.Gid,
            input.Size,
            AttributeMapping.FromFuse(input.Atime, input.AtimeNsec),
            AttributeMapping.FromFuse(input.Mtime, input.MtimeNsec));

        void Add(FuseSetattrValid valid, SetAttrFields field, in FuseSetattrIn i)
        {
            if ((i.Valid & valid) != 0)
            {
                fields |= field;
            }
        }
    }

    /// <summary>
    /// Whether a chown clears set-group-ID although the group may not execute: where the caller is neither privileged nor in the file's group
    /// (setattr_should_drop_sgid in fs/attr.c). The kernel leaves that to us too and does not tell of supplementary groups.
    /// </summary>
    private async ValueTask<bool> LosesSetgidAsync(FuseRequest request)
    {
        if (request.Uid == 0)
        {
            return false;
        }

        var (status, attributes, _) = await AttributesAsync(request.NodeId);
        return status == Status.OK && !attributes.IsDirectory
            && (attributes.Mode & (FileMode.SetGid | FileMode.GroupExecute)) == FileMode.SetGid
            && Caller.Of(request) is { IsRoot: false } caller && !caller.IsInGroup(attributes.Gid);
    }

    private async ValueTask MakeAsync(
        FuseRequest request, Operation operation, ReadOnlyMemory<byte> name, uint mode, uint rdev, ReadOnlyMemory<byte> target)
    {
        var found = await Volume.Namespace.MakeAsync(operation, request.NodeId, name, mode, request.Uid, request.Gid, rdev, target);
        KillPoint.Hit("node.before-reply");
        ReplyEntry(request, found, isVersioned: false);
    }

    private ValueTask<Found> AttributesAsync(ulong ino) => VirtualFiles.Contains(ino)
        ? new ValueTask<Found>(new Found(Status.OK, Virtual.Attributes(ino), LeaseOffer.None))
        : Volume.Namespace.GetAttrAsync(ino);

    private FuseKstatfs ToStatfs(in StatFsReply usage)
    {
        var (capacity, free) = clusterSpace();
        if (usage.LimitBytes > 0)
        {
            // What other nodes hold in grants is as good as used; what this node holds it can still write.
            var taken = usage.UsedBytes + usage.GrantedBytes - Math.Min(usage.GrantedBytes, (ulong)Math.Max(0, Volume.Grants.UnusedBytes));
            capacity = usage.LimitBytes;
            free = capacity - Math.Min(capacity, taken);
        }

        const ulong inodesOfNoLimit = 1UL << 32;
        var inodes = usage.LimitInodes > 0 ? usage.LimitInodes : inodesOfNoLimit;
        return new FuseKstatfs
        {
            BlockSize = Limits.PageSizeBytes,
            FragmentSize = Limits.PageSizeBytes,
            NameLength = Limits.NameMaxBytes,
            Blocks = capacity / Limits.PageSizeBytes,
            BlocksFree = free / Limits.PageSizeBytes,
            BlocksAvailable = free / Limits.PageSizeBytes,
            Files = inodes,
            FilesFree = inodes - Math.Min(inodes, usage.UsedInodes),
        };
    }
}
