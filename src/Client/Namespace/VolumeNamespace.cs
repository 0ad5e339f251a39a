using EphemeralFs.Client.Files;
using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Client.Namespace;

/// <summary>Names, attributes by name, links and extended attributes: one request of the metadata server each, unless the node has leased the answer.</summary>
public sealed class VolumeNamespace(
    MetadataSession session, GrantPool grants, OpenFiles files, FileOpener opener, LeaseTable leases, AttributeCache attributes, KnownNames names, LookupIntents intents,
    DeferredCreates creates, IKernelCache kernel, TimeProvider time)
{
    private readonly RemovedInodes _removed = new();

    /// <summary>Finds a name.</summary>
    /// <param name="parent">The directory.</param>
    /// <param name="name">The name.</param>
    /// <param name="unique">Of the kernel's request: the file may be opened with it. 0: it is not.</param>
    public async ValueTask<Found> LookupAsync(ulong parent, ReadOnlyMemory<byte> name, ulong unique = 0)
    {
        if (names.TryFind(parent, name.Span, out var ino, out var lease))
        {
            if (ino == Ino.None)
            {
                return new Found(Errno.ENOENT.ToStatus(), default, lease);
            }

            if (attributes.TryGet(ino, out var known, out var leased))
            {
                return files.See(known, lease.And(leased));
            }
        }

        var asked = names.Ask();
        var question = attributes.Ask();
        var (result, ahead) = unique != 0 && intents.ExpectsOpen(parent)
            ? await opener.LookupAsync(parent, name, unique)
            : (await session.QueryAsync<LookupRequest, EntryReply>(new(parent, name)), default);
        if (result.IsOk || result.Status == Errno.ENOENT.ToStatus())
        {
            names.Learn(parent, name.Span, result.IsOk ? result.Value.Attributes.Ino : Ino.None, asked, result.Flags);
        }

        var found = await files.SeeAsync(question, result);
        if (result.IsOk && result.Value.Attributes.IsRegular)
        {
            intents.LookedUp(parent, result.Value.Attributes.Ino);
            opener.KeepAhead(ahead, question);
        }

        return found;
    }

    /// <summary>Attributes of an inode, also of one that lost its last name while a program still refers to it.</summary>
    public async ValueTask<Found> GetAttrAsync(ulong ino)
    {
        var found = await files.GetAttrAsync(ino);
        return IsGone(found.Status) && _removed.TryGet(ino, out var attributes) ? new Found(Status.OK, attributes, LeaseOffer.None) : found;
    }

    /// <summary>Changes attributes, also of an inode that lost its last name: there is nobody else who could look at them then.</summary>
    public async ValueTask<(Status Status, InodeAttributes Attributes)> SetAttrAsync(Operation operation, SetAttrRequest request)
    {
        var result = await files.SetAttrAsync(operation, request);
        return IsGone(result.Status) && _removed.TryChange(request, out var attributes) ? (Status.OK, attributes) : result;
    }

    /// <summary>Makes a file that is not opened, a directory, a device, a fifo, a socket or a symbolic link.</summary>
    public async ValueTask<Found> MakeAsync(
        Operation operation, ulong parent, ReadOnlyMemory<byte> name, uint mode, uint uid, uint gid, uint rdev, ReadOnlyMemory<byte> target)
    {
        var (status, ino) = await grants.TakeInodeAsync();
        if (status != Status.OK)
        {
            return new Found(status, default, LeaseOffer.None);
        }

        names.MayChange(parent, name.Span);
        var change = attributes.Begin(parent);
        var mayDefer = creates.Ask();
        var result = await session.MutateAsync<MknodRequest, NameReply>(operation, new(parent, ino, name, mode, uid, gid, rdev, target));
        var question = attributes.End(change);
        creates.Learn(mayDefer, result);
        if (!result.IsOk)
        {
            names.MayChange(parent, name.Span);
            return files.See(question, result);
        }

        names.Made(parent, name.Span, ino, change.ForNames(operation.IsResent), result.Flags);
        if ((mode & FileMode.TypeMask) == FileMode.Directory)
        {
            names.MadeDirectory(ino, change.ForNames(operation.IsResent), result.Flags);
        }

        return await files.AsItIsNowAsync(operation, files.See(question, result));
    }

    /// <summary>Removes a name.</summary>
    public async ValueTask<Status> UnlinkAsync(Operation operation, ulong parent, ReadOnlyMemory<byte> name)
    {
        names.MayChange(parent, name.Span);
        var change = attributes.Begin(parent);
        var result = await session.MutateAsync<UnlinkRequest, NameReply>(operation, new(parent, name));
        var question = attributes.End(change);
        if (result.IsOk)
        {
            attributes.Learn(question, result.Value.Parent, result.Flags);
            names.Removed(parent, name.Span, change.ForNames(operation.IsResent));
            Unlinked(result.Value.Attributes);
        }
        else
        {
            names.MayChange(parent, name.Span);
        }

        return result.Status;
    }

    /// <summary>Removes an empty directory.</summary>
    public async ValueTask<Status> RmdirAsync(Operation operation, ulong parent, ReadOnlyMemory<byte> name)
    {
        names.MayChange(parent, name.Span);
        var change = attributes.Begin(parent);
        var result = await session.MutateAsync<RmdirRequest, NameReply>(operation, new(parent, name));
        var question = attributes.End(change);
        if (result.IsOk)
        {
            attributes.Learn(question, result.Value.Parent, result.Flags);
            names.Removed(parent, name.Span, change.ForNames(operation.IsResent));
            names.Forget(result.Value.Attributes.Ino);
            Unlinked(result.Value.Attributes);
        }
        else
        {
            names.MayChange(parent, name.Span);
        }

        return result.Status;
    }

    /// <summary>Renames.</summary>
    public async ValueTask<Status> RenameAsync(
        Operation operation, ulong parent, ReadOnlyMemory<byte> name, ulong newParent, ReadOnlyMemory<byte> newName, uint flags)
    {
        using var moving = leases.Move(parent, name.Span, newParent, newName.Span);
        if (moving.WaitMs > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(moving.WaitMs), time);
        }

        names.MayChange(parent, name.Span);
        names.MayChange(newParent, newName.Span);
        var change = attributes.Begin(parent, newParent);
        var result = await session.MutateAsync<RenameRequest, RenameReply>(operation, new(parent, name, newParent, newName, flags, moving.Believed, moving.NewBelieved));
        var question = attributes.End(change);
        names.MayChange(parent, name.Span);
        names.MayChange(newParent, newName.Span);
        if (result.IsOk)
        {
            leases.Believe(newParent, newName.Span, moving.Believed);
            leases.Believe(parent, name.Span, flags == RenameRequest.Exchange ? moving.NewBelieved : Ino.None);
            attributes.Learn(question, result.Value.Parent, result.Flags);
            attributes.Learn(question, result.Value.NewParent, result.Flags);
            var moved = result.Value.Moved;
            attributes.Forget([moved.Ino, result.Value.Replaced.Ino]);
            await ExpireAsync(moved.Ino);
            if (flags == RenameRequest.Exchange)
            {
                await ExpireAsync(result.Value.Replaced.Ino);
            }

            // A file that has other names keeps this one when it is renamed to one of them.
            if (flags != RenameRequest.Exchange && (moved.IsDirectory || moved.Nlink == 1))
            {
                names.Removed(parent, name.Span, change.ForNames(operation.IsResent));
                names.Made(newParent, newName.Span, moved.Ino, change.ForNames(operation.IsResent), result.Flags);
            }

            if (result.Value.Replaced.Ino != Ino.None)
            {
                Unlinked(result.Value.Replaced);
            }
        }
        else if (result.Status == Errno.ESTALE.ToStatus())
        {
            moving.Refused();
        }

        return result.Status;
    }

    /// <summary>Gives an inode one more name.</summary>
    public async ValueTask<Found> LinkAsync(Operation operation, ulong ino, ulong newParent, ReadOnlyMemory<byte> newName)
    {
        names.MayChange(newParent, newName.Span);
        var change = attributes.Begin(newParent, ino);
        var result = await session.MutateAsync<LinkRequest, NameReply>(operation, new(ino, newParent, newName));
        var question = attributes.End(change);
        if (result.IsOk)
        {
            names.Made(newParent, newName.Span, ino, change.ForNames(operation.IsResent), result.Flags);
            files.SetNlink(result.Value.Attributes);
        }
        else
        {
            names.MayChange(newParent, newName.Span);
        }

        return await files.AsItIsNowAsync(operation, files.See(question, result));
    }

    /// <summary>Target of a symbolic link.</summary>
    public async ValueTask<(Status Status, ReadOnlyMemory<byte> Target)> ReadLinkAsync(ulong ino)
    {
        var result = await session.QueryAsync<ReadLinkRequest, ReadLinkReply>(new(ino));
        return (result.Status, result.Value.Target);
    }

    /// <summary>A part of a directory's listing.</summary>
    public async ValueTask<(Status Status, ReadDirReply Reply, LeaseOffer Lease)> ReadDirAsync(ulong ino, ulong cookie, uint maxBytes, bool withAttributes)
    {
        var asked = names.Ask();
        var question = attributes.Ask();
        var result = await session.QueryAsync<ReadDirRequest, ReadDirReply>(new(ino, cookie, maxBytes, withAttributes));
        if (result.IsOk)
        {
            var entries = result.Value.Entries;
            names.Listed(
                ino, asked, result.Flags, cookie, entries.Length > 0 ? entries[^1].Cookie : cookie, result.Value.End, entries.Select(entry => (entry.Name, entry.Ino)));
            if (withAttributes)
            {
                foreach (ref var entry in entries.AsSpan())
                {
                    if (!attributes.Learn(question, entry.Attributes, result.Flags))
                    {
                        // As in OpenFiles.SeeAsync; whoever wants them asks.
                        entry = entry with { Attributes = default };
                    }
                }
            }
        }

        return (result.Status, result.Value, question.Offer.With(result.Flags));
    }

    /// <summary>Usage of the volume.</summary>
    public async ValueTask<(Status Status, StatFsReply Reply)> StatFsAsync()
    {
        var result = await session.QueryAsync<StatFsRequest, StatFsReply>(default);
        return (result.Status, result.Value);
    }

    /// <summary>setxattr(2).</summary>
    public async ValueTask<Status> SetXattrAsync(Operation operation, ulong ino, ReadOnlyMemory<byte> name, ReadOnlyMemory<byte> value, uint flags)
    {
        var change = attributes.Begin(ino);
        var result = await session.MutateAsync<SetXattrRequest, Rpc.Empty>(operation, new(ino, name, value, flags));
        attributes.End(change);
        return result.Status;
    }

    /// <summary>getxattr(2).</summary>
    public async ValueTask<(Status Status, ReadOnlyMemory<byte> Value)> GetXattrAsync(ulong ino, ReadOnlyMemory<byte> name)
    {
        var errno = XattrNames.Check(name.Span);
        if (errno != Errno.OK || HasNoXattrs(ino))
        {
            return ((errno != Errno.OK ? errno : Errno.ENODATA).ToStatus(), default);
        }

        var result = await session.QueryAsync<GetXattrRequest, XattrReply>(new(ino, name));
        return (result.Status, result.Value.Value);
    }

    /// <summary>listxattr(2): names that each end in NUL.</summary>
    public async ValueTask<(Status Status, ReadOnlyMemory<byte> Names)> ListXattrAsync(ulong ino)
    {
        if (HasNoXattrs(ino))
        {
            return (Status.OK, default);
        }

        var result = await session.QueryAsync<ListXattrRequest, XattrReply>(new(ino));
        return (result.Status, result.Value.Value);
    }

    /// <summary>removexattr(2).</summary>
    public async ValueTask<Status> RemoveXattrAsync(Operation operation, ulong ino, ReadOnlyMemory<byte> name)
    {
        var change = attributes.Begin(ino);
        var result = await session.MutateAsync<RemoveXattrRequest, Rpc.Empty>(operation, new(ino, name));
        attributes.End(change);
        return result.Status;
    }

    /// <summary>The kernel refers to the inode no more.</summary>
    public void Forget(ulong ino) => _removed.Remove(ino);

    /// <summary>
    /// The time of an inode's last change has moved, and the kernel is not told what it is. It asks, but an older answer that is still on its way through
    /// another program would then count as a newer one (fuse_update_ctime in fs/fuse/dir.c raises no version).
    /// </summary>
    private ValueTask ExpireAsync(ulong ino) => leases.IsOnItsWay(ino) ? kernel.RecallAttributesAsync(ino) : default;

    private static bool IsGone(Status status) => status.ToErrno() is Errno.ENOENT or Errno.ESTALE;

    private bool HasNoXattrs(ulong ino) => attributes.TryGet(ino, out var known, out _) && (known.Flags & InodeFlags.HasXattrs) == 0;

    private void Unlinked(in InodeAttributes inode)
    {
        attributes.Forget([inode.Ino]);
        files.SetNlink(inode);
        if (inode.Nlink == 0)
        {
            files.Closed.Release(inode.Ino);
            _removed.Add(inode);
        }
    }
}
