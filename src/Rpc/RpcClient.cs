using System.Runtime.CompilerServices;
using EphemeralFs.Core;

namespace EphemeralFs.Rpc;

/// <summary>How an <see cref="RpcClient"/> behaves.</summary>
public sealed record RpcClientOptions
{
    /// <summary>Serves requests that the server sends back over the connection.</summary>
    public IRpcHandler? Handler { get; init; }

    /// <summary>Runs on each new connection before any other call uses it (resuming a session); false drops the connection and tries again.</summary>
    public Func<RpcPeer, ValueTask<bool>>? OnConnected { get; init; }

    /// <summary>First and largest pause between attempts to connect, milliseconds.</summary>
    public (int First, int Largest) BackoffMs { get; init; } = (5, 250);

    /// <summary>The clock of deadlines and pauses.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Connects, or null when nobody listens.</summary>
    internal Func<Endpoint, RpcWire?> Connect { get; init; } = SocketWire.Connect;
}

/// <summary>
/// A server as its client sees it: connected when needed, connected again after it was lost, and every call resent until its
/// deadline. That is safe because every request is either read-only, idempotent, or numbered in a slot that the server remembers.
/// </summary>
public sealed class RpcClient(Endpoint endpoint, RpcClientOptions? options = null) : IDisposable
{
    private readonly RpcClientOptions _options = options ?? new RpcClientOptions();
    private readonly TimeProvider _time = options?.Time ?? TimeProvider.System;
    private readonly Lock _lock = new();
    private RpcPeer? _peer;
    private Task? _connecting;
    private int _waiters;
    private volatile bool _disposed;

    /// <summary>Where the server is.</summary>
    public Endpoint Endpoint { get; } = endpoint;

    /// <summary>Whether a connection is up.</summary>
    public bool IsConnected => _peer is { IsConnected: true };

    /// <summary>Calls the server; <see cref="Status.Unavailable"/> when there is no answer within <paramref name="timeoutMs"/>.</summary>
    /// <remarks>Continuations run on the connection's receive thread: do not block in them.</remarks>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<RpcResult<TReply>> CallAsync<TRequest, TReply>(
        TRequest request,
        CallHeader header = default,
        ReadOnlyMemory<byte> body = default,
        int timeoutMs = Limits.RequestDeadlineMs,
        CancellationToken cancellation = default)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        var deadline = _time.NowMs() + timeoutMs;
        while (true)
        {
            var peer = _peer;
            if (peer is not { IsConnected: true })
            {
                var status = await ConnectAsync(deadline, cancellation);
                if (status != Status.OK)
                {
                    return new RpcResult<TReply>(status, default);
                }

                continue;
            }

            var left = deadline - _time.NowMs();
            var result = await peer.CallAsync<TRequest, TReply>(request, header, body, (int)Math.Clamp(left, 1, int.MaxValue), cancellation);
            if (result.Status != Status.Unavailable || peer.IsConnected || _disposed || _time.NowMs() >= deadline)
            {
                return result;
            }
        }
    }

    /// <summary>Connects now, if it is not; <see cref="Status.Unavailable"/> when that does not succeed within <paramref name="timeoutMs"/>.</summary>
    public ValueTask<Status> ConnectAsync(int timeoutMs) => ConnectAsync(_time.NowMs() + timeoutMs, CancellationToken.None);

    /// <summary>Ends the connection; calls fail with <see cref="Status.Unavailable"/>.</summary>
    public void Dispose()
    {
        _disposed = true;
        _peer?.Dispose();
    }

    private async ValueTask<Status> ConnectAsync(long deadline, CancellationToken cancellation)
    {
        Task connecting;
        lock (_lock)
        {
            if (_peer is { IsConnected: true })
            {
                return Status.OK;
            }

            _waiters++;
            if (_connecting is null or { IsCompleted: true })
            {
                _connecting = ConnectLoopAsync();
            }

            connecting = _connecting;
        }

        try
        {
            var left = deadline - _time.NowMs();
            if (left <= 0 || _disposed)
            {
                return Status.Unavailable;
            }

            await connecting.WaitAsync(TimeSpan.FromMilliseconds(left), _time, cancellation);
            return Status.OK;
        }
        catch (TimeoutException)
        {
            return Status.Unavailable;
        }
        catch (OperationCanceledException)
        {
            return Status.Canceled;
        }
        finally
        {
            lock (_lock)
            {
                _waiters--;
            }
        }
    }

    /// <summary>Tries until it is connected or nobody waits any more.</summary>
    private async Task ConnectLoopAsync()
    {
        // Connecting blocks, and the caller may be a connection's receive thread.
        await Task.Yield();
        var pause = _options.BackoffMs.First;
        while (!_disposed)
        {
            var peer = await TryConnectAsync();
            if (peer is not null)
            {
                _peer = peer;
                if (_disposed)
                {
                    peer.Dispose();
                }

                return;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(pause), _time);
            pause = Math.Min(pause * 2, _options.BackoffMs.Largest);
            lock (_lock)
            {
                if (_waiters == 0)
                {
                    return;
                }
            }
        }
    }

    private async Task<RpcPeer?> TryConnectAsync()
    {
        if (_options.Connect(Endpoint) is not { } wire)
        {
            return null;
        }

        var peer = new RpcPeer(wire, _options.Handler, _time);
        peer.Start("rpc-client");
        if (_options.OnConnected is { } hook && !await hook(peer))
        {
            peer.Dispose();
            return null;
        }

        return peer;
    }
}
