using System.Collections.Concurrent;
using System.Threading.Tasks.Sources;
using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>A call in flight. Whoever removes it from the peer's table completes it, so it is completed once.</summary>
internal abstract class PendingCall
{
    /// <summary>When the call fails, milliseconds of the connection's clock.</summary>
    public long DeadlineMs;

    public CancellationTokenRegistration Cancellation;

    /// <summary>Completes with the peer's answer; <paramref name="head"/> is valid only during the call.</summary>
    public abstract void Complete(in FrameHeader header, ReadOnlyMemory<byte> head, PooledBuffer? body);

    /// <summary>Completes without an answer.</summary>
    public abstract void Fail(Status status);
}

/// <inheritdoc cref="PendingCall"/>
internal sealed class PendingCall<TReply> : PendingCall, IValueTaskSource<RpcResult<TReply>>
    where TReply : struct, IWireMessage<TReply>
{
    private const int PoolMax = 256;
    private const int ErrorBytesMax = 4096;

    private static readonly ConcurrentStack<PendingCall<TReply>> Pool = new();

    private ManualResetValueTaskSourceCore<RpcResult<TReply>> _core;

    public static PendingCall<TReply> Rent() => Pool.TryPop(out var call) ? call : new PendingCall<TReply>();

    public ValueTask<RpcResult<TReply>> AsValueTask() => new(this, _core.Version);

    public override void Complete(in FrameHeader header, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        var status = (Status)header.Status;
        if (status != Status.OK)
        {
            body?.Dispose();
            Cancellation.Unregister();
            var error = head.IsEmpty ? "" : System.Text.Encoding.UTF8.GetString(head.Span[..Math.Min(head.Length, ErrorBytesMax)]);
            _core.SetResult(new RpcResult<TReply>(status, default, null, error, header.Flags));
            return;
        }

        var reader = new WireReader(head, copy: true);
        var value = TReply.Read(ref reader);
        if (!reader.AtEnd)
        {
            body?.Dispose();
            Fail(Status.BadRequest);
            return;
        }

        Cancellation.Unregister();
        _core.SetResult(new RpcResult<TReply>(Status.OK, value, body, "", header.Flags));
    }

    public override void Fail(Status status)
    {
        Cancellation.Unregister();
        _core.SetResult(new RpcResult<TReply>(status, default));
    }

    public RpcResult<TReply> GetResult(short token)
    {
        try
        {
            return _core.GetResult(token);
        }
        finally
        {
            _core.Reset();
            Cancellation = default;
            if (Pool.Count < PoolMax)
            {
                Pool.Push(this);
            }
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    /// <remarks>Whoever awaits goes on on the receive thread, before the next frame: answers and recalls are taken in the order in which they came.</remarks>
    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);
}
