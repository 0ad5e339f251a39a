using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Model.Leases;

// Names, attributes and pages, and what notifications do to them.
internal sealed partial class SimulatedKernel
{
    /// <summary>Finds a name as a path walk does: out of the cache, by asking again, or anew under the directory's lock.</summary>
    /// <param name="call">The call that walks.</param>
    /// <param name="parent">The directory.</param>
    /// <param name="name">The name.</param>
    /// <param name="isLocked">Whether the caller holds the directory's lock.</param>
    /// <returns>An errno other than ENOENT is the call's; an inode of 0 says that there is none.</returns>
    public async Task<(Errno Errno, ulong Ino)> FindAsync(ProgramCall call, ulong parent, string name, bool isLocked)
    {
        if (await RevalidateAsync(call, parent, name) is { } known)
        {
            return known;
        }

        var directory = Known(parent);
        if (!isLocked)
        {
            await directory.Lock.AcquireAsync(exclusive: false);
        }

        try
        {
            if (!isLocked && await RevalidateAsync(call, parent, name) is { } found)
            {
                return found;
            }

            var version = _version;
            var answer = await RequestAsync(call, FuseOpcode.LOOKUP, parent, default(Nothing), name);
            if (answer.Errno is not (Errno.OK or Errno.ENOENT))
            {
                return (answer.Errno, 0);
            }

            var entry = answer.Errno == Errno.OK ? answer.As<FuseEntryOut>() : default;
            Instantiate(parent, name, entry, version);
            _model.Oracle.SawName(call, parent, name, entry.NodeId);
            return (Errno.OK, entry.NodeId);
        }
        finally
        {
            if (!isLocked)
            {
                directory.Lock.Release(exclusive: false);
            }
        }
    }

    /// <summary>stat(2) of an inode.</summary>
    public async Task<Errno> StatAsync(ProgramCall call, ulong ino)
    {
        var inode = Known(ino);
        if (inode.UntilUs > _simulation.NowUs)
        {
            _model.Oracle.SawAttributes(call, inode.Attr);
            return Errno.OK;
        }

        var version = _version;
        var answer = await RequestAsync(call, FuseOpcode.GETATTR, ino, default(FuseGetattrIn));
        if (answer.Errno == Errno.OK)
        {
            var reply = answer.As<FuseAttrOut>();
            Learn(Known(ino), reply.Attr, reply.AttrValid, reply.AttrValidNsec, version);
            _model.Oracle.SawAttributes(call, reply.Attr);
        }

        return answer.Errno;
    }

    /// <summary>The inode of an answer, with its attributes (<c>fuse_iget</c>); version 0 where the kernel takes them whatever came in between.</summary>
    public KernelInode Instantiate(ulong parent, string name, in FuseEntryOut entry, long version)
    {
        var until = _simulation.NowUs + Us(entry.EntryValid, entry.EntryValidNsec);
        if (entry.NodeId == 0)
        {
            Dentries[(parent, name)] = new KernelDentry { UntilUs = until };
            return null!;
        }

        var inode = Known(entry.NodeId);
        Learn(inode, entry.Attr, entry.AttrValid, entry.AttrValidNsec, version);
        if (IsDirectory(inode))
        {
            // A directory has one place in the cache (d_splice_alias).
            foreach (var place in Dentries.Where(d => d.Value.Ino == inode.Ino && d.Key != (parent, name)).Select(d => d.Key).ToArray())
            {
                Dentries.Remove(place);
            }
        }

        Dentries[(parent, name)] = new KernelDentry { Ino = entry.NodeId, UntilUs = until };
        return inode;
    }

    public KernelInode Known(ulong ino)
    {
        if (!Inodes.TryGetValue(ino, out var inode))
        {
            Inodes.Add(ino, inode = new KernelInode(ino));
        }

        return inode;
    }

    public static bool IsDirectory(KernelInode inode) => (inode.Attr.Mode & 0xF000) == 0x4000;

    /// <summary><c>fuse_change_attributes</c>.</summary>
    public void Learn(KernelInode inode, in FuseAttr attr, ulong seconds, uint nanoseconds, long version)
    {
        inode.IsOvertaken = version != 0 && inode.Version > version;
        if (inode.IsOvertaken)
        {
            return;
        }

        inode.SetsBack += attr.Size < inode.Attr.Size ? 1 : 0;
        inode.Attr = attr;
        inode.Version = ++_version;
        inode.UntilUs = _simulation.NowUs + Us(seconds, nanoseconds);
    }

    /// <summary>What the node's own call has changed is asked for again (<c>fuse_invalidate_attr</c>).</summary>
    public static void Expire(KernelInode inode) => inode.UntilUs = 0;

    /// <summary>The size after a write of this node (<c>fuse_write_update_attr</c>).</summary>
    public void Wrote(KernelInode inode, ulong end)
    {
        inode.Version = ++_version;
        inode.Attr = inode.Attr with { Size = Math.Max(inode.Attr.Size, end) };
        inode.UntilUs = 0;
    }

    /// <summary>A name was removed through this node: attributes that are under way are old (<c>fuse_entry_unlinked</c>).</summary>
    public void Unlinked(ulong ino)
    {
        var inode = Known(ino);
        inode.Version = ++_version;
        inode.UntilUs = 0;
    }

    /// <summary>What a notification does. Completes when the kernel has done it.</summary>
    public async Task<Errno> NotifyAsync(FuseNotification notification)
    {
        if (!Inodes.TryGetValue(notification.Node, out var inode))
        {
            return Errno.ENOENT;
        }

        if (notification.Code == FuseNotifyCode.INVAL_INODE)
        {
            inode.Version = ++_version;
            inode.UntilUs = 0;
            if (notification.Offset >= 0)
            {
                await inode.PageLock.AcquireAsync(exclusive: true);
                inode.Page = null;
                inode.PageLock.Release(exclusive: true);
            }

            return Errno.OK;
        }

        var name = System.Text.Encoding.UTF8.GetString(notification.Name.Span);
        await inode.Lock.AcquireAsync(exclusive: true);
        try
        {
            if (!Dentries.TryGetValue((notification.Node, name), out var dentry))
            {
                return Errno.ENOENT;
            }

            Expire(inode);
            dentry.UntilUs = 0;
            if (notification.Flags != FuseExpireFlags.EXPIRE_ONLY)
            {
                Dentries.Remove((notification.Node, name));
            }

            return Errno.OK;
        }
        finally
        {
            inode.Lock.Release(exclusive: true);
        }
    }

    /// <summary>Memory is short: something that nobody uses goes.</summary>
    public void Reclaim()
    {
        if (ActiveCalls > 0 || Dentries.Count == 0)
        {
            return;
        }

        var place = Dentries.Keys.ElementAt(_simulation.Random.Below(Dentries.Count));
        var ino = Dentries[place].Ino;
        if (Dentries.Keys.Any(key => key.Parent == ino))
        {
            return;
        }

        Dentries.Remove(place);
        if (ino != 0 && Inodes[ino] is { Opens: 0 } inode && inode.Lock.IsFree && inode.PageLock.IsFree && Dentries.All(d => d.Value.Ino != ino))
        {
            Inodes.Remove(ino);
            Forget(ino);
        }
    }

    /// <summary><c>fuse_dentry_revalidate</c>; null when the name must be looked up anew.</summary>
    private async Task<(Errno Errno, ulong Ino)?> RevalidateAsync(ProgramCall call, ulong parent, string name)
    {
        if (!Dentries.TryGetValue((parent, name), out var dentry))
        {
            return null;
        }

        if (dentry.UntilUs > _simulation.NowUs)
        {
            _model.Oracle.SawName(call, parent, name, dentry.Ino);
            return (Errno.OK, dentry.Ino);
        }

        if (dentry.Ino != 0)
        {
            var version = _version;
            var answer = await RequestAsync(call, FuseOpcode.LOOKUP, parent, default(Nothing), name);
            if (answer.Errno == Errno.OK && answer.As<FuseEntryOut>() is var entry && entry.NodeId == dentry.Ino)
            {
                Learn(Known(entry.NodeId), entry.Attr, entry.AttrValid, entry.AttrValidNsec, version);
                dentry.UntilUs = _simulation.NowUs + Us(entry.EntryValid, entry.EntryValidNsec);
                _model.Oracle.SawName(call, parent, name, dentry.Ino);
                return (Errno.OK, dentry.Ino);
            }
        }

        if (Dentries.GetValueOrDefault((parent, name)) == dentry)
        {
            Dentries.Remove((parent, name));
        }

        return null;
    }

    private long Us(ulong seconds, uint nanoseconds) => ((long)(seconds * 1_000_000) + (nanoseconds / 1000)) * _model.Fault.TimeoutFactor;

    /// <summary>The input of LOOKUP: there is none.</summary>
    internal struct Nothing;
}
