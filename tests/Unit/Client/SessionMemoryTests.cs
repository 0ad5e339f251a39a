using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>A mount's memory goes when its session was disposed, while answers may still be on their way to it.</summary>
public sealed class SessionMemoryTests : IRpcHandler
{
    [Fact]
    public async Task What_is_asked_of_a_session_does_not_need_its_memory()
    {
        using var memory = new ZeroedMemory();
        var mapped = memory.Map();
        (mapped.Header.Life, mapped.Header.Volume, mapped.Header.Session, mapped.Header.Epoch) = (3, 7, 9, 1);
        var session = new MetadataSession(Endpoint.Unix("/nowhere/efs.sock"), "volume", "node", mapped, this);
        var resent = session.Begin(unique: 5, resent: true);
        session.Dispose();
        memory.Ruin();
        Assert.Equal((3ul, 7u, 9ul), (session.Life, session.Volume, session.Id));
        Assert.Equal((0u, SlotTable.Lost), await session.Slots.AcquireAsync(resent));
    }

    void IRpcHandler.OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body) => throw new InvalidOperationException("nobody asks");

    void IRpcHandler.OnDisconnected(RpcPeer peer)
    {
    }
}
