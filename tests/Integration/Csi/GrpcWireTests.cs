using System.Net;
using System.Net.Sockets;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>What is on the wire, and what the server says to clients that get it wrong.</summary>
public sealed class GrpcWireTests
{
    private const string GetInfo = "/csi.v1.Node/NodeGetInfo", Create = "/csi.v1.Controller/CreateVolume";

    private static readonly byte[] s_empty = new byte[GrpcFrame.PrefixBytes];
    private static readonly byte[] s_nodeInfo = RawGrpc.Frame(new NodeGetInfoResponse { NodeId = "n1" });

    public static TheoryData<string, byte[]?> Authorities => new()
    {
        { "none", null },
        { "empty", Http2Wire.Literal(":authority", "") },
        { "localhost", Http2Wire.Literal(":authority", "localhost") },
        { "percent", Http2Wire.Literal(":authority", "%2Fvar%2Flib%2Fkubelet%2Fplugins%2Fcsi.ephemeralfs.io%2Fcsi.sock") },
        { "path", Http2Wire.Literal(":authority", "/tmp/csi.sock") },
        { "uri", Http2Wire.Literal(":authority", "unix:/x/y.sock") },
    };

    [Fact]
    public async Task An_answer_is_one_frame_and_its_status_is_in_the_trailers()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        foreach (var type in new[] { "application/grpc", "application/grpc+proto", "APPLICATION/GRPC", "application/grpc; charset=utf-8" })
        {
            var answer = await raw.PostAsync(GetInfo, [s_empty], type);
            Assert.Equal((HttpStatusCode.OK, GrpcStatusCode.OK, ""), (answer.Http, answer.Code, answer.Message));
            Assert.False(answer.TrailersOnly);
            Assert.Equal(s_nodeInfo, answer.Body);
        }
    }

    /// <summary>external-provisioner exits when its connection is lost, however long it had nothing to ask.</summary>
    [Fact]
    public async Task A_connection_without_calls_stays()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        for (var call = 0; call < 2; call++)
        {
            Assert.Equal(GrpcStatusCode.OK, (await raw.PostAsync(GetInfo, [s_empty])).Code);
            await Task.Delay(TimeSpan.FromSeconds(2.5)); // the time without a call; Kestrel looks every second
        }

        Assert.Equal(GrpcStatusCode.OK, (await raw.PostAsync(GetInfo, [s_empty])).Code);
        Assert.Equal(1, raw.Connections);
    }

    [Fact]
    public async Task A_message_may_come_in_as_many_pieces_as_it_has_bytes()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        var frame = RawGrpc.Frame(new CreateVolumeRequest { Name = "v1", CapacityRange = new CapacityRange { RequiredBytes = 1L << 40 } });
        var answer = await raw.PostAsync(Create, [.. frame.Select(b => new[] { b }), []]);
        Assert.Equal(GrpcStatusCode.OK, answer.Code);
        var volume = CreateVolumeResponse.Parser.ParseFrom(answer.Body, GrpcFrame.PrefixBytes, answer.Body.Length - GrpcFrame.PrefixBytes).Volume;
        Assert.Equal(("v1", 1L << 40), (volume.VolumeId, volume.CapacityBytes));
    }

    [Fact]
    public async Task Malformed_requests_have_the_codes_of_grpc_go()
    {
        await using var rig = await GrpcRig.StartAsync(maxRequestBytes: 1000);
        using var raw = new RawGrpc(rig.Socket);
        var frame = RawGrpc.Frame(new CreateVolumeRequest { Name = "v1" });
        var compressed = RawGrpc.Frame(new CreateVolumeRequest { Name = "v1" }, flag: 1);

        async Task Fails(GrpcStatusCode code, string message, byte[]?[] parts, params (string, string)[] headers)
        {
            var answer = await raw.PostAsync(Create, parts, headers: headers);
            Assert.True(answer.Code == code && answer.Message.Contains(message, StringComparison.Ordinal), $"{code} \"{message}\" was expected, not {answer.Code} \"{answer.Message}\"");
            Assert.Equal(HttpStatusCode.OK, answer.Http);
            Assert.True(answer.TrailersOnly);
            Assert.Empty(answer.Body);
        }

        await Fails(GrpcStatusCode.Internal, "no request message", []);
        await Fails(GrpcStatusCode.Internal, "within its message", [[0, 0, 0]]);
        await Fails(GrpcStatusCode.Internal, "within its message", [frame[..^1]]);
        await Fails(GrpcStatusCode.Internal, "more than one", [[.. frame, .. frame]]);
        await Fails(GrpcStatusCode.Internal, "more than one", [frame, frame]);
        await Fails(GrpcStatusCode.Internal, "more than one", [frame, [7], null]);
        await Fails(GrpcStatusCode.Internal, "no message of its type", [[0, 0, 0, 0, 2, 10, 200]]);
        await Fails(GrpcStatusCode.Internal, "unknown flag 2", [[2, 0, 0, 0, 0]]);
        await Fails(GrpcStatusCode.Internal, "no grpc-encoding", [compressed]);
        await Fails(GrpcStatusCode.Internal, "no grpc-encoding", [compressed], ("grpc-encoding", "identity"));
        await Fails(GrpcStatusCode.Unimplemented, "gzip", [compressed], ("grpc-encoding", "gzip"));

        // Refused at its prefix: the rest never comes.
        await Fails(GrpcStatusCode.ResourceExhausted, "at most 1000", [[0, 0, 0, 3, 0xE9], null]);
        await Fails(GrpcStatusCode.ResourceExhausted, "4294967295", [[0, 255, 255, 255, 255], null]);

        // Just long enough, and not compressed though it might be.
        var longest = new CreateVolumeRequest { Name = new string('v', 1000 - 3) };
        Assert.Equal(1000, longest.CalculateSize());
        Assert.Equal(GrpcStatusCode.OK, (await raw.PostAsync(Create, [RawGrpc.Frame(longest)])).Code);
        Assert.Equal(GrpcStatusCode.OK, (await raw.PostAsync(Create, [frame], headers: ("grpc-encoding", "gzip"))).Code);
    }

    [Fact]
    public async Task What_is_no_gRPC_has_an_HTTP_status_too()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        foreach (var type in new[] { null, "application/json", "application/grpc-web", "application/grpc+json", "application/grpcx" })
        {
            var answer = await raw.PostAsync(GetInfo, [s_empty], type);
            Assert.Equal((HttpStatusCode.UnsupportedMediaType, GrpcStatusCode.InvalidArgument), (answer.Http, answer.Code));
        }

        var get = await raw.PostAsync(GetInfo, [], method: HttpMethod.Get);
        Assert.Equal((HttpStatusCode.MethodNotAllowed, GrpcStatusCode.Internal), (get.Http, get.Code));
    }

    [Fact]
    public async Task Unknown_services_and_methods_are_unimplemented()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        foreach (var (path, message) in new[]
        {
            ("/csi.v1.Node/NodeFly", "unknown method NodeFly for service csi.v1.Node"),
            ("/csi.v1.Node/nodegetinfo", "unknown method nodegetinfo for service csi.v1.Node"),
            ("/csi.v2.Node/NodeGetInfo", "unknown service csi.v2.Node"),
            ("/csi.v1.Node/", "unknown method  for service csi.v1.Node"),
            ("/NodeGetInfo", "malformed method name: \"NodeGetInfo\""),
            ("/", "malformed method name: \"\""),
        })
        {
            var answer = await raw.PostAsync(path, [s_empty]);
            Assert.Equal((HttpStatusCode.OK, GrpcStatusCode.Unimplemented, message), (answer.Http, answer.Code, answer.Message));
        }
    }

    [Fact]
    public async Task Timeouts_that_are_none_are_refused_and_passed_ones_call_nobody()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        foreach (var text in new[] { "1", "S", "1x", "-1S", "+1S", "1.5S", "123456789S", "1SS" })
        {
            var answer = await raw.PostAsync(GetInfo, [s_empty], headers: ("grpc-timeout", text));
            Assert.True(answer.Code == GrpcStatusCode.Internal, $"{text}: {answer.Code}");
        }

        foreach (var text in new[] { "99999999H", "1M", "60S", "99999999m", "99999999u" })
        {
            var answer = await raw.PostAsync(GetInfo, [s_empty], headers: ("grpc-timeout", text));
            Assert.True(answer.Code == GrpcStatusCode.OK, $"{text}: {answer.Code} {answer.Message}");
        }

        var called = false;
        rig.Stage = (_, _) =>
        {
            called = true;
            return Task.FromResult(new NodeStageVolumeResponse());
        };
        Assert.Equal(GrpcStatusCode.DeadlineExceeded, (await raw.PostAsync("/csi.v1.Node/NodeStageVolume", [s_empty], headers: ("grpc-timeout", "0n"))).Code);
        Assert.False(called);
    }

    [Fact]
    public async Task A_deadline_ends_the_wait_for_a_request_that_does_not_come()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        Assert.Equal(GrpcStatusCode.DeadlineExceeded, (await raw.PostAsync(GetInfo, [[0, 0], null], headers: ("grpc-timeout", "20m"))).Code);
    }

    [Fact]
    public async Task Messages_are_percent_encoded_and_cut_between_characters()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var raw = new RawGrpc(rig.Socket);
        var text = "";
        rig.Stage = (_, _) => throw new GrpcException(GrpcStatusCode.NotFound, text);
        async Task<string> Message()
        {
            var answer = await raw.PostAsync("/csi.v1.Node/NodeStageVolume", [s_empty]);
            Assert.Equal(GrpcStatusCode.NotFound, answer.Code);
            return answer.Message;
        }

        text = "100 % of “v1”\r\nis gone~";
        Assert.Equal("100 %25 of %E2%80%9Cv1%E2%80%9D%0D%0Ais gone~", await Message());
        text = new string('a', GrpcHeaders.MaxMessageBytes - 1) + "é";
        Assert.Equal(new string('a', GrpcHeaders.MaxMessageBytes - 1), await Message());
        text = new string('a', GrpcHeaders.MaxMessageBytes - 2) + "é and more";
        Assert.Equal(new string('a', GrpcHeaders.MaxMessageBytes - 2) + "%C3%A9", await Message());
        text = "\ud800";
        Assert.Equal("%EF%BF%BD", await Message());
    }

    [Theory]
    [MemberData(nameof(Authorities))]
    public async Task Any_authority_is_accepted(string name, byte[]? authority)
    {
        Assert.NotEmpty(name);
        await using var rig = await GrpcRig.StartAsync();
        using var wire = new Http2Wire(rig.Socket);
        wire.Write(Http2Wire.Headers, Http2Wire.EndHeaders, 1, Http2Wire.CallHead(GetInfo, authority));
        wire.Write(Http2Wire.Data, Http2Wire.EndStream, 1, s_empty);
        Assert.Equal(s_nodeInfo, wire.ReadAnswer(1));
    }

    [Fact]
    public async Task An_authority_is_replaced_in_any_shape_of_frames_and_the_table_of_the_connection_stays_right()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var wire = new Http2Wire(rig.Socket);

        // To be indexed: 0x41 is "literal with indexing, name 1". The next calls refer to it, and to what came into the table after it.
        byte[] later = [0x40, .. Http2Wire.Text("x-later"), .. Http2Wire.Text("1")];
        byte[] authority = [0x41, .. Http2Wire.Text("unix:/x/y.sock")];
        var head = Http2Wire.CallHead(GetInfo, [.. authority, .. later]);

        // A frame with padding and priority and only a part of the block, then a byte in each frame.
        byte[] padded = [3, 0, 0, 0, 0, 16, .. head[..40], 0, 0, 0];
        wire.Write(Http2Wire.Headers, Http2Wire.Padded | Http2Wire.Priority, 1, padded);
        foreach (var b in head[40..^1])
        {
            wire.Write(Http2Wire.Continuation, 0, 1, [b]);
        }

        wire.Write(Http2Wire.Continuation, Http2Wire.EndHeaders, 1, head.AsSpan()[^1..]);
        wire.Write(Http2Wire.Data, Http2Wire.EndStream, 1, s_empty);
        Assert.Equal(s_nodeInfo, wire.ReadAnswer(1));

        // 62 is the newest entry of the table, 63 the one before: the authority.
        foreach (var stream in new[] { 3, 5 })
        {
            wire.Write(Http2Wire.Headers, Http2Wire.EndHeaders, stream, Http2Wire.CallHead(GetInfo, [0x80 | 63, 0x80 | 62]));
            wire.Write(Http2Wire.Data, Http2Wire.EndStream, stream, s_empty);
            Assert.Equal(s_nodeInfo, wire.ReadAnswer(stream));
        }

        // Headers that end the stream, as some clients send them, are no call; the connection goes on.
        wire.Write(Http2Wire.Headers, Http2Wire.EndHeaders | Http2Wire.EndStream, 7, Http2Wire.CallHead(GetInfo, [0x80 | 63]));
        Assert.Empty(wire.ReadAnswer(7));
    }

    [Fact]
    public async Task What_is_no_HTTP_2_is_turned_away_and_harms_nobody()
    {
        await using var rig = await GrpcRig.StartAsync();
        foreach (var bytes in new[] { "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), new byte[4096], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff"u8.ToArray() })
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(rig.Socket));
            await socket.SendAsync(bytes);
            socket.Shutdown(SocketShutdown.Send);
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            var buffer = new byte[4096];
            try
            {
                while (await socket.ReceiveAsync(buffer, limit.Token) > 0)
                {
                }
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
            {
                // As good an end as any.
            }
        }

        using var raw = new RawGrpc(rig.Socket);
        Assert.Equal(GrpcStatusCode.OK, (await raw.PostAsync(GetInfo, [s_empty])).Code);
    }

    [Fact]
    public async Task Pings_are_answered()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var wire = new Http2Wire(rig.Socket);
        wire.Write(Http2Wire.Ping, 0, 0, "12345678"u8);
        (byte Type, byte Flags, int Stream, byte[] Payload) frame;
        do
        {
            frame = wire.Read();
        }
        while (frame.Type != Http2Wire.Ping);
        Assert.Equal(Http2Wire.Acknowledgement, frame.Flags);
        Assert.Equal("12345678"u8.ToArray(), frame.Payload);
    }

    [Fact]
    public async Task A_call_whose_stream_is_reset_cancels_its_handler_and_leaves_the_connection_alone()
    {
        await using var rig = await GrpcRig.StartAsync();
        var cancelled = new TaskCompletionSource();
        var entered = new TaskCompletionSource();
        rig.Stage = async (_, call) =>
        {
            entered.SetResult();
            await Task.Delay(Timeout.Infinite, call.Cancellation).ContinueWith(_ => cancelled.SetResult(), TaskScheduler.Default);
            return new();
        };
        using var wire = new Http2Wire(rig.Socket);
        wire.Write(Http2Wire.Headers, Http2Wire.EndHeaders, 1, Http2Wire.CallHead("/csi.v1.Node/NodeStageVolume", null));
        wire.Write(Http2Wire.Data, Http2Wire.EndStream, 1, s_empty);
        await entered.Task.WaitAsync(TimeSpan.FromMinutes(1));
        wire.Write(Http2Wire.Reset, 0, 1, [0, 0, 0, 8]);
        await cancelled.Task.WaitAsync(TimeSpan.FromMinutes(1));

        wire.Write(Http2Wire.Headers, Http2Wire.EndHeaders, 3, Http2Wire.CallHead(GetInfo, null));
        wire.Write(Http2Wire.Data, Http2Wire.EndStream, 3, s_empty);
        Assert.Equal(s_nodeInfo, wire.ReadAnswer(3));
    }
}
