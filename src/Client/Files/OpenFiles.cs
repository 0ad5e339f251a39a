using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>What a program does with open files: read, write, flush, close, and the calls that change where bytes are. How they are opened: <see cref="FileOpener"/>.</summary>
public sealed class OpenFiles(
    MetadataSession session, FileTable table, FileReader reader, FileWriter writer, FileFlusher flusher, LayoutLoader layouts,
    Func<ulong, ValueTask> writeBackPages, AttributeCache attributes, DeferredCreates creates, LostLog lost)
{
    /// <summary>What the kernel's pages of closed files agree with.</summary>
    internal PageVersions Pages { get; } = new();

    /// <summary>Where files of sessions that have ended were open, for what is still found to be lost of them.</summary>
    internal IReadOnlyDictionary<ulong, string> EndedPaths { get; set; } = new Dictionary<ulong, string>();

    /// <summary>Handles that programs have closed.</summary>
    internal ClosedHandles Closed { get; set; } = null!;

    /// <summary>The table of handles.</summary>
    public FileTable Table { get; } = table;

    /// <summary>Reads; fewer bytes than asked only at the end of the file.</summary>
    public async ValueTask<(Errno Errno, int Read)> ReadAsync(Operation operation, ulong handle, ulong offset, Memory<byte> target)
    {
        if (!TryGetFile(handle, out _, out var file))
        {
            return (NoFile(handle), 0);
        }

        var errno = await EnsureRegisteredAsync(file);
        return errno != Errno.OK ? (errno, 0) : await reader.ReadAsync(file, offset, target, operation.Interrupted);
    }

    /// <summary>Writes. With O_APPEND on a file that other nodes write too, the server decides where; <c>Offset</c> tells.</summary>
    /// <remarks>
    /// <paramref name="isPage"/>: the bytes of a page that a program wrote earlier, through a mapping. They belong to their offset, and nobody waits for
    /// them: the kernel may write them back because another node wants them dropped, whose write they would wait for in turn.
    /// </remarks>
    public async ValueTask<(Errno Errno, int Written, ulong Offset)> WriteAsync(
        Operation operation, ulong handle, ulong offset, ReadOnlyMemory<byte> data, bool killSuidgid, bool isPage = false)
    {
        if (!TryGetFile(handle, out var record, out var file))
        {
            if (isPage && IsEnded(handle))
            {
                // Nobody hears of this but who calls msync: it belongs to what the end of the session has cost.
                lost.Add(new LostFile(Clock.NowNs(), record.Ino, (ulong)data.Length, LostReason.SessionEnded, EndedPaths.GetValueOrDefault(record.Ino, "")));
            }

            return (NoFile(handle), 0, offset);
        }

        var errno = await EnsureRegisteredAsync(file, isPage);
        if (errno != Errno.OK)
        {
            return (errno, 0, offset);
        }

        if (file.IsQuiet && !isPage)
        {
            errno = await WakeAsync(file, record);
            if (errno != Errno.OK)
            {
                return (errno, 0, offset);
            }
        }

        var flags = (HandleFlags)record.Flags;
        if (file.Mode == DataMode.Through && (flags & HandleFlags.Append) != 0 && !isPage)
        {
            return await flusher.AppendAsync(operation, file, data, killSuidgid);
        }

        var through = !isPage && (file.Mode == DataMode.Through || (flags & HandleFlags.Sync) != 0);
        var kind = isPage ? WriteKind.Page : (flags & HandleFlags.Append) != 0 ? WriteKind.Append : WriteKind.Bytes;
        var (error, written) = await writer.WriteAsync(operation, file, offset, data, through, killSuidgid, kind);
        if (kind == WriteKind.Append && error == Errno.OK && written == 0 && data.Length > 0)
        {
            return await flusher.AppendAsync(operation, file, data, killSuidgid);
        }

        if (file.IsQuiet && !isPage && error == Errno.OK)
        {
            // Another program closed the file meanwhile.
            error = await WakeAsync(file, record);
            if (error == Errno.OK && file.Mode == DataMode.Through)
            {
                error = await flusher.FlushAsync(file);
            }
        }

        if (isPage && file.Mode == DataMode.Through)
        {
            flusher.FlushInBackground(file);
        }

        return (through ? Told(file, handle, error) : error, written, offset);
    }

    /// <summary>One close(2) of a handle: everything written is committed, and errors of late writes are told.</summary>
    public async ValueTask<Errno> FlushAsync(ulong handle)
    {
        if (!TryGetFile(handle, out var record, out var file))
        {
            return IsEnded(handle) && (record.Flags & (ulong)HandleFlags.Write) != 0 ? Errno.EIO : Errno.OK;
        }

        if ((record.Flags & (ulong)HandleFlags.Write) == 0)
        {
            // What it was opened with may have made it.
            return Told(file, handle, (await creates.SendAsync(file.Ino)).ToErrno());
        }

        // Bytes of a file without a name die with its last handle.
        var errno = file.Nlink == 0 ? Errno.OK : await flusher.FlushAsync(file, becomesQuiet: file.Writers == 1);
        return Told(file, handle, errno);
    }

    /// <summary>fsync(2): as <see cref="FlushAsync"/>, also for a file without a name, which may be given one (O_TMPFILE).</summary>
    public async ValueTask<Errno> SyncAsync(ulong handle) =>
        TryGetFile(handle, out _, out var file) ? Told(file, handle, await flusher.FlushAsync(file)) : IsEnded(handle) ? Errno.EIO : Errno.OK;

    /// <summary>Whether the session under which a handle was opened has ended: nothing but closing it works.</summary>
    public bool IsEnded(ulong handle) => Table.IsEnded(handle);

    /// <summary>Commits everything that is unflushed on the mount.</summary>
    public async ValueTask<Errno> FlushAllAsync()
    {
        var first = Errno.OK;
        foreach (var file in Table.Snapshot())
        {
            var errno = await flusher.FlushAsync(file);
            first = first == Errno.OK ? errno : first;
        }

        return first;
    }

    /// <summary>The kernel's last reference to a handle is gone.</summary>
    public async ValueTask CloseAsync(Operation operation, ulong handle)
    {
        if (!Table.TryGet(handle, out var record))
        {
            return;
        }

        if (IsEnded(handle))
        {
            Table.Remove(handle);
            return;
        }

        if (TryGetFile(handle, out _, out var file) && Table.IsLast(file))
        {
            if (file.Nlink == 0)
            {
                await file.Gate.WaitAsync();
                flusher.Discard(file);
                file.Gate.Release();
            }
            else
            {
                // close(2) has told of errors already; what fails only now (a mapping written after it) nobody can be told.
                await flusher.FlushAsync(file);
                lock (file.Lock)
                {
                    Pages.Keep(file.Ino, file.PagesVersion);
                }
            }
        }

        if (file is null or { Nlink: > 0, IsInherited: false })
        {
            Closed.Close(handle, record.Ino);
            return;
        }

        // Space, or locks that only the server knows, wait for this.
        var closed = await session.MutateAsync<CloseRequest, Empty>(operation, new(record.OpenId));
        if (closed.IsOk || IsEnded(handle))
        {
            Table.Remove(handle);
        }
        else
        {
            // The server is away, or this daemon leaves the mount to a successor: it is told later, or by that one.
            Closed.CloseUnknown(handle);
        }
    }

    /// <summary>The server's attributes of an inode with what this node has not committed yet.</summary>
    public async ValueTask<Found> GetAttrAsync(ulong ino)
    {
        if (attributes.TryGet(ino, out var known, out var lease))
        {
            return See(known, lease);
        }

        var question = attributes.Ask();
        return await SeeAsync(question, await session.QueryAsync<GetAttrRequest, EntryReply>(new(ino)));
    }

    /// <summary>An answer of the server as a program on this node sees it.</summary>
    internal async ValueTask<Found> SeeAsync(AttributeCache.Question question, RpcResult<EntryReply> result)
    {
        if (result.IsOk && result.Value.Attributes.IsRegular && attributes.IsOvertaken(question, result.Value.Attributes.Ino)
            && Table.Find(result.Value.Attributes.Ino) is null or { Committed.DataVersion: 0 })
        {
            // What a program here had written before it asked may have been committed after the answer, and the file closed: nothing here knows of it any more.
            question = attributes.Ask();
            result = await session.QueryAsync<GetAttrRequest, EntryReply>(new(result.Value.Attributes.Ino));
        }

        if (!result.IsOk)
        {
            return new Found(result.Status, default, question.Offer.With(result.Flags));
        }

        // What has changed since it was asked is told whoever asked then, and kept by nobody.
        var isNow = attributes.Learn(question, result.Value.Attributes, result.Flags);
        return See(result.Value.Attributes, question.Offer.With(isNow ? result.Flags : result.Flags & ~FrameFlags.AttributesLeased));
    }

    /// <summary>What to tell a kernel that has sent a request again: the answer may be of a time when a predecessor had asked, and files have other bytes by now.</summary>
    internal async ValueTask<Found> AsItIsNowAsync(Operation operation, Found answered)
    {
        if (!operation.IsResent || answered.Status != Status.OK)
        {
            return answered;
        }

        var now = await GetAttrAsync(answered.Attributes.Ino);
        return now.Status == Status.OK ? now : answered;
    }

    /// <summary>An answer to an operation that made a name.</summary>
    internal Found See(in AttributeCache.Question question, in RpcResult<NameReply> result)
    {
        if (!result.IsOk)
        {
            return new Found(result.Status, default, question.Offer.With(result.Flags));
        }

        attributes.Learn(question, result.Value.Attributes, result.Flags);
        attributes.Learn(question, result.Value.Parent, result.Flags);
        return See(result.Value.Attributes, question.Offer.With(result.Flags));
    }

    /// <summary>What this node is writing, or may be, its kernel does not cache: it changes without a recall.</summary>
    internal Found See(in InodeAttributes committed, LeaseOffer lease)
    {
        var seen = Overlay(committed, out var isSettled);
        return new Found(Status.OK, seen, isSettled ? lease : lease with { Granted = lease.Granted & ~FrameFlags.AttributesLeased });
    }

    /// <summary>Attributes as a program on this node sees them.</summary>
    public InodeAttributes Overlay(in InodeAttributes attributes) => Overlay(attributes, out _);

    /// <summary>The same; <paramref name="isSettled"/> tells that nothing on this node is going to change them without the kernel's knowledge.</summary>
    public InodeAttributes Overlay(in InodeAttributes attributes, out bool isSettled)
    {
        isSettled = true;
        if (Table.Find(attributes.Ino) is { } file)
        {
            lock (file.Lock)
            {
                isSettled = file.Writers == 0 && file.SegmentCount == 0 && file.Mode == DataMode.Cached;
                return file.Overlay(attributes);
            }
        }

        return attributes;
    }

    /// <summary>Changes attributes; unflushed bytes are committed first where the change would otherwise be undone by their commit.</summary>
    public async ValueTask<(Status Status, InodeAttributes Attributes)> SetAttrAsync(Operation operation, SetAttrRequest request)
    {
        var (status, attributes) = await ChangeAttributesAsync(operation, request);
        var now = await AsItIsNowAsync(operation, new Found(status, attributes, LeaseOffer.None));
        return (now.Status, now.Attributes);
    }

    private async ValueTask<(Status Status, InodeAttributes Attributes)> ChangeAttributesAsync(Operation operation, SetAttrRequest request)
    {
        const SetAttrFields ordered = SetAttrFields.Size | SetAttrFields.Mtime | SetAttrFields.MtimeNow | SetAttrFields.KillSuidgid
            | SetAttrFields.Mode | SetAttrFields.Uid | SetAttrFields.Gid;
        var file = (request.Fields & ordered) == 0 ? null : Table.Find(request.Ino);
        if (file is null)
        {
            var result = await AskToSetAsync(operation, request);
            if (result.IsOk && (request.Fields & SetAttrFields.Size) != 0)
            {
                // What is kept for the next open, or was opened meanwhile, does not know where the file ends now.
                Closed.Release(request.Ino, now: false);
                if (Table.Find(request.Ino) is { } opened)
                {
                    Relearn(opened, result.Status, result.Value.Attributes);
                }
            }

            return (result.Status, result.IsOk ? Overlay(result.Value.Attributes) : default);
        }

        if ((request.Fields & (SetAttrFields.Mtime | SetAttrFields.MtimeNow | SetAttrFields.Size)) == SetAttrFields.Mtime && file.Writers > 0)
        {
            // Stores through a mapping that the kernel wrote back later would move the time that is set now: have them first.
            await writeBackPages(request.Ino);
        }

        return await ChangeAsync(file, async () =>
        {
            var result = await AskToSetAsync(operation, request);
            if (result.IsOk)
            {
                lock (file.Lock)
                {
                    if ((request.Fields & SetAttrFields.Size) != 0 && file.Layout.Advance(result.Value.Attributes.DataVersion))
                    {
                        file.Layout.Truncate(request.Size);
                    }

                    file.LearnOwn(result.Value.Attributes);
                    return (Status.OK, file.Overlay(result.Value.Attributes));
                }
            }

            return (Relearn(file, result.Status, default), default);
        });
    }

    private async ValueTask<RpcResult<EntryReply>> AskToSetAsync(Operation operation, SetAttrRequest request)
    {
        var change = attributes.Begin(request.Ino);
        var result = await session.MutateAsync<SetAttrRequest, EntryReply>(operation, request);
        var question = attributes.End(change);
        if (result.IsOk)
        {
            attributes.Learn(question, result.Value.Attributes, result.Flags);
        }

        return result;
    }

    /// <summary>fallocate(2).</summary>
    public async ValueTask<Status> FallocateAsync(Operation operation, ulong handle, uint mode, ulong offset, ulong length, bool killSuidgid)
    {
        if (!TryGetFile(handle, out var record, out var file))
        {
            return NoFile(handle).ToStatus();
        }

        var errno = file.IsQuiet ? await WakeAsync(file, record) : Errno.OK;
        return errno != Errno.OK ? errno.ToStatus() : (await ChangeAsync(file, async () =>
        {
            var changing = attributes.Begin(file.Ino);
            var result = await session.MutateAsync<FallocateRequest, EntryReply>(operation, new(file.Ino, mode, offset, length, killSuidgid));
            attributes.End(changing);
            return (Relearn(file, result.Status, result.Value.Attributes), default);
        })).Status;
    }

    /// <summary>copy_file_range(2) by reference. EXDEV: the kernel copies instead.</summary>
    public async ValueTask<(Status Status, ulong Copied)> CloneAsync(
        Operation operation, ulong sourceHandle, ulong sourceOffset, ulong targetHandle, ulong targetOffset, ulong length)
    {
        if (!TryGetFile(sourceHandle, out _, out var source) || !TryGetFile(targetHandle, out var record, out var target))
        {
            return ((IsEnded(sourceHandle) ? Errno.EIO : NoFile(targetHandle)).ToStatus(), 0);
        }

        if (target.IsQuiet && await WakeAsync(target, record) is not Errno.OK and var asleep)
        {
            return (asleep.ToStatus(), 0);
        }

        if (source != target)
        {
            var errno = await flusher.FlushAsync(source);
            if (errno != Errno.OK)
            {
                return (errno.ToStatus(), 0);
            }
        }

        ulong copied = 0;
        var (status, _) = await ChangeAsync(target, async () =>
        {
            var request = new CloneRequest(source.Ino, sourceOffset, target.Ino, targetOffset, length);
            var changing = attributes.Begin(target.Ino);
            var result = await session.MutateAsync<CloneRequest, CloneReply>(operation, request);
            attributes.End(changing);
            copied = result.Value.Copied;
            return (Relearn(target, result.Status, result.Value.Attributes), default);
        });
        return (status, copied);
    }

    /// <summary>lseek(2) with SEEK_DATA or SEEK_HOLE.</summary>
    public async ValueTask<(Status Status, ulong Offset)> SeekAsync(ulong handle, ulong offset, uint whence)
    {
        if (!TryGetFile(handle, out _, out var file))
        {
            return (NoFile(handle).ToStatus(), 0);
        }

        var errno = await flusher.FlushAsync(file);
        if (errno != Errno.OK)
        {
            return (errno.ToStatus(), 0);
        }

        var result = await session.QueryAsync<SeekRequest, SeekReply>(new(file.Ino, offset, whence));
        return (result.Status, result.Value.Offset);
    }

    /// <summary>The number of names changed: bytes of a file without names need no flush at close.</summary>
    public void SetNlink(in InodeAttributes attributes)
    {
        if (Table.Find(attributes.Ino) is { } file)
        {
            lock (file.Lock)
            {
                file.Nlink = attributes.Nlink;
            }
        }
    }

    /// <summary>Flushes, then changes committed state, with nobody in between.</summary>
    private async ValueTask<(Status Status, InodeAttributes Attributes)> ChangeAsync(
        FileNode file, Func<ValueTask<(Status Status, InodeAttributes Attributes)>> change)
    {
        await file.Gate.WaitAsync();
        try
        {
            var errno = await flusher.FlushLockedAsync(file);
            return errno != Errno.OK ? (errno.ToStatus(), default) : await change();
        }
        finally
        {
            file.Gate.Release();
        }
    }

    /// <summary>An error that a program hears now is not told to the same handle again.</summary>
    private static Errno Told(FileNode file, ulong handle, Errno errno)
    {
        var late = file.TakeWriteError(handle);
        return errno != Errno.OK ? errno : late;
    }

    private static Status Relearn(FileNode file, Status status, in InodeAttributes attributes)
    {
        // Also when it failed: without an answer it may have happened all the same.
        lock (file.Lock)
        {
            file.Layout.Clear();
            if (status == Status.OK)
            {
                file.LearnOwn(attributes);
            }
        }

        return status;
    }

    /// <summary>After a daemon restart: tells the server of inherited handles again and learns how the data may be treated. After a silence: waits until it is
    /// sure that the session lives, but for pages (<paramref name="isPage"/>), which the kernel may write back because of the silence.</summary>
    internal async ValueTask<Errno> EnsureRegisteredAsync(FileNode file, bool isPage = false)
    {
        if (!session.IsConfirmed && !isPage && await session.ConfirmAsync() is var status && status != Status.OK)
        {
            return status.ToErrno();
        }

        if (file.IsEnded)
        {
            return Errno.EIO;
        }

        if (file.IsRegistered)
        {
            return Errno.OK;
        }

        var mode = DataMode.Cached;
        foreach (var record in Table.HandlesOf(file.Ino))
        {
            var operation = session.BeginFor(file.Life);
            var flags = (record.Flags & (ulong)HandleFlags.Write) != 0 ? OpenFlags.Write : OpenFlags.None;
            var result = await session.MutateAsync<OpenRequest, OpenReply>(operation, new(file.Ino, record.OpenId, flags));
            operation.Complete();
            if (!result.IsOk)
            {
                return result.Errno;
            }

            mode = result.Value.Mode == DataMode.Through ? DataMode.Through : mode;
            lock (file.Lock)
            {
                file.Learn(result.Value.Attributes);
            }
        }

        lock (file.Lock)
        {
            file.Mode = mode == DataMode.Through ? mode : file.Mode;
            file.IsRegistered = true;
        }

        return await layouts.EnsureAsync(file, 1);
    }

    /// <summary>What is wrong with a handle that <see cref="TryGetFile"/> does not find.</summary>
    private Errno NoFile(ulong handle) => IsEnded(handle) ? Errno.EIO : Errno.EBADF;

    /// <summary>
    /// A copy of a descriptor that another program has closed is about to write: the server is told first. (A page that the kernel writes back does not wait
    /// for that, since other nodes may wait for the page.)
    /// </summary>
    private async ValueTask<Errno> WakeAsync(FileNode file, HandleRecord record)
    {
        await file.Gate.WaitAsync();
        try
        {
            if (!file.IsQuiet)
            {
                return Errno.OK;
            }

            var operation = session.BeginFor(file.Life);
            var result = await session.MutateAsync<OpenRequest, OpenReply>(operation, new(file.Ino, record.OpenId, OpenFlags.Write));
            operation.Complete();
            if (!result.IsOk)
            {
                return result.Errno;
            }

            lock (file.Lock)
            {
                file.IsQuiet = false;
                file.Learn(result.Value.Attributes);
                file.Mode = result.Value.Mode == DataMode.Through ? DataMode.Through : file.Mode;
            }

            return Errno.OK;
        }
        finally
        {
            file.Gate.Release();
        }
    }

    internal bool TryGetFile(ulong handle, out HandleRecord record, out FileNode file)
    {
        file = null!;
        if (!Table.TryGet(handle, out record) || ((HandleFlags)record.Flags & (HandleFlags.Directory | HandleFlags.Ended)) != 0
            || Table.Find(record.Ino) is not { } found)
        {
            return false;
        }

        file = found;
        return true;
    }
}
