using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Rpc;

/// <summary>The connection: calls both ways, bulk data, lost connections, bad frames.</summary>
public sealed class RpcTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("efs-rpc-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private Endpoint NewEndpoint() => Endpoint.Unix(Path.Combine(_directory, Guid.NewGuid().ToString("N")[..8] + ".sock"));

    [Theory]
    [InlineData("unix")]
    [InlineData("tcp")]
    public async Task CallsAreAnsweredWithBodies(string kind)
    {
        using var server = new RpcServer(kind == "tcp" ? Endpoint.Parse("tcp:127.0.0.1:0") : NewEndpoint(), new BlockEcho());
        server.Start();
        using var client = new RpcClient(server.Endpoint);
        var data = RandomNumberGenerator.GetBytes(Limits.BlockSizeBytes);

        // Many large calls at once in both directions: neither side may wait for the other to read.
        var calls = Enumerable.Range(0, 64).Select(async i =>
        {
            var result = await client.CallAsync<WriteBlockRequest, WriteBlockReply>(new((ulong)i, TierClass.Dram, []), body: data);
            Assert.Equal(Status.OK, result.Status);
            Assert.Equal(data, result.Body!.Memory.ToArray());
            result.Body.Dispose();
        });
        await Task.WhenAll(calls);
    }

    [Fact]
    public async Task ConnectingToAnAddressThatIsSilentEnds()
    {
        // A full queue of a listener drops what comes, as an address does that is nobody's any more. The kernel by itself tries for over a minute.
        using var silent = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        silent.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        silent.Listen(0);
        using var first = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await first.ConnectAsync(silent.LocalEndPoint!);
        var endpoint = Endpoint.Parse($"tcp:127.0.0.1:{((IPEndPoint)silent.LocalEndPoint!).Port}");
        Assert.Null(await Task.Run(() => SocketWire.Connect(endpoint)).WaitAsync(TimeSpan.FromSeconds(40)));
    }

    [Theory]
    [InlineData("tcp:127.0.0.1:7001", "tcp:127.0.0.1:7001")]
    [InlineData("tcp:[fd00::5]:7001", "tcp:[fd00::5]:7001")]
    [InlineData("tcp:fd00::5:7001", "tcp:[fd00::5]:7001")]
    [InlineData("tcp:::1:0", "tcp:[::1]:0")]
    [InlineData("tcp:fd00:::7001", "tcp:[fd00::]:7001")]
    public void AnAddressIsWrittenWithAndWithoutBrackets(string text, string canonical)
    {
        var endpoint = Endpoint.Parse(text);
        Assert.Equal(canonical, endpoint.Text);
        Assert.Equal(canonical, $"tcp:{endpoint.Address}");
    }

    [Theory]
    [InlineData("tcp:fd00::x:7001")]
    [InlineData("tcp:fd00::5:70010")]
    [InlineData("tcp:[fd00::5:7001")]
    [InlineData("tcp:::")]
    public void WhatIsNoAddressIsRefused(string text) => Assert.False(Endpoint.TryParse(text, out _, out _));

    [Fact]
    public async Task FailuresCarryTheirStatus()
    {
        using var server = new RpcServer(NewEndpoint(), new BlockEcho());
        server.Start();
        using var client = new RpcClient(server.Endpoint);
        var result = await client.CallAsync<GetAttrRequest, EntryReply>(new(7));
        Assert.Equal(Status.UnknownOpcode, result.Status);
        Assert.Equal(Errno.EIO, result.Errno);
    }

    [Fact]
    public async Task AServerThatComesBackAnswersTheSameCall()
    {
        var endpoint = NewEndpoint();
        using var client = new RpcClient(endpoint);
        var call = client.CallAsync<WriteBlockRequest, WriteBlockReply>(new(1, TierClass.Dram, [])).AsTask();
        using var server = new RpcServer(endpoint, new BlockEcho());
        server.Start();
        Assert.Equal(Status.OK, (await call).Status);

        server.Dispose();
        call = client.CallAsync<WriteBlockRequest, WriteBlockReply>(new(2, TierClass.Dram, [])).AsTask();
        using var second = new RpcServer(endpoint, new BlockEcho());
        second.Start();
        Assert.Equal(Status.OK, (await call).Status);
    }

    [Fact]
    public async Task AnAbsentServerIsUnavailableAfterTheDeadline()
    {
        using var client = new RpcClient(NewEndpoint());
        var result = await client.CallAsync<GetAttrRequest, EntryReply>(new(7), timeoutMs: 50);
        Assert.Equal(Status.Unavailable, result.Status);
    }

    [Fact]
    public async Task ASilentServerIsUnavailableAfterTheDeadline()
    {
        using var server = new RpcServer(NewEndpoint(), new Silent());
        server.Start();
        using var client = new RpcClient(server.Endpoint);
        var result = await client.CallAsync<GetAttrRequest, EntryReply>(new(7), timeoutMs: 50);
        Assert.Equal(Status.Unavailable, result.Status);
    }

    [Fact]
    public async Task ACallCanBeGivenUp()
    {
        using var server = new RpcServer(NewEndpoint(), new Silent());
        server.Start();
        using var client = new RpcClient(server.Endpoint);
        using var source = new CancellationTokenSource();
        var call = client.CallAsync<GetAttrRequest, EntryReply>(new(7), cancellation: source.Token).AsTask();
        source.Cancel();
        Assert.Equal(Status.Canceled, (await call).Status);
    }

    [Fact]
    public async Task ARequestMayBeAnsweredByCallingBack()
    {
        using var server = new RpcServer(NewEndpoint(), new CallsBack());
        server.Start();
        using var client = new RpcClient(server.Endpoint, new RpcClientOptions { Handler = new GrantHolder() });
        var result = await client.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(1, 0, 0));
        Assert.Equal(4711UL, result.Value.Bytes);
    }

    [Fact]
    public async Task RandomBytesCloseOnlyTheirConnection()
    {
        using var server = new RpcServer(NewEndpoint(), new BlockEcho());
        server.Start();
        using var client = new RpcClient(server.Endpoint);
        var random = new Random(1);
        var malformed = RpcTrace.MalformedFrames;
        for (var i = 0; i < 200; i++)
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(server.Endpoint.Address);
            var junk = new byte[random.Next(1, 4096)];
            random.NextBytes(junk);
            if (i % 2 == 0 && junk.Length > 64)
            {
                BitConverter.TryWriteBytes(junk, FrameHeader.MagicValue);
                junk[4] = FrameHeader.CurrentVersion;
            }

            socket.Send(junk);
            if (junk.Length >= FrameHeader.SizeBytes)
            {
                Assert.Equal(0, await socket.ReceiveAsync(new byte[1]));
                Assert.True(RpcTrace.MalformedFrames > malformed++);
            }
        }

        var result = await client.CallAsync<WriteBlockRequest, WriteBlockReply>(new(1, TierClass.Dram, []));
        Assert.Equal(Status.OK, result.Status);
    }

    [Fact]
    public async Task AConnectionThatEndsWhileItIsUsedIsUnavailableAndNothingElse()
    {
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var endpoint = NewEndpoint();
        listener.Bind(endpoint.Address);
        listener.Listen();
        for (var i = 0; i < 1000; i++)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(endpoint.Address);
            using var peer = new RpcPeer(socket, null);
            peer.Start("test");
            // The thread that receives closes the socket while this one sends on it.
            var ended = Task.Run(() => listener.Accept().Dispose());
            RpcResult<WriteBlockReply> result;
            do
            {
                result = await peer.CallAsync<WriteBlockRequest, WriteBlockReply>(new(1, TierClass.Dram, []), timeoutMs: 1);
                Assert.Equal(Status.Unavailable, result.Status);
            }
            while (peer.IsConnected);
            await ended;
        }
    }

    [Theory]
    [InlineData("unix:relative")]
    [InlineData("tcp:host")]
    [InlineData("tcp:300.1.2.3:7")]
    [InlineData("tcp:no_name:7")]
    [InlineData("tcp:host:70000")]
    [InlineData("")]
    [InlineData("http://x")]
    public void BadEndpointsSayWhy(string text)
    {
        Assert.False(Endpoint.TryParse(text, out _, out var error));
        Assert.Contains(text, error);
    }

    [Fact]
    public async Task A_name_is_resolved_when_the_client_connects()
    {
        using var server = new RpcServer(Endpoint.Parse("tcp:127.0.0.1:0"), new BlockEcho());
        server.Start();
        var port = ((System.Net.IPEndPoint)server.Endpoint.Address).Port;
        using var client = new RpcClient(Endpoint.Parse($"tcp:localhost:{port}"));
        Assert.Equal(Status.OK, await client.ConnectAsync(10_000));
    }

    private sealed class BlockEcho : IRpcHandler
    {
        public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
        {
            if (call.Header.Opcode != Opcode.WriteBlock || !RpcCall.TryRead<WriteBlockRequest>(head, out var request))
            {
                body?.Dispose();
                call.Fail(Status.UnknownOpcode);
            }
            else if (body is null)
            {
                call.Reply(new WriteBlockReply(request.Tier));
            }
            else
            {
                call.Reply(new WriteBlockReply(request.Tier), body);
            }
        }

        public void OnDisconnected(RpcPeer peer)
        {
        }
    }

    private sealed class Silent : IRpcHandler
    {
        public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body) => body?.Dispose();

        public void OnDisconnected(RpcPeer peer)
        {
        }
    }

    private sealed class CallsBack : IRpcHandler
    {
        public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body) => _ = CallBackAsync(call);

        public void OnDisconnected(RpcPeer peer)
        {
        }

        private static async Task CallBackAsync(RpcCall call)
        {
            var returned = await call.Peer.CallAsync<RecallGrantRequest, RecallGrantReply>(new());
            call.Reply(new AcquireGrantReply(returned.Value.Bytes, 0, 0, 0, 0));
        }
    }

    private sealed class GrantHolder : IRpcHandler
    {
        public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body) => call.Reply(new RecallGrantReply(4711));

        public void OnDisconnected(RpcPeer peer)
        {
        }
    }
}
