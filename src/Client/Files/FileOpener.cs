using EphemeralFs.Client.Leases;
using EphemeralFs.Client.Namespace;
using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>How files come to be open: open, create, and look-ups that are for an open.</summary>
public sealed class FileOpener(
    MetadataSession session, GrantPool grants, FileTable table, FileFlusher flusher, OpenFiles files, AttributeCache attributes, KnownNames names, LookupIntents intents,
    DeferredCreates creates)
{
    /// <summary>Opens a file or directory. <c>KeepPages</c>: what the kernel has cached of the file's bytes is what they are.</summary>
    public async ValueTask<(Status Status, ulong Handle, OpenReply Reply, bool KeepPages)> OpenAsync(
        Operation operation, ulong ino, HandleFlags flags, OpenFlags open)
    {
        if (operation.IsResent && table.FindUnanswered(operation.Unique) is > 0 and var unanswered)
        {
            if (files.IsEnded(unanswered))
            {
                table.Remove(unanswered);
                return (Status.StaleEpoch, 0, default, false);
            }

            return await AnswerAgainAsync(unanswered);
        }

        if ((open & ~OpenFlags.Directory) == 0)
        {
            intents.Opened(ino);
            if (files.Closed.TryReopen(ino, flags, operation, out var reopened, out var keepPages))
            {
                return (Status.OK, reopened, default, keepPages);
            }
        }

        if (!table.TryReserve(out var handle))
        {
            return (Errno.EMFILE.ToStatus(), 0, default, false);
        }

        List<int>? cut = null;
        var known = table.Find(ino);
        if (known is not null && (open & OpenFlags.Truncate) != 0)
        {
            // What is unflushed now is cut by the server's truncation; later writes are not.
            await known.Gate.WaitAsync();
            lock (known.Lock)
            {
                cut = [.. known.Segments.Values.SelectMany(list => list)];
            }
        }

        try
        {
            // Only cutting it changes the file.
            var change = (open & OpenFlags.Truncate) != 0 ? attributes.Begin(ino) : default;
            var asked = Ask();
            var result = await session.MutateAsync<OpenRequest, OpenReply>(operation, new(ino, operation.Unique, open));
            if ((open & OpenFlags.Truncate) != 0)
            {
                asked = asked with { Attributes = attributes.End(change) };
            }

            if (result.IsOk)
            {
                attributes.Learn(asked.Attributes, result.Value.Attributes, result.Flags);
            }

            if (cut is not null && result.IsOk)
            {
                flusher.Discard(known!, cut);
            }

            return await OpenedAsync(operation, handle, flags, open, result, asked);
        }
        finally
        {
            if (cut is not null)
            {
                known!.Gate.Release();
            }
        }
    }

    /// <summary>A predecessor opened the handle and did not say so.</summary>
    private async ValueTask<(Status Status, ulong Handle, OpenReply Reply, bool KeepPages)> AnswerAgainAsync(ulong handle)
    {
        if (!files.TryGetFile(handle, out _, out var file))
        {
            return (Status.OK, handle, default, false);
        }

        var errno = await files.EnsureRegisteredAsync(file);
        return (errno.ToStatus(), handle, new OpenReply { Mode = file.Mode }, false);
    }

    /// <summary>Finds or makes a file and opens it.</summary>
    public async ValueTask<(Status Status, ulong Handle, OpenReply Reply, LeaseOffer Lease)> CreateAsync(
        Operation operation, ulong parent, ReadOnlyMemory<byte> name, uint mode, uint uid, uint gid, HandleFlags flags, OpenFlags open)
    {
        var (status, ino) = await grants.TakeInodeAsync();
        if (status != Status.OK)
        {
            return (status, 0, default, LeaseOffer.None);
        }

        if (!table.TryReserve(out var handle))
        {
            return (Errno.EMFILE.ToStatus(), 0, default, LeaseOffer.None);
        }

        var request = new CreateRequest(parent, ino, name, mode, uid, gid, operation.Unique, open);
        if (!operation.IsResent && creates.TryDefer(request, operation.Life, out var made, out var lease))
        {
            try
            {
                var layout = new LayoutReply(made, IsInline: false, default, [], CoveredEnd: ulong.MaxValue);
                (status, handle, var deferred, _) = await OpenedAsync(operation, handle, flags, open, new(Status.OK, new OpenReply(DataMode.Cached, Created: true, layout)), Ask());
                return (status, handle, deferred, lease);
            }
            finally
            {
                creates.Publish(ino);
            }
        }

        names.MayChange(parent, name.Span);
        var change = attributes.Begin(parent);
        var asked = Ask();
        var mayDefer = creates.Ask();
        var result = await session.MutateAsync<CreateRequest, CreateReply>(operation, request);
        var question = attributes.End(change);
        creates.Learn(mayDefer, result);
        if (result.IsOk)
        {
            attributes.Learn(question, result.Value.File.Attributes, result.Flags);
            if (result.Value.Parent.Ino != Ino.None)
            {
                attributes.Learn(question, result.Value.Parent, result.Flags);
            }

            names.Made(parent, name.Span, result.Value.File.Attributes.Ino, change.ForNames(operation.IsResent), result.Flags);
        }
        else
        {
            names.MayChange(parent, name.Span);
        }

        var (opened, handled, reply, _) = await OpenedAsync(operation, handle, flags, open, new(result.Status, result.Value.File), asked);
        return (opened, handled, reply, change.Offer.With(result.Flags));
    }

    /// <summary>Makes a file without a name and opens it.</summary>
    public async ValueTask<(Status Status, ulong Handle, OpenReply Reply)> TmpfileAsync(
        Operation operation, ulong parent, uint mode, uint uid, uint gid, HandleFlags flags, OpenFlags open)
    {
        var (status, ino) = await grants.TakeInodeAsync();
        if (status != Status.OK)
        {
            return (status, 0, default);
        }

        if (!table.TryReserve(out var handle))
        {
            return (Errno.EMFILE.ToStatus(), 0, default);
        }

        var asked = Ask();
        var mayDefer = creates.Ask();
        var request = new TmpfileRequest(parent, ino, mode, uid, gid, operation.Unique, open);
        var result = await session.MutateAsync<TmpfileRequest, OpenReply>(operation, request);
        creates.Learn(mayDefer, result);
        var (opened, handled, reply, _) = await OpenedAsync(operation, handle, flags, open, result, asked);
        return (opened, handled, reply);
    }

    /// <summary>
    /// Finds a name, and has the server open the file in the same request, to be read by the program that will open it next. <see cref="KeepAhead"/> follows when
    /// the answer has been learned.
    /// </summary>
    /// <param name="parent">The directory.</param>
    /// <param name="name">The name.</param>
    /// <param name="unique">Of the kernel's request: no other handle of the session has it.</param>
    internal async ValueTask<(RpcResult<EntryReply> Found, Ahead Ahead)> LookupAsync(ulong parent, ReadOnlyMemory<byte> name, ulong unique)
    {
        if (!table.TryReserve(out var handle))
        {
            return (await session.QueryAsync<LookupRequest, EntryReply>(new(parent, name)), default);
        }

        table.Announce(handle, unique);
        var asked = table.Recalls.Ask();
        var operation = session.Begin();
        var life = operation.Life;
        var result = await session.MutateAsync<OpenNameRequest, OpenNameReply>(operation, new(parent, name, unique));
        operation.Complete();
        if (result.IsOk)
        {
            var found = new RpcResult<EntryReply>(Status.OK, new EntryReply(result.Value.Layout.Attributes), Flags: result.Flags);
            if (result.Value.IsOpen)
            {
                return (found, new Ahead(handle, life, result.Value.Layout, asked));
            }

            table.Remove(handle);
            return (found, default);
        }

        if (result.Status < Status.BadRequest)
        {
            table.Remove(handle);
            return (new RpcResult<EntryReply>(result.Status, default, Flags: result.Flags), default);
        }

        files.Closed.CloseUnknown(handle);
        return result.Status == Status.Unavailable
            ? (new RpcResult<EntryReply>(result.Status, default), default)
            : (await session.QueryAsync<LookupRequest, EntryReply>(new(parent, name)), default);
    }

    /// <summary>Keeps what a look-up has opened.</summary>
    internal void KeepAhead(in Ahead ahead, in AttributeCache.Question question)
    {
        if (ahead.Handle != 0)
        {
            files.Closed.KeepAhead(ahead.Handle, ahead.Life, ahead.Layout, ahead.Asked, question);
        }
    }

    private Asked Ask() => new(table.Recalls.Ask(), attributes.Ask());

    private async ValueTask<(Status Status, ulong Handle, OpenReply Reply, bool KeepPages)> OpenedAsync(
        Operation operation, ulong handle, HandleFlags flags, OpenFlags open, RpcResult<OpenReply> result, Asked asked)
    {
        if (operation.IsResent && table.FindUnanswered(operation.Unique) is > 0 and var unanswered && (result.IsOk || files.IsEnded(unanswered)))
        {
            table.Remove(unanswered);
        }

        if (!result.IsOk)
        {
            table.Cancel(handle);
            return (result.Status, 0, default, false);
        }

        var reply = result.Value;
        var keepPages = false;
        if (!table.TryPublish(handle, reply.Attributes.Ino, operation.Unique, flags, operation.Life, out var file))
        {
            table.Cancel(handle);
            return (Status.StaleEpoch, 0, default, false);
        }

        // Afterwards, when no more handles of it are kept: what is kept does not hear what this one changes.
        files.Closed.Release(reply.Attributes.Ino, now: false);
        if (file is not null)
        {
            var goThrough = false;
            lock (file.Lock)
            {
                if (file.Handles == 1)
                {
                    file.PagesVersion = files.Pages.Take(file.Ino);
                }

                // The file can be found by now: what has happened to it before is known here.
                if (table.Recalls.MustGoThrough(asked.Data, file.Ino))
                {
                    reply = reply with { Mode = DataMode.Through };
                }

                var isCurrent = !table.Recalls.IsOvertaken(asked.Data, file.Ino) && !attributes.IsOvertaken(asked.Attributes, file.Ino)
                    && file.Learn(reply.Attributes);
                if (isCurrent && (file.Layout.CoveredEnd == 0 || file.Layout.Version != reply.Attributes.DataVersion || (open & OpenFlags.Truncate) != 0))
                {
                    file.Layout.Learn(0, reply.Layout);
                }

                goThrough = reply.Mode == DataMode.Through && file.Mode == DataMode.Cached && file.SegmentCount > 0;
                file.Mode = reply.Mode == DataMode.Through || file.Mode == DataMode.Through ? DataMode.Through : DataMode.Cached;
                file.IsRegistered |= file.Handles == 1 && !operation.IsResent;
                keepPages = isCurrent && file.Mode == DataMode.Cached && file.PagesVersion == reply.Attributes.DataVersion;
                file.PagesVersion = isCurrent && file.Mode == DataMode.Cached ? reply.Attributes.DataVersion : 0;
            }

            if (goThrough)
            {
                await flusher.FlushAsync(file);
            }

            if (operation.IsResent)
            {
                // The answer may be one from before: the predecessor may have been told since to write through.
                var errno = await files.EnsureRegisteredAsync(file);
                reply = reply with { Mode = errno == Errno.OK ? file.Mode : DataMode.Through };
                keepPages &= reply.Mode == DataMode.Cached;
            }
        }

        return (Status.OK, handle, reply, keepPages);
    }

    /// <summary>When a question went out, in recalls of data and in recalls and own changes of attributes.</summary>
    private readonly record struct Asked(long Data, AttributeCache.Question Attributes);

    /// <summary>A handle that was opened for a program which has only looked the name up; 0 for none.</summary>
    internal readonly record struct Ahead(ulong Handle, ulong Life, LayoutReply Layout, long Asked);
}
