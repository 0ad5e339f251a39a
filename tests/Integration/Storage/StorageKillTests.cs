using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Integration.Storage;

/// <summary>The server dies as by kill -9 and is started again; calls in flight are resent by the client.</summary>
public sealed class StorageKillTests
{
    [Theory]
    [InlineData("storage.after-write")]
    [InlineData("storage.before-reply")]
    public async Task AWriteThatWasInterruptedIsAnsweredAfterTheRestart(string killPoint)
    {
        using var server = new StorageProcess();
        await server.StartAsync($"{killPoint}:3");
        using var client = new RpcClient(server.Endpoint);
        for (ulong i = 1; i <= 2; i++)
        {
            Assert.Equal(Status.OK, (await client.WriteAsync(BlockId.Make(1, i), BlockCalls.Bytes(i, 300_000))).Status);
        }

        var write = client.WriteAsync(BlockId.Make(1, 3), BlockCalls.Bytes(3, 300_000));
        await server.DiedAsync();
        Assert.False(write.IsCompleted);
        await server.StartAsync();
        Assert.Equal((Status.OK, TierClass.Ssd), await write);
        for (ulong i = 1; i <= 3; i++)
        {
            Assert.Equal(Status.OK, await client.ReadAndVerifyAsync(BlockId.Make(1, i), BlockCalls.Bytes(i, 300_000)));
        }

        var tier = (await client.TiersAsync())[0];
        Assert.Equal((3UL, (ulong)(3 * BlockFormat.Charge(300_000))), (tier.Blocks, tier.UsedBytes));
    }

    [Fact]
    public async Task KilledUnderLoadItKeepsEveryAcknowledgedBlockAndServesNoTornOne()
    {
        const int Writers = 4;
        const int BlocksPerWriter = 40;
        using var server = new StorageProcess();
        await server.StartAsync();
        using var client = new RpcClient(server.Endpoint);
        var acknowledged = 0;
        using var progress = new SemaphoreSlim(0);
        var writers = Enumerable.Range(0, Writers).Select(w => Task.Run(async () =>
        {
            for (var i = 0; i < BlocksPerWriter; i++)
            {
                var id = BlockId.Make((uint)w + 1, (ulong)i + 1);
                Assert.Equal(Status.OK, (await client.WriteAsync(id, BlockCalls.Bytes(id, 700_000))).Status);
                Interlocked.Increment(ref acknowledged);
                progress.Release();
            }
        })).ToArray();

        for (var kill = 0; kill < 3; kill++)
        {
            // A kill after each 30 answers hits writes of the others in flight.
            for (var i = 0; i < 30; i++)
            {
                Assert.True(await progress.WaitAsync(TimeSpan.FromMinutes(2)));
            }

            server.Kill();
            await server.StartAsync();
        }

        await Task.WhenAll(writers);
        Assert.Equal(Writers * BlocksPerWriter, acknowledged);
        for (var w = 0; w < Writers; w++)
        {
            for (var i = 0; i < BlocksPerWriter; i++)
            {
                var id = BlockId.Make((uint)w + 1, (ulong)i + 1);
                Assert.Equal(Status.OK, await client.ReadAndVerifyAsync(id, BlockCalls.Bytes(id, 700_000)));
            }
        }

        var tier = (await client.TiersAsync())[0];
        Assert.Equal((ulong)(Writers * BlocksPerWriter * BlockFormat.Charge(700_000)), tier.UsedBytes);
    }
}
