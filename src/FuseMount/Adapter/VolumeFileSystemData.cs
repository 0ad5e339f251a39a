using System.Collections.Concurrent;
using EphemeralFs.Client;
using EphemeralFs.Client.Leases;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>The kernel's operations on open files and directories, and locks.</summary>
internal sealed class VolumeFileSystemData(VolumeClient volume, VirtualFiles files, Func<(ulong Capacity, ulong Free)> clusterSpace)
    : VolumeFileSystem(volume, files, clusterSpace)
{
    /// <summary>After which cookie open directories have ended: the kernel asks once more, to hear that nothing follows.</summary>
    private readonly ConcurrentDictionary<ulong, ulong> _ends = new();

    public override void Open(FuseRequest request)
    {
        if (VirtualFiles.Contains(request.NodeId))
        {
            request.ReplyOpen(Virtual.Open(request.NodeId), FuseOpenFlags.DIRECT_IO);
            return;
        }

        Mutate(this, request, static async (r, operation, self) =>
        {
            var input = r.In<FuseOpenIn>();
            var kill = (input.OpenFlags & FuseOpenInFlags.KILL_SUIDGID) != 0;
            var (status, handle, reply, keepPages) = await self.Volume.Opener.OpenAsync(
                operation, r.NodeId, LinuxOpenFlags.ToHandle(input.Flags), LinuxOpenFlags.ToOpen(input.Flags, kill));
            await ForgetPrivilegesAsync(r, kill);
            ReplyOpen(r, status, handle, CachingOf(reply) | (keepPages ? FuseOpenFlags.KEEP_CACHE : FuseOpenFlags.None));
        });
    }

    public override void OpenDir(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var (status, handle, _, _) = await self.Volume.Opener.OpenAsync(operation, r.NodeId, HandleFlags.Directory, OpenFlags.Directory);
        ReplyOpen(r, status, handle, FuseOpenFlags.CACHE_DIR | (self.Volume.Names.KeepsListing(r.NodeId) ? FuseOpenFlags.KEEP_CACHE : FuseOpenFlags.None));
    });

    public override void Create(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        if (VirtualFiles.Find(r.NodeId, r.Name) != Ino.None)
        {
            r.ReplyError(Errno.EEXIST);
            return;
        }

        var input = r.In<FuseCreateIn>();
        var kill = (input.OpenFlags & FuseOpenInFlags.KILL_SUIDGID) != 0;
        var (status, handle, reply, lease) = await self.Volume.Opener.CreateAsync(
            operation, r.NodeId, r.NameMemory, input.Mode, r.Uid, r.Gid, LinuxOpenFlags.ToHandle(input.Flags), LinuxOpenFlags.ToOpen(input.Flags, kill));
        using var telling = self.Volume.Leases.Tell(lease);
        self.ReplyCreate(r, status, handle, reply, status == Status.OK ? telling.NameMs(r.NodeId, r.Name, reply.Attributes.Ino) : 0);
    });

    public override void TmpFile(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var input = r.In<FuseCreateIn>();
        var (status, handle, reply) = await self.Volume.Opener.TmpfileAsync(
            operation, r.NodeId, input.Mode, r.Uid, r.Gid, LinuxOpenFlags.ToHandle(input.Flags), OpenFlags.Write);
        self.ReplyCreate(r, status, handle, reply, nameMs: 0);
    });

    public override void Read(FuseRequest request)
    {
        if (VirtualFiles.Contains(request.NodeId))
        {
            var input = request.In<FuseReadIn>();
            request.ReplyData(Virtual.Read(request.NodeId, input.Fh, input.Offset, (int)input.Size));
            return;
        }

        Mutate(this, request, static async (r, operation, self) =>
        {
            var input = r.In<FuseReadIn>();
            operation.Interrupted = r.InterruptToken;
            var target = r.RentReply((int)input.Size);
            var (errno, read) = await self.Volume.Files.ReadAsync(operation, input.Fh, input.Offset, target);
            if (errno == Errno.OK)
            {
                r.ReplyData(target.Span[..read]);
            }
            else
            {
                r.ReplyError(errno);
            }
        });
    }

    public override void Write(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var input = r.In<FuseWriteIn>();
        operation.Interrupted = r.InterruptToken;
        var kill = (input.WriteFlags & FuseWriteFlags.KILL_SUIDGID) != 0;

        // A page that the kernel writes back comes through any handle, also one with O_APPEND, and belongs where it says.
        var isPage = (input.WriteFlags & FuseWriteFlags.CACHE) != 0;
        var (errno, written, offset) = await self.Volume.Files.WriteAsync(operation, input.Fh, input.Offset, r.PayloadMemory, kill, isPage);
        await ForgetPrivilegesAsync(r, kill);
        KillPoint.Hit("node.before-reply");
        if (errno != Errno.OK)
        {
            r.ReplyError(errno);
            return;
        }

        if (offset != input.Offset)
        {
            // The bytes went elsewhere than the kernel thought: its pages are wrong.
            r.Connection.Notifier.TryPost(FuseNotification.InvalidateInode(r.NodeId, 0, 0));
        }

        r.ReplyWrite((uint)written);
    });

    public override void Flush(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        if (VirtualFiles.Contains(r.NodeId))
        {
            r.ReplyOk();
            return;
        }

        var input = r.In<FuseFlushIn>();
        var errno = await self.Volume.Files.FlushAsync(input.Fh);
        if (self.Volume.Files.IsEnded(input.Fh))
        {
            // Its locks went with its session; what the same process has locked since is not this handle's.
            r.ReplyError(errno);
            return;
        }

        var status = await self.Volume.Locks.ReleaseOwnerAsync(operation, r.NodeId, input.LockOwner);
        ReplyStatus(r, errno != Errno.OK ? errno.ToStatus() : status);
    });

    public override void FSync(FuseRequest request) => request.Run(this, static async (r, self) =>
        r.ReplyError(await self.Volume.Files.SyncAsync(r.In<FuseFsyncIn>().Fh)));

    public override void SyncFs(FuseRequest request) => request.Run(this, static async (r, self) =>
        r.ReplyError(await self.Volume.SyncAsync()));

    public override void Release(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var input = r.In<FuseReleaseIn>();
        if (VirtualFiles.Contains(r.NodeId))
        {
            self.Virtual.Close(input.Fh);
            r.ReplyOk();
            return;
        }

        var isEnded = self.Volume.Files.IsEnded(input.Fh);
        if (!isEnded && (input.ReleaseFlags & FuseReleaseFlags.FLOCK_UNLOCK) != 0)
        {
            await self.Volume.Locks.SetFlockAsync(operation, r.NodeId, input.LockOwner, wait: false, LockType.Unlock);
        }

        if (!isEnded)
        {
            await self.Volume.Locks.ReleaseHandleAsync(operation, r.NodeId, input.Fh);
        }

        await self.Volume.Files.CloseAsync(operation, input.Fh);
        ReplyStatus(r, Status.OK);
    });

    public override void ReleaseDir(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var handle = r.In<FuseReleaseIn>().Fh;
        self._ends.TryRemove(handle, out _);
        await self.Volume.Files.CloseAsync(operation, handle);
        ReplyStatus(r, Status.OK);
    });

    public override void ReadDir(FuseRequest request) => List(request, plus: false);

    public override void ReadDirPlus(FuseRequest request) => List(request, plus: true);

    public override void GetLk(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var input = r.In<FuseLkIn>();
        if (self.Volume.Files.IsEnded(input.Fh))
        {
            r.ReplyError(Errno.EIO);
            return;
        }

        var (status, conflict) = await self.Volume.Locks.GetAsync(r.NodeId, input.Owner, ToRange(input.Lock));
        if (status != Status.OK)
        {
            r.ReplyError(status.ToErrno());
            return;
        }

        r.ReplyLock(new FuseFileLock { Type = (uint)conflict.Type, Start = conflict.Start, End = conflict.End, Pid = conflict.Pid });
    });

    public override void SetLk(FuseRequest request) => SetLock(request, wait: false);

    public override void SetLkW(FuseRequest request) => SetLock(request, wait: true);

    public override void FAllocate(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var input = r.In<FuseFallocateIn>();

        // Unlike WRITE it has no flag for a caller without CAP_FSETID.
        var kill = !Caller.Of(r).IsRoot;
        var status = await self.Volume.Files.FallocateAsync(operation, input.Fh, input.Mode, input.Offset, input.Length, kill);
        await ForgetPrivilegesAsync(r, kill);
        ReplyStatus(r, status);
    });

    public override void LSeek(FuseRequest request) => request.Run(this, static async (r, self) =>
    {
        var input = r.In<FuseLseekIn>();
        var (status, offset) = await self.Volume.Files.SeekAsync(input.Fh, input.Offset, input.Whence);
        if (status == Status.OK)
        {
            r.ReplyLseek(offset);
        }
        else
        {
            r.ReplyError(status.ToErrno());
        }
    });

    public override void CopyFileRange(FuseRequest request) => Mutate(this, request, static async (r, operation, self) =>
    {
        var input = r.In<FuseCopyFileRangeIn>();
        var (status, copied) = await self.Volume.Files.CloneAsync(operation, input.FhIn, input.OffsetIn, input.FhOut, input.OffsetOut, input.Length);
        KillPoint.Hit("node.before-reply");
        if (status == Status.OK)
        {
            r.ReplyCopied(copied);
        }
        else
        {
            r.ReplyError(status.ToErrno());
        }
    });

    /// <summary>What was written may have cleared set-user-ID: the kernel has left that to us and goes on to believe in the mode that it has.</summary>
    private static async ValueTask ForgetPrivilegesAsync(FuseRequest request, bool kill)
    {
        if (kill)
        {
            await request.Connection.Notifier.InvalidateInodeAsync(request.NodeId, offset: -1);
        }
    }

    private static LockRange ToRange(in FuseFileLock fuse) => new((LockType)fuse.Type, fuse.Start, fuse.End, fuse.Pid);

    /// <summary>
    /// Files that several nodes have open bypass the page cache: a cached write holds its pages until it is answered, and of two nodes that write
    /// at the same time each would wait for the other to drop pages. So at most one node, the first writer, has cached handles.
    /// </summary>
    private static FuseOpenFlags CachingOf(in OpenReply reply) => reply.Mode == DataMode.Through ? FuseOpenFlags.DIRECT_IO : FuseOpenFlags.None;

    private static void ReplyOpen(FuseRequest request, Status status, ulong handle, FuseOpenFlags flags)
    {
        KillPoint.Hit("node.before-reply");
        if (status == Status.OK)
        {
            request.ReplyOpen(handle, flags);
        }
        else
        {
            request.ReplyError(status.ToErrno());
        }
    }

    private void SetLock(FuseRequest request, bool wait) => request.Run((this, wait), static async (r, state) =>
    {
        var (self, wait) = state;
        var input = r.In<FuseLkIn>();
        if (self.Volume.Files.IsEnded(input.Fh))
        {
            // Also to drop a lock: it was lost, and who does not hear that believes that he had it.
            r.ReplyError(Errno.EIO);
            return;
        }

        var operation = self.Volume.Session.Begin(r.Unique, r.IsResent);
        try
        {
            if (wait)
            {
                operation.Interrupted = r.InterruptToken;
            }

            ReplyStatus(r, (input.LkFlags & FuseLkFlags.FLOCK) != 0
                ? await self.Volume.Locks.SetFlockAsync(operation, r.NodeId, input.Owner, wait, (LockType)input.Lock.Type)
                : await self.Volume.Locks.SetAsync(operation, r.NodeId, input.Fh, input.Owner, wait, ToRange(input.Lock)));
        }
        finally
        {
            operation.Complete();
        }
    });

    private void List(FuseRequest request, bool plus) => request.Run((this, plus), static async (r, state) =>
    {
        var (self, plus) = state;
        var input = r.In<FuseReadIn>();
        if (self._ends.TryGetValue(input.Fh, out var end) && input.Offset == end)
        {
            r.ReplyData(ReadOnlySpan<byte>.Empty);
            return;
        }

        // An entry of READDIRPLUS takes 152 bytes and its name where the server counts 24: ask for what will fit.
        var wanted = plus ? input.Size / 4 : input.Size;
        var (status, reply, lease) = await self.Volume.Namespace.ReadDirAsync(r.NodeId, input.Offset, wanted, plus);
        if (status != Status.OK)
        {
            r.ReplyError(status.ToErrno());
            return;
        }

        using var telling = self.Volume.Leases.Tell(lease);
        var filled = Fill(self, r.NodeId, reply, telling, r.RentReply((int)input.Size).Span, plus, out var count);
        if (reply.End && count == reply.Entries.Length)
        {
            self._ends[input.Fh] = count > 0 ? reply.Entries[^1].Cookie : input.Offset;
        }

        r.ReplyData(filled);
    });

    private static ReadOnlySpan<byte> Fill(
        VolumeFileSystemData self, ulong directory, in ReadDirReply reply, in LeaseTable.Telling telling, Span<byte> buffer, bool plus,
        out int count)
    {
        var writer = new DirentWriter(buffer);
        count = 0;
        foreach (ref readonly var entry in reply.Entries.AsSpan())
        {
            var name = entry.Name.Span;
            bool fits;
            if (!plus)
            {
                fits = writer.TryAdd(entry.Ino, entry.Cookie, entry.Type, name);
            }
            else
            {
                // The kernel counts no reference for the two dot entries, nor for those without attributes.
                var isBare = entry.Attributes.Ino == Ino.None || name.SequenceEqual("."u8) || name.SequenceEqual(".."u8);
                fits = writer.TryAddPlus(isBare ? default : Known(entry, telling), entry.Ino, entry.Cookie, entry.Type, name);
            }

            if (!fits)
            {
                break;
            }

            count++;
        }

        return buffer[..writer.Length];

        FuseEntryOut Known(in DirectoryEntry entry, in LeaseTable.Telling telling)
        {
            var attributes = self.Volume.Files.Overlay(entry.Attributes, out var isSettled);
            var attributesMs = telling.AttributesMs(entry.Ino);
            return AttributeMapping.ToEntry(attributes, self.LifeOf(attributes), telling.NameMs(directory, entry.Name.Span, entry.Ino), isSettled ? attributesMs : 0);
        }
    }

    /// <remarks>Attributes go without a time-out: the file is open for writing, mostly, and the kernel takes them also when a recall of them has come since.</remarks>
    private void ReplyCreate(FuseRequest request, Status status, ulong handle, in OpenReply reply, long nameMs)
    {
        KillPoint.Hit("node.before-reply");
        if (status == Status.OK)
        {
            var attributes = Volume.Files.Overlay(reply.Attributes);
            request.ReplyCreate(AttributeMapping.ToEntry(attributes, LifeOf(attributes), nameMs), new FuseOpenOut { Fh = handle, OpenFlags = CachingOf(reply) });
        }
        else
        {
            request.ReplyError(status.ToErrno());
        }
    }
}
