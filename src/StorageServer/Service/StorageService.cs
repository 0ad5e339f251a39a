using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer.Blocks;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.StorageServer.Service;

/// <summary>Frames to operations of the block store. Each request is answered on the connection's own thread: the medium is local, a hand-over would cost more.</summary>
internal sealed class StorageService(BlockStore store) : IRpcHandler
{
    /// <summary>Most ids in one listing: half of what a message's head may have.</summary>
    private const uint ListMax = Limits.FrameHeadMaxBytes / sizeof(ulong) / 2;

    private readonly SessionFence _fence = new();
    private readonly TaskCompletionSource _shutdown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly object _idle = new(); // guards _inFlight and _stopping
    private int _inFlight;
    private bool _stopping;

    public Task ShutdownRequested => _shutdown.Task;

    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        using (body)
        {
            if (!TryEnter())
            {
                // Not answered: the caller sends it again, to the next server on this endpoint.
                return;
            }

            try
            {
                Dispatch(call, head, body);
            }
            finally
            {
                Leave();
            }
        }
    }

    public void OnDisconnected(RpcPeer peer)
    {
    }

    /// <summary>Lets no new request in and waits for those in progress: the tiers may be closed then.</summary>
    public void WaitUntilIdle()
    {
        lock (_idle)
        {
            _stopping = true;
            while (_inFlight > 0)
            {
                Monitor.Wait(_idle);
            }
        }
    }

    private void Dispatch(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        switch (call.Header.Opcode)
        {
            case Opcode.WriteBlock when RpcCall.TryRead<WriteBlockRequest>(head, out var request):
                WriteBlock(call, request, body);
                break;
            case Opcode.ReadBlock when RpcCall.TryRead<ReadBlockRequest>(head, out var request):
                ReadBlock(call, request);
                break;
            case Opcode.DeleteBlocks when RpcCall.TryRead<DeleteBlocksRequest>(head, out var request):
                DeleteBlocks(call, request);
                break;
            case Opcode.DeleteVolumeBlocks when RpcCall.TryRead<DeleteVolumeBlocksRequest>(head, out var request):
                _fence.Forget(request.Volume);
                Answer(call, store.DeleteVolume(request.Volume));
                break;
            case Opcode.ListBlocks when RpcCall.TryRead<ListBlocksRequest>(head, out var request):
                ListBlocks(call, request);
                break;
            case Opcode.LiveSessions when RpcCall.TryRead<LiveSessionsRequest>(head, out var request):
                Answer(call, _fence.Take(request));
                break;
            case Opcode.StorageStatus when RpcCall.TryRead<StorageStatusRequest>(head, out _):
                call.Reply(new StorageStatusReply(store.Tiers()));
                break;
            case Opcode.Shutdown when RpcCall.TryRead<ShutdownRequest>(head, out _):
                call.Reply(default(Empty));
                _shutdown.TrySetResult();
                break;
            case Opcode.WriteBlock or Opcode.ReadBlock or Opcode.DeleteBlocks or Opcode.DeleteVolumeBlocks or Opcode.ListBlocks
                or Opcode.LiveSessions or Opcode.StorageStatus or Opcode.Shutdown:
                call.Fail(Status.BadRequest);
                break;
            default:
                call.Fail(Status.UnknownOpcode);
                break;
        }
    }

    private void WriteBlock(in RpcCall call, in WriteBlockRequest request, PooledBuffer? body)
    {
        if (body is null)
        {
            call.Fail(Status.BadRequest);
            return;
        }

        var tier = TierClass.None;
        var status = _fence.Check(call.Header.Session, request.BlockId);
        if (status == Status.OK)
        {
            status = store.Write(request.BlockId, request.Tier, body.Span, request.Checksums, out tier);
        }

        if (status != Status.OK)
        {
            call.Fail(status);
            return;
        }

        KillPoint.Hit("storage.before-reply");
        call.Reply(new WriteBlockReply(tier));
    }

    private void ReadBlock(in RpcCall call, in ReadBlockRequest request)
    {
        var status = store.Find(request.BlockId, out var blockLength);
        if (status == Status.OK && (request.Offset >= (uint)blockLength || request.Length == 0))
        {
            status = Status.BadRequest;
        }

        if (status != Status.OK)
        {
            call.Fail(status);
            return;
        }

        var length = (int)Math.Min(request.Length, (uint)blockLength - request.Offset);
        var data = PooledBuffer.Rent(length);
        var checksums = new uint[BlockFormat.Units(length)];
        status = store.Read(request.BlockId, (int)request.Offset, data.Span, checksums);
        if (status != Status.OK)
        {
            data.Dispose();
            call.Fail(status);
            return;
        }

        call.Reply(new ReadBlockReply((uint)blockLength, checksums), data);
    }

    private void DeleteBlocks(in RpcCall call, in DeleteBlocksRequest request)
    {
        // One that fails does not keep the others.
        var status = Status.OK;
        foreach (var id in request.BlockIds)
        {
            var one = store.Delete(id);
            status = one != Status.OK ? one : status;
        }

        Answer(call, status);
    }

    private void ListBlocks(in RpcCall call, in ListBlocksRequest request)
    {
        if (request.Max == 0)
        {
            call.Fail(Status.BadRequest);
            return;
        }

        var ids = store.List(request.After, (int)Math.Min(request.Max, ListMax), out var end);
        call.Reply(new ListBlocksReply(ids, end));
    }

    private static void Answer(in RpcCall call, Status status)
    {
        if (status == Status.OK)
        {
            call.Reply(default(Empty));
        }
        else
        {
            call.Fail(status);
        }
    }

    private bool TryEnter()
    {
        lock (_idle)
        {
            _inFlight += _stopping ? 0 : 1;
            return !_stopping;
        }
    }

    private void Leave()
    {
        lock (_idle)
        {
            if (--_inFlight == 0)
            {
                Monitor.PulseAll(_idle);
            }
        }
    }
}
