using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>The server as an implementation of gRPC that is not ours sees it.</summary>
public sealed class GrpcClientTests
{
    private static readonly TimeSpan s_soon = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task Messages_go_both_ways()
    {
        await using var rig = await GrpcRig.StartAsync();
        var response = (await rig.Client.CallAsync(
            "Controller", "CreateVolume", """{"name": "größe", "capacity_range": {"required_bytes": "9007199254740993"}, "parameters": {"a": "b", "ü": ""}}""")).Ok();
        var volume = response["volume"]!;
        Assert.Equal("größe", (string?)volume["volume_id"]);
        Assert.Equal("9007199254740993", (string?)volume["capacity_bytes"]); // more than a double holds
        Assert.Equal(("b", ""), ((string?)volume["volume_context"]!["a"], (string?)volume["volume_context"]!["ü"]));
        Assert.Equal("n1", (string?)(await rig.Client.CallAsync("Node", "NodeGetInfo")).Ok()["node_id"]);
    }

    [Fact]
    public async Task Every_status_arrives_with_its_message()
    {
        await using var rig = await GrpcRig.StartAsync();
        foreach (var code in Enum.GetValues<GrpcStatusCode>().Where(code => code != GrpcStatusCode.OK))
        {
            rig.Stage = (_, _) => throw new GrpcException(code, $"{code}: 100 % “done”\nor not");
            var answer = (await rig.Client.CallAsync("Node", "NodeStageVolume")).Fails(code);
            Assert.Equal($"{code}: 100 % “done”\nor not", answer.Message);
        }
    }

    [Fact]
    public async Task What_is_not_there_is_unimplemented()
    {
        await using var rig = await GrpcRig.StartAsync();
        (await rig.Client.CallAsync("Node", "NodeExpandVolume")).Fails(GrpcStatusCode.Unimplemented);
        (await rig.Client.CallAsync("Identity", "Probe")).Fails(GrpcStatusCode.Unimplemented);
        (await rig.Client.CallAsync("csi.v9.Node", "NodeFly")).Fails(GrpcStatusCode.Unimplemented);
    }

    [Theory]
    [InlineData("localhost")]
    [InlineData("unix:/x/y.sock")]
    [InlineData("%2Ftmp%2Fcsi.sock")]
    [InlineData("/tmp/csi.sock")]
    [InlineData("csi.ephemeralfs.io:443")]
    public async Task Any_authority_is_accepted(string authority)
    {
        await using var rig = await GrpcRig.StartAsync();

        // Several calls of one connection: the client refers to what it sent before.
        for (var i = 0; i < 3; i++)
        {
            (await rig.Client.CallAsync("Node", "NodeGetInfo", authority: authority, metadata: new Dictionary<string, string> { ["n"] = $"{i}" })).Ok();
        }
    }

    [Fact]
    public async Task Metadata_and_the_deadline_reach_the_handler()
    {
        await using var rig = await GrpcRig.StartAsync();
        GrpcCall? seen = null;
        DateTime arrived = default;
        rig.Stage = (_, call) =>
        {
            (seen, arrived) = (call, DateTime.UtcNow);
            return Task.FromResult(new NodeStageVolumeResponse());
        };
        var before = DateTime.UtcNow;
        (await rig.Client.CallAsync("Node", "NodeStageVolume", deadlineMs: 100_000, metadata: new Dictionary<string, string> { ["x-who"] = "me" })).Ok();
        Assert.Equal("csi.v1.Node/NodeStageVolume", seen!.FullMethod);
        Assert.Equal("me", seen.Metadata["X-Who"]);

        // Counted from the request's arrival, however long anything of this takes.
        Assert.InRange(seen.Deadline!.Value, before, arrived.AddSeconds(100));

        using var raw = new RawGrpc(rig.Socket);
        before = DateTime.UtcNow;
        await raw.PostAsync("/csi.v1.Node/NodeStageVolume", [new byte[GrpcFrame.PrefixBytes]], headers: ("grpc-timeout", "100S"));
        Assert.InRange(seen.Deadline!.Value, before.AddSeconds(100), arrived.AddSeconds(100));

        (await rig.Client.CallAsync("Node", "NodeStageVolume", deadlineMs: 0)).Ok();
        Assert.Null(seen.Deadline);
    }

    [Fact]
    public async Task A_handler_that_blocks_is_answered_for_at_its_deadline()
    {
        await using var rig = await GrpcRig.StartAsync();
        using var release = new ManualResetEventSlim();
        var cancelled = new TaskCompletionSource();
        rig.Stage = (_, call) =>
        {
            using var registration = call.Cancellation.Register(cancelled.SetResult);
            release.Wait(s_soon);
            throw new InvalidOperationException("too late");
        };

        // The server's own deadline, not the client's: the client is given a longer one.
        using var raw = new RawGrpc(rig.Socket);
        var answer = await raw.PostAsync("/csi.v1.Node/NodeStageVolume", [new byte[GrpcFrame.PrefixBytes]], headers: ("grpc-timeout", "50m"));
        Assert.Equal(GrpcStatusCode.DeadlineExceeded, answer.Code);
        await cancelled.Task.WaitAsync(s_soon);
        Assert.Equal(LogLevel.Warning, rig.Log.Single("NodeStageVolume DeadlineExceeded").Level);

        // What becomes of it is told when it ends.
        release.Set();
        await rig.Server.DisposeAsync();
        Assert.Equal(LogLevel.Warning, rig.Log.Single("after its call had been answered").Level);
    }

    [Fact]
    public async Task A_handler_that_fails_because_of_its_deadline_is_answered_with_the_deadline()
    {
        await using var rig = await GrpcRig.StartAsync();
        rig.Stage = async (_, call) =>
        {
            // Goes on within the cancellation, and so has ended before the server sees it.
            var cancelled = new TaskCompletionSource();
            await using var registration = call.Cancellation.Register(cancelled.SetResult);
            await cancelled.Task;
            throw new GrpcException(GrpcStatusCode.Aborted, "what was asked of the cluster was cancelled");
        };
        using var raw = new RawGrpc(rig.Socket);
        var answer = await raw.PostAsync("/csi.v1.Node/NodeStageVolume", [new byte[GrpcFrame.PrefixBytes]], headers: ("grpc-timeout", "50m"));
        Assert.Equal(GrpcStatusCode.DeadlineExceeded, answer.Code);
    }

    [Fact]
    public async Task The_client_sees_its_deadline_and_its_cancellation()
    {
        await using var rig = await GrpcRig.StartAsync();
        var entered = new TaskCompletionSource();
        var ended = new TaskCompletionSource();
        rig.Stage = async (_, call) =>
        {
            entered.TrySetResult();
            await Task.Delay(Timeout.Infinite, call.Cancellation).ContinueWith(_ => ended.TrySetResult(), TaskScheduler.Default);
            return new();
        };
        for (var deadlineMs = 100; !entered.Task.IsCompleted; deadlineMs *= 2)
        {
            // A busy machine may need longer than the deadline to get the call to its handler.
            (await rig.Client.CallAsync("Node", "NodeStageVolume", deadlineMs: deadlineMs)).Fails(GrpcStatusCode.DeadlineExceeded);
        }

        await ended.Task.WaitAsync(s_soon);

        entered = new TaskCompletionSource();
        ended = new TaskCompletionSource();
        using var cancel = new CancellationTokenSource();
        var call = rig.Client.CallAsync("Node", "NodeStageVolume", cancellation: cancel.Token);
        await entered.Task.WaitAsync(s_soon);
        await cancel.CancelAsync();
        (await call).Fails(GrpcStatusCode.Cancelled);
        await ended.Task.WaitAsync(s_soon);
        await rig.Server.DisposeAsync();
        Assert.Contains(rig.Log.Lines, line => line.Level == LogLevel.Warning && line.Text.StartsWith("csi.v1.Node/NodeStageVolume Cancelled", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_a_handler_throws_is_internal_and_stays_in_the_log()
    {
        await using var rig = await GrpcRig.StartAsync();
        rig.Stage = (_, _) => throw new InvalidOperationException("the block map of v7 is torn");
        var answer = (await rig.Client.CallAsync("Node", "NodeStageVolume", """{"volume_id": "v7"}""")).Fails(GrpcStatusCode.Internal);
        Assert.Equal("internal error (InvalidOperationException): see the log of the driver", answer.Message);
        var (level, text) = rig.Log.Single("block map");
        Assert.Equal(LogLevel.Error, level);
        Assert.Contains("   at EphemeralFs.Tests.Integration.Csi.GrpcClientTests", text, StringComparison.Ordinal);

        rig.Stage = (_, _) => Task.FromResult<NodeStageVolumeResponse>(null!);
        (await rig.Client.CallAsync("Node", "NodeStageVolume")).Fails(GrpcStatusCode.Internal);
        rig.Stage = (_, _) => throw new OperationCanceledException("by nobody");
        (await rig.Client.CallAsync("Node", "NodeStageVolume")).Fails(GrpcStatusCode.Internal);
    }

    [Fact]
    public async Task Two_hundred_calls_are_served_at_a_time()
    {
        await using var rig = await GrpcRig.StartAsync();
        const int Calls = 200;
        var inside = 0;
        var all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        rig.Stage = async (_, _) =>
        {
            if (Interlocked.Increment(ref inside) == Calls)
            {
                all.SetResult();
            }

            await all.Task;
            return new NodeStageVolumeResponse();
        };
        foreach (var answer in await Task.WhenAll(Enumerable.Range(0, Calls).Select(_ => rig.Client.CallAsync("Node", "NodeStageVolume"))))
        {
            answer.Ok();
        }
    }

    [Fact]
    public async Task A_large_request_arrives_and_a_larger_one_is_refused()
    {
        await using var rig = await GrpcRig.StartAsync();
        var length = 0;
        rig.Stage = (request, _) =>
        {
            length = request.VolumeId.Length;
            return Task.FromResult(new NodeStageVolumeResponse());
        };
        (await rig.Client.CallAsync("Node", "NodeStageVolume", $$"""{"volume_id": "{{new string('v', (4 << 20) - 5)}}"}""")).Ok();
        Assert.Equal((4 << 20) - 5, length);
        (await rig.Client.CallAsync("Node", "NodeStageVolume", $$"""{"volume_id": "{{new string('v', 4 << 20)}}"}""")).Fails(GrpcStatusCode.ResourceExhausted);
        Assert.Equal((4 << 20) - 5, length);
        Assert.All(rig.Log.Lines, line => Assert.InRange(line.Text.Length, 0, 20_000));
    }

    [Fact]
    public async Task Calls_that_do_not_end_when_the_server_stops_are_unavailable()
    {
        await using var rig = await GrpcRig.StartAsync(stopTimeoutMs: 50);
        var entered = new TaskCompletionSource();
        rig.Stage = async (_, call) =>
        {
            entered.SetResult();
            await Task.Delay(Timeout.Infinite, call.Cancellation);
            throw new InvalidOperationException("not reached");
        };
        var running = rig.Client.CallAsync("Node", "NodeStageVolume");
        await entered.Task.WaitAsync(s_soon);
        await rig.Server.DisposeAsync();
        (await running).Fails(GrpcStatusCode.Unavailable);
        Assert.DoesNotContain(rig.Log.Lines, line => line.Level >= LogLevel.Error);
    }

    [Fact]
    public async Task A_call_that_runs_when_the_server_stops_may_end()
    {
        await using var rig = await GrpcRig.StartAsync(stopTimeoutMs: 60_000);
        var entered = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        rig.Stage = async (_, _) =>
        {
            entered.SetResult();
            await release.Task;
            return new NodeStageVolumeResponse();
        };
        var running = rig.Client.CallAsync("Node", "NodeStageVolume");
        await entered.Task.WaitAsync(s_soon);
        var stop = rig.Server.DisposeAsync().AsTask();
        release.SetResult();
        (await running).Ok();
        await stop.WaitAsync(s_soon);
        Assert.False(File.Exists(rig.Socket));
    }
}
