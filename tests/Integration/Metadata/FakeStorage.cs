using System.Collections.Concurrent;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>A storage server as the metadata server sees it: notes what it is told, and which blocks it would have.</summary>
internal sealed class FakeStorage : IRpcHandler, IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("efs-st-").FullName;
    private readonly HashSet<ulong> _blocks = [];
    private RpcServer? _server;

    public FakeStorage(bool start = true)
    {
        Endpoint = Endpoint.Unix(Path.Combine(_directory, "s"));
        if (start)
        {
            Start();
        }
    }

    public Endpoint Endpoint { get; }

    public ConcurrentBag<ulong> Deleted { get; } = [];

    public ConcurrentBag<uint> DroppedVolumes { get; } = [];

    public ConcurrentBag<LiveSessionsRequest> Sessions { get; } = [];

    /// <summary>Blocks that were put here and not deleted, in ascending order.</summary>
    public ulong[] Blocks
    {
        get
        {
            lock (_blocks)
            {
                return [.. _blocks.Order()];
            }
        }
    }

    public void Start()
    {
        _server = new RpcServer(Endpoint, this);
        _server.Start();
    }

    public ServerStatus Status(uint id) => new(ServerRole.Storage, id, $"s{id}", Endpoint.Text, "", 1, true, 0, [], []);

    /// <summary>A node has written a block.</summary>
    public void Put(ulong block)
    {
        lock (_blocks)
        {
            _blocks.Add(block);
        }
    }

    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        if (RpcCall.TryRead<DeleteBlocksRequest>(head, out var delete) && call.Header.Opcode == Opcode.DeleteBlocks)
        {
            lock (_blocks)
            {
                _blocks.ExceptWith(delete.BlockIds);
            }

            foreach (var id in delete.BlockIds)
            {
                Deleted.Add(id);
            }
        }
        else if (RpcCall.TryRead<DeleteVolumeBlocksRequest>(head, out var drop) && call.Header.Opcode == Opcode.DeleteVolumeBlocks)
        {
            var volume = drop.Volume;
            lock (_blocks)
            {
                _blocks.RemoveWhere(id => BlockId.VolumeOf(id) == volume);
            }

            DroppedVolumes.Add(volume);
        }
        else if (RpcCall.TryRead<LiveSessionsRequest>(head, out var sessions) && call.Header.Opcode == Opcode.LiveSessions)
        {
            Sessions.Add(sessions);
        }

        call.Reply(default(Empty));
    }

    public void OnDisconnected(RpcPeer peer)
    {
    }

    public void Dispose()
    {
        _server?.Dispose();
        Directory.Delete(_directory, true);
    }
}
