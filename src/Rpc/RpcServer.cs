using System.Net;
using System.Net.Sockets;
using EphemeralFs.Interop;

namespace EphemeralFs.Rpc;

/// <summary>Listens on an endpoint and serves each connection on a thread of its own.</summary>
public sealed class RpcServer : IDisposable
{
    private const int Backlog = 512;

    /// <summary>After a failed accept, in milliseconds.</summary>
    private const int AcceptPauseMs = 50;

    private readonly Socket _listener;
    private readonly IRpcHandler _handler;
    private readonly Lock _lock = new();
    private readonly HashSet<RpcPeer> _peers = [];
    private bool _disposed;

    /// <summary>Binds the endpoint. A unix socket left over by a dead server is replaced; a live one makes this throw <see cref="SocketException"/> (AddressAlreadyInUse).</summary>
    public RpcServer(Endpoint endpoint, IRpcHandler handler)
    {
        _handler = handler;
        var unix = endpoint.UnixPath is not null;
        _listener = unix
            ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            : new Socket(endpoint.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (unix)
            {
                RemoveDeadSocket(endpoint);
            }

            _listener.Bind(endpoint.Address);
            if (unix)
            {
                File.SetUnixFileMode(endpoint.UnixPath!, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            _listener.Listen(Backlog);
        }
        catch
        {
            _listener.Dispose();
            throw;
        }

        Endpoint = unix ? endpoint : Endpoint.Tcp((IPEndPoint)_listener.LocalEndPoint!);
    }

    /// <summary>Where the server listens, with the port that was chosen.</summary>
    public Endpoint Endpoint { get; }

    /// <summary>Begins to accept.</summary>
    public void Start() => new Thread(AcceptLoop, 128 << 10) { IsBackground = true, Name = "rpc-accept" }.Start();

    /// <summary>Stops listening and ends all connections.</summary>
    public void Dispose()
    {
        List<RpcPeer> peers;
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            peers = [.. _peers];
        }

        _listener.Dispose();
        if (Endpoint.UnixPath is { } path)
        {
            File.Delete(path);
        }

        peers.ForEach(peer => peer.Dispose());
    }

    private static void RemoveDeadSocket(Endpoint endpoint)
    {
        if (!File.Exists(endpoint.UnixPath))
        {
            return;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        bool isDead;
        try
        {
            probe.Connect(endpoint.Address);

            // A process that was killed inside a FUSE notification keeps its descriptors, and so listens, until its successor has answered what it waits behind.
            isDead = SocketIo.PeerProcess(probe) is > 0 and var pid && ProcessControlThreads.IsGone(pid);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            isDead = UnixSocketFile.IsSocket(endpoint.UnixPath!);
        }

        if (!isDead)
        {
            // A live server, or a file of somebody else's.
            throw new SocketException((int)SocketError.AddressAlreadyInUse);
        }

        File.Delete(endpoint.UnixPath!);
    }

    private void AcceptLoop()
    {
        while (true)
        {
            Socket socket;
            try
            {
                socket = _listener.Accept();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (_disposed)
                {
                    return;
                }

                if (e is not SocketException { SocketErrorCode: SocketError.ConnectionAborted or SocketError.Interrupted })
                {
                    // Mostly a want of descriptors, and connections that end give some back: a server that stops accepting is a dead one.
                    RpcTrace.Sink($"rpc: accepting on {Endpoint} failed: {e.Message}");
                    Thread.Sleep(AcceptPauseMs);
                }

                continue;
            }

            var peer = new RpcPeer(socket, _handler);
            lock (_lock)
            {
                if (_disposed)
                {
                    peer.Dispose();
                    return;
                }

                _peers.Add(peer);
            }

            peer.Disconnected += Forget;
            peer.Start("rpc-serve");
        }
    }

    private void Forget(RpcPeer peer)
    {
        lock (_lock)
        {
            _peers.Remove(peer);
        }
    }
}
