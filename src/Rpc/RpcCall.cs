using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>The session fields of a request's header.</summary>
/// <param name="Session">Session id.</param>
/// <param name="Epoch">Session epoch.</param>
/// <param name="TimeNs">Time of the operation at the node, nanoseconds since the epoch.</param>
/// <param name="Slot">Slot of a mutation.</param>
/// <param name="Sequence">Sequence number of the slot, 0 for what is no slot operation.</param>
public readonly record struct CallHeader(ulong Session, uint Epoch, long TimeNs = 0, uint Slot = 0, uint Sequence = 0);

/// <summary>What a call came to. A body belongs to the receiver, who disposes it.</summary>
/// <param name="Status">The outcome.</param>
/// <param name="Value">The reply; counts only on success.</param>
/// <param name="Body">Bulk data of the reply.</param>
/// <param name="Error">One line for people that the other side sent with a failure, or empty.</param>
/// <param name="Flags">Of the reply: what of it may be cached.</param>
public readonly record struct RpcResult<T>(Status Status, T Value, PooledBuffer? Body = null, string Error = "", FrameFlags Flags = FrameFlags.None)
{
    /// <summary>Whether the call succeeded and <see cref="Value"/> counts.</summary>
    public bool IsOk => Status == Status.OK;

    /// <summary>The status as a program sees it.</summary>
    public Errno Errno => Status.ToErrno();
}

/// <summary>What serves requests that arrive on a connection.</summary>
public interface IRpcHandler
{
    /// <summary>
    /// Called on the connection's receive thread, one request at a time. <paramref name="head"/> is valid only during the call;
    /// <paramref name="body"/> belongs to the handler. The call is answered exactly once, now or later, from any thread.
    /// </summary>
    void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body);

    /// <summary>The connection is gone; replies to its calls go nowhere.</summary>
    void OnDisconnected(RpcPeer peer);
}

/// <summary>A request that waits for its answer.</summary>
public readonly struct RpcCall(RpcPeer peer, in FrameHeader header)
{
    private readonly FrameHeader _header = header;

    /// <summary>The connection that the request came from.</summary>
    public RpcPeer Peer { get; } = peer;

    /// <summary>The request's header.</summary>
    public FrameHeader Header => _header;

    /// <summary>Decodes the message; byte strings are slices of <paramref name="head"/>. False: malformed, answer <see cref="Status.BadRequest"/>.</summary>
    public static bool TryRead<T>(ReadOnlyMemory<byte> head, out T message)
        where T : struct, IWireMessage<T>
    {
        var reader = new WireReader(head, copy: false);
        message = T.Read(ref reader);
        return reader.AtEnd;
    }

    /// <summary>Answers with success.</summary>
    public void Reply<T>(in T message)
        where T : struct, IWireMessage<T> => Peer.SendMessage(ReplyHeader(Status.OK), message, null);

    /// <summary>Answers with success and bulk data, which is disposed when sent.</summary>
    public void Reply<T>(in T message, PooledBuffer body)
        where T : struct, IWireMessage<T> => Peer.SendMessage(ReplyHeader(Status.OK), message, body);

    /// <summary>Answers with an encoded message.</summary>
    /// <param name="status">The outcome.</param>
    /// <param name="head">The message.</param>
    /// <param name="leased">What of it may be cached.</param>
    public void ReplyRaw(Status status, ReadOnlySpan<byte> head, FrameFlags leased = FrameFlags.None) =>
        Peer.Send(ReplyHeader(status) with { Flags = FrameFlags.Reply | leased }, head, default, null);

    /// <summary>Answers with a failure.</summary>
    public void Fail(Status status, FrameFlags leased = FrameFlags.None) => ReplyRaw(status, default, leased);

    /// <summary>Answers with a failure and one line for people.</summary>
    public void Fail(Status status, string error) => ReplyRaw(status, System.Text.Encoding.UTF8.GetBytes(error));

    private FrameHeader ReplyHeader(Status status) => new()
    {
        Flags = FrameFlags.Reply,
        Opcode = _header.Opcode,
        RequestId = _header.RequestId,
        Session = _header.Session,
        Epoch = _header.Epoch,
        Slot = _header.Slot,
        Sequence = _header.Sequence,
        Status = (int)status,
    };
}
