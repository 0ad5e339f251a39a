using System.Collections.Concurrent;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>A node as the metadata server sees it: a session, slots, and an answer to call-backs.</summary>
internal sealed class TestNode : IRpcHandler, IDisposable
{
    private readonly Endpoint _endpoint;
    private readonly string _volume;
    private readonly Dictionary<uint, uint> _sequences = [];
    private readonly Queue<ulong> _inodes = new();
    private readonly Queue<ulong> _blocks = new();
    private ulong _handles;

    private TestNode(Endpoint endpoint, string volume)
    {
        _endpoint = endpoint;
        _volume = volume;
        Client = Connect();
    }

    public RpcClient Client { get; private set; }

    public OpenSessionReply Session { get; private set; }

    /// <summary>Recalls that came, in order.</summary>
    public ConcurrentQueue<RecallRequest> Recalls { get; } = new();

    /// <summary>Names that directories were moved away from, in order.</summary>
    public ConcurrentQueue<(ulong Parent, string Name)> Forgotten { get; } = new();

    /// <summary>Names and attributes that were called back, in order.</summary>
    public ConcurrentQueue<ForgetRequest> Forgets { get; } = new();

    /// <summary>Completed before names are acknowledged as forgotten.</summary>
    public Task BeforeForgotten { get; set; } = Task.CompletedTask;

    /// <summary>Runs before a recall is acknowledged; null acknowledges at once.</summary>
    public Func<RecallRequest, Task>? BeforeAcknowledge { get; set; }

    /// <summary>What is given back when grant is called back.</summary>
    public Func<ulong>? GiveBack { get; set; }

    /// <summary>Completes when a recall has come.</summary>
    public SemaphoreSlim RecallCame { get; } = new(0);

    public static byte[] Name(string name) => Encoding.UTF8.GetBytes(name);

    public static async Task<TestNode> OpenAsync(Endpoint endpoint, string volume = "tmp", string name = "node")
    {
        var node = new TestNode(endpoint, volume);
        var reply = await node.Client.CallAsync<OpenSessionRequest, OpenSessionReply>(new(volume, name, 0, 0));
        Assert.Equal(Status.OK, reply.Status);
        node.Session = reply.Value;
        return node;
    }

    /// <summary>A node with the session of another: a restarted daemon.</summary>
    public async Task<TestNode> ResumeAsync(Endpoint? endpoint = null)
    {
        var node = new TestNode(endpoint ?? _endpoint, _volume) { Session = Session, _handles = _handles };
        foreach (var (slot, sequence) in _sequences)
        {
            node._sequences[slot] = sequence;
        }

        Assert.Equal(Status.OK, await node.TryResumeAsync());
        return node;
    }

    public async Task<Status> TryResumeAsync() =>
        (await Client.CallAsync<OpenSessionRequest, OpenSessionReply>(new(_volume, "node", Session.Session, Session.Epoch))).Status;

    /// <summary>A slot operation with the next sequence number of its slot.</summary>
    public Task<RpcResult<TReply>> CallAsync<TRequest, TReply>(TRequest request, uint slot = 0)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply> =>
        SendAsync<TRequest, TReply>(request, slot, NextSequence(slot));

    public uint NextSequence(uint slot) => _sequences[slot] = _sequences.GetValueOrDefault(slot) + 1;

    public uint LastSequence(uint slot) => _sequences.GetValueOrDefault(slot);

    public Task<RpcResult<TReply>> SendAsync<TRequest, TReply>(TRequest request, uint slot, uint sequence, uint? epoch = null)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        var time = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;
        return Client.CallAsync<TRequest, TReply>(request, new CallHeader(Session.Session, epoch ?? Session.Epoch, time, slot, sequence)).AsTask();
    }

    public Task<RpcResult<TReply>> ReadAsync<TRequest, TReply>(TRequest request)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply> => SendAsync<TRequest, TReply>(request, 0, 0);

    public async Task<ulong> NewInoAsync()
    {
        if (_inodes.Count == 0)
        {
            var grant = (await CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(0, 16, 0), slot: 1000)).Value;
            for (var i = 0U; i < grant.Inodes; i++)
            {
                _inodes.Enqueue(grant.FirstInode + i);
            }
        }

        return _inodes.Dequeue();
    }

    public async Task<ulong> NewBlockAsync()
    {
        if (_blocks.Count == 0)
        {
            var grant = (await CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(0, 0, 16), slot: 1000)).Value;
            for (var i = 0U; i < grant.Blocks; i++)
            {
                _blocks.Enqueue(grant.FirstBlock + i);
            }
        }

        return _blocks.Dequeue();
    }

    public ulong NewHandle() => ++_handles;

    public async Task<RpcResult<OpenReply>> CreateAsync(string name, OpenFlags flags = OpenFlags.Write, uint slot = 0)
    {
        var request = new CreateRequest(Ino.Root, await NewInoAsync(), Name(name), 0x81A4, 0, 0, NewHandle(), flags);
        var result = await CallAsync<CreateRequest, CreateReply>(request, slot);
        return new RpcResult<OpenReply>(result.Status, result.Value.File, Flags: result.Flags);
    }

    public Task<RpcResult<OpenReply>> OpenFileAsync(ulong ino, OpenFlags flags, uint slot = 0) =>
        CallAsync<OpenRequest, OpenReply>(new(ino, NewHandle(), flags), slot);

    public async Task<RpcResult<CommitReply>> WriteInlineAsync(ulong ino, string bytes, uint slot = 0)
    {
        var layout = await ReadAsync<GetLayoutRequest, LayoutReply>(new(ino, 0, 1));
        return await CallAsync<CommitRequest, CommitReply>(
            new(ino, CommitFlags.HasInline, (ulong)bytes.Length, [], Name(bytes), layout.Value.Attributes.DataVersion), slot);
    }

    public async Task<RpcResult<CommitReply>> WriteBlockAsync(ulong ino, ulong offset, ulong length, uint server = 1, uint slot = 0)
    {
        var extent = new Extent(offset, length, await NewBlockAsync(), 0, server);
        return await CallAsync<CommitRequest, CommitReply>(new(ino, CommitFlags.None, 0, [extent], default, 0), slot);
    }

    public Task<RpcResult<Empty>> LockAsync(ulong ino, ulong owner, LockType type, bool wait = false, bool flock = false, uint slot = 0) =>
        CallAsync<SetLockRequest, Empty>(new(ino, owner, flock, wait, new LockRange(type, 0, long.MaxValue, 1)), slot);

    public async Task<Status> LookupAsync(string name) =>
        (await ReadAsync<LookupRequest, EntryReply>(new(Ino.Root, Name(name)))).Status;

    /// <summary>Breaks the connection; the next call makes a new one.</summary>
    public void Reconnect()
    {
        Client.Dispose();
        Client = Connect();
    }

    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        if (call.Header.Opcode == Opcode.RecallGrant)
        {
            call.Reply(new RecallGrantReply(GiveBack?.Invoke() ?? 0));
        }
        else if (call.Header.Opcode == Opcode.Recall && RpcCall.TryRead<RecallRequest>(head, out var recall))
        {
            Recalls.Enqueue(recall);
            RecallCame.Release();
            _ = AcknowledgeAsync(call, recall);
        }
        else if (call.Header.Opcode == Opcode.ForgetName && RpcCall.TryRead<ForgetNameRequest>(head, out var moved))
        {
            Forgotten.Enqueue((moved.Parent, Encoding.UTF8.GetString(moved.Name.Span)));
            RecallCame.Release();
            _ = AcknowledgeForgottenAsync(call);
        }
        else if (call.Header.Opcode == Opcode.Forget && RpcCall.TryRead<ForgetRequest>(head, out var forget))
        {
            DirectoryName[] names = [.. forget.Names.Select(n => n with { Name = n.Name.ToArray() })];
            Forgets.Enqueue(forget with { Names = names });
            RecallCame.Release();
            _ = AcknowledgeForgottenAsync(call);
        }
        else
        {
            call.Fail(Status.UnknownOpcode);
        }
    }

    public void OnDisconnected(RpcPeer peer)
    {
    }

    public void Dispose() => Client.Dispose();

    private async Task AcknowledgeAsync(RpcCall call, RecallRequest recall)
    {
        if (BeforeAcknowledge is { } work)
        {
            await work(recall);
        }

        call.Reply(default(Empty));
    }

    private async Task AcknowledgeForgottenAsync(RpcCall call)
    {
        await BeforeForgotten;
        call.Reply(default(Empty));
    }

    private RpcClient Connect() => new(_endpoint, new RpcClientOptions { Handler = this, OnConnected = ResumeOnAsync });

    /// <summary>As a node does: on a new connection nothing goes out before the session is resumed.</summary>
    private async ValueTask<bool> ResumeOnAsync(RpcPeer peer) =>
        Session.Session == 0
        || (await peer.CallAsync<OpenSessionRequest, OpenSessionReply>(new(_volume, "node", Session.Session, Session.Epoch))).Status != Status.Unavailable;
}
