using EphemeralFs.Client.Files;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Session;

/// <summary>Serves what the metadata server asks of the node because of other nodes.</summary>
/// <remarks>Requests come on the connection's receive thread, in order with the server's replies: what is known is dropped at once, the rest is deferred.</remarks>
internal sealed class RecallHandler(VolumeClient volume, IKernelCache kernel, TimeProvider time) : IRpcHandler
{
    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        switch (call.Header.Opcode)
        {
            case Opcode.Recall when RpcCall.TryRead<RecallRequest>(head, out var recall):
                volume.Files.Table.Recalls.Note(recall.Ino, recall.Action);
                volume.Files.Closed.Release(recall.Ino);
                var file = volume.Files.Table.Find(recall.Ino);
                if (file is null)
                {
                    call.Reply(default(Empty));
                    return;
                }

                if (recall.Action == RecallAction.Invalidate)
                {
                    LayoutLoader.Forget(file);
                }

                _ = AnswerAsync(call, recall.Action, file);
                return;

            case Opcode.ForgetName when RpcCall.TryRead<ForgetNameRequest>(head, out var moved):
                _ = ForgetNameAsync(call, moved.Parent, moved.Name.ToArray());
                return;

            case Opcode.Forget when RpcCall.TryRead<ForgetRequest>(head, out var forget):
                if (forget.Deferred)
                {
                    _ = ForbidDeferringAsync(call);
                    return;
                }

                (ulong Parent, byte[] Name)[] names = [.. forget.Names.Select(name => (name.Parent, name.Name.ToArray()))];

                Task told;
                if (forget.Everything)
                {
                    told = volume.BeginRecallOfEverything();
                    volume.Files.Closed.ReleaseEverything();
                }
                else
                {
                    // What the node knows goes first: who finds it there until then has asked before the recall begins, and tells the kernel nothing that lasts.
                    // And once more after it: until it begins, an answer of before counts as new.
                    Forget(names, forget.Inodes);
                    told = volume.Leases.BeginRecall(names, forget.Inodes);
                    Forget(names, forget.Inodes);
                }

                foreach (var ino in forget.Inodes)
                {
                    volume.Files.Closed.Release(ino);
                }

                _ = ForgetAsync(call, forget.Everything ? ForgetEverythingAsync(told) : ForgetAsync(told, names, forget.Inodes));
                return;

            case Opcode.RecallGrant when RpcCall.TryRead<RecallGrantRequest>(head, out _):
                call.Reply(new RecallGrantReply((ulong)volume.Grants.Surrender()));
                return;

            default:
                call.Fail(Status.UnknownOpcode);
                return;
        }
    }

    public void OnDisconnected(RpcPeer peer)
    {
        // The session's client connects again; the server repeats recalls that were not acknowledged.
    }

    private void Forget((ulong Parent, byte[] Name)[] names, ulong[] inodes)
    {
        volume.Attributes.Forget(inodes);
        foreach (var (parent, name) in names)
        {
            volume.Names.MayChange(parent, name);
        }
    }

    private async Task ForgetNameAsync(RpcCall call, ulong parent, byte[] name)
    {
        await kernel.ForgetNameAsync(parent, name);
        call.Reply(default(Empty));
    }

    /// <summary>Acknowledges when the server has heard of everything; else it hears of it, and asks again, on a connection of the successor.</summary>
    private async Task ForbidDeferringAsync(RpcCall call)
    {
        try
        {
            if (await volume.Creates.ForbidAsync())
            {
                call.Reply(default(Empty));
            }
        }
        catch (Exception exception)
        {
            RpcTrace.Sink($"telling of deferred files failed: {exception}");
            call.Fail(Status.Internal);
        }
    }

    private static async Task ForgetAsync(RpcCall call, Task forgotten)
    {
        try
        {
            await forgotten;
            call.Reply(default(Empty));
        }
        catch (Exception exception)
        {
            RpcTrace.Sink($"forgetting names failed: {exception}");
            call.Fail(Status.Internal);
        }
    }

    /// <summary>Completes when the kernel uses none of it any more.</summary>
    /// <param name="told">Completes when answers from before the recall have reached the kernel.</param>
    /// <param name="names">Names that changed.</param>
    /// <param name="inodes">Inodes whose attributes changed.</param>
    private async Task ForgetAsync(Task told, (ulong Parent, byte[] Name)[] names, ulong[] inodes)
    {
        await told;
        List<Task>? work = null;
        foreach (var directory in inodes.Concat(names.Select(name => name.Parent)).Distinct())
        {
            if (volume.Names.HasListing(directory))
            {
                // Who has the directory open may begin again at its start, and the kernel knows an old listing by the time of the last change, which can be set back.
                (work ??= []).Add(kernel.InvalidateAsync(directory).AsTask());
            }
        }

        foreach (var ino in inodes)
        {
            if (volume.Leases.MayUse(ino))
            {
                (work ??= []).Add(kernel.RecallAttributesAsync(ino).AsTask());
            }
        }

        foreach (var (parent, name) in names)
        {
            var untilMs = volume.Leases.NameUntilMs(parent, name);
            if (untilMs > time.NowMs())
            {
                (work ??= []).Add(kernel.RecallNameAsync(parent, name, untilMs, expireOnly: false).AsTask());
            }
        }

        await Task.WhenAll(work ?? []);
    }

    /// <summary>Completes when the kernel asks for every name and all attributes again.</summary>
    /// <param name="told">Completes when answers from before have reached it.</param>
    /// <remarks>Names only expire: most of them are still what they were, and to drop a name takes away what is mounted on it.</remarks>
    internal async Task ForgetEverythingAsync(Task told)
    {
        const int AtOnce = 1024;
        await told;
        var everything = volume.Leases.Everything();
        if (everything.Names.Count > 0)
        {
            await UntilAsync(everything.SettledMs);
        }

        foreach (var some in everything.Inodes.Chunk(AtOnce))
        {
            await Task.WhenAll(some.Select(ino => kernel.RecallAttributesAsync(ino).AsTask()));
        }

        foreach (var some in everything.Names.Chunk(AtOnce))
        {
            await Task.WhenAll(some.Select(name => kernel.RecallNameAsync(name.Parent, name.Name, name.UntilMs, expireOnly: true).AsTask()));
        }

        await UntilAsync(everything.UnknownUntilMs);
    }

    private Task UntilAsync(long timeMs) =>
        timeMs - time.NowMs() is > 0 and var left ? Task.Delay(TimeSpan.FromMilliseconds(left), time) : Task.CompletedTask;

    private async Task AnswerAsync(RpcCall call, RecallAction action, FileNode file)
    {
        try
        {
            if (action == RecallAction.GoThrough)
            {
                await volume.GoThroughAsync(file, kernel);
            }
            else
            {
                await kernel.InvalidateAsync(file.Ino);
            }

            call.Reply(default(Empty));
        }
        catch (Exception exception)
        {
            RpcTrace.Sink($"recall of inode {file.Ino} failed: {exception}");
            call.Fail(Status.Internal);
        }
    }
}
