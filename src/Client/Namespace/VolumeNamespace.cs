using EphemeralFs.Client.Files;
using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Namespace;

/// <summary>Names, attributes by name, links and extended attributes: one request of the metadata server each.</summary>
public sealed class VolumeNamespace(MetadataSession session, GrantPool grants, OpenFiles files, LeaseTable leases)
{
    private readonly RemovedInodes _removed = new();

    /// <summary>Finds a name.</summary>
    public async ValueTask<Found> LookupAsync(ulong parent, ReadOnlyMemory<byte> name)
    {
        var asked = leases.Ask();
        return files.See(asked, await session.QueryAsync<LookupRequest, EntryReply>(new(parent, name)));
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

        var asked = leases.Ask();
        return files.See(asked, await session.MutateAsync<MknodRequest, EntryReply>(operation, new(parent, ino, name, mode, uid, gid, rdev, target)));
    }

    /// <summary>Removes a name.</summary>
    public async ValueTask<Status> UnlinkAsync(Operation operation, ulong parent, ReadOnlyMemory<byte> name)
    {
        var result = await session.MutateAsync<UnlinkRequest, EntryReply>(operation, new(parent, name));
        Unlinked(result.Status, result.Value.Attributes);
        return result.Status;
    }

    /// <summary>Removes an empty directory.</summary>
    public async ValueTask<Status> RmdirAsync(Operation operation, ulong parent, ReadOnlyMemory<byte> name)
    {
        var result = await session.MutateAsync<RmdirRequest, EntryReply>(operation, new(parent, name));
        Unlinked(result.Status, result.Value.Attributes);
        return result.Status;
    }

    /// <summary>Renames.</summary>
    public async ValueTask<Status> RenameAsync(
        Operation operation, ulong parent, ReadOnlyMemory<byte> name, ulong newParent, ReadOnlyMemory<byte> newName, uint flags)
    {
        leases.Move(parent, name.Span);
        leases.Move(newParent, newName.Span);
        var result = await session.MutateAsync<RenameRequest, RenameReply>(operation, new(parent, name, newParent, newName, flags));
        if (result.IsOk && result.Value.Replaced.Ino != Ino.None)
        {
            Unlinked(result.Status, result.Value.Replaced);
        }

        return result.Status;
    }

    /// <summary>Gives an inode one more name.</summary>
    public async ValueTask<Found> LinkAsync(Operation operation, ulong ino, ulong newParent, ReadOnlyMemory<byte> newName)
    {
        var asked = leases.Ask();
        var result = await session.MutateAsync<LinkRequest, EntryReply>(operation, new(ino, newParent, newName));
        if (result.IsOk)
        {
            files.SetNlink(result.Value.Attributes);
        }

        return files.See(asked, result);
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
        var asked = leases.Ask();
        var result = await session.QueryAsync<ReadDirRequest, ReadDirReply>(new(ino, cookie, maxBytes, withAttributes));
        return (result.Status, result.Value, asked.With(result.Flags));
    }

    /// <summary>Usage of the volume.</summary>
    public async ValueTask<(Status Status, StatFsReply Reply)> StatFsAsync()
    {
        var result = await session.QueryAsync<StatFsRequest, StatFsReply>(default);
        return (result.Status, result.Value);
    }

    /// <summary>setxattr(2).</summary>
    public async ValueTask<Status> SetXattrAsync(Operation operation, ulong ino, ReadOnlyMemory<byte> name, ReadOnlyMemory<byte> value, uint flags) =>
        (await session.MutateAsync<SetXattrRequest, Rpc.Empty>(operation, new(ino, name, value, flags))).Status;

    /// <summary>getxattr(2).</summary>
    public async ValueTask<(Status Status, ReadOnlyMemory<byte> Value)> GetXattrAsync(ulong ino, ReadOnlyMemory<byte> name)
    {
        var result = await session.QueryAsync<GetXattrRequest, XattrReply>(new(ino, name));
        return (result.Status, result.Value.Value);
    }

    /// <summary>listxattr(2): names that each end in NUL.</summary>
    public async ValueTask<(Status Status, ReadOnlyMemory<byte> Names)> ListXattrAsync(ulong ino)
    {
        var result = await session.QueryAsync<ListXattrRequest, XattrReply>(new(ino));
        return (result.Status, result.Value.Value);
    }

    /// <summary>removexattr(2).</summary>
    public async ValueTask<Status> RemoveXattrAsync(Operation operation, ulong ino, ReadOnlyMemory<byte> name) =>
        (await session.MutateAsync<RemoveXattrRequest, Rpc.Empty>(operation, new(ino, name))).Status;

    /// <summary>The kernel refers to the inode no more.</summary>
    public void Forget(ulong ino) => _removed.Remove(ino);

    private static bool IsGone(Status status) => status.ToErrno() is Errno.ENOENT or Errno.ESTALE;

    private void Unlinked(Status status, in InodeAttributes attributes)
    {
        if (status != Status.OK)
        {
            return;
        }

        files.SetNlink(attributes);
        if (attributes.Nlink == 0)
        {
            _removed.Add(attributes);
        }
    }
}
