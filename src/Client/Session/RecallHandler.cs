using EphemeralFs.Client.Files;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Session;

/// <summary>Serves what the metadata server asks of the node because of other nodes.</summary>
/// <remarks>Requests come on the connection's receive thread, in order with the server's replies: what is known is dropped at once, the rest is deferred.</remarks>
internal sealed class RecallHandler(VolumeClient volume, IKernelCache kernel) : IRpcHandler
{
    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        switch (call.Header.Opcode)
        {
            case Opcode.Recall when RpcCall.TryRead<RecallRequest>(head, out var recall):
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

    private async Task ForgetNameAsync(RpcCall call, ulong parent, byte[] name)
    {
        await kernel.ForgetNameAsync(parent, name);
        call.Reply(default(Empty));
    }

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
