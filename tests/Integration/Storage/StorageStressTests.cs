using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Integration.Storage;

/// <summary>Many clients at once, and peers that send rubbish.</summary>
public sealed class StorageStressTests
{
    private const long Mega = 1 << 20;

    [Fact]
    public async Task ManyClientsWritingReadingAndDeletingTheSameBlocks()
    {
        const int Clients = 4;
        const int InFlight = 4;
        const int Steps = 120;
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 8 * Mega), (TierClass.Hdd, 256 * Mega));
        var clients = Enumerable.Range(0, Clients).Select(_ => new RpcClient(rig.Endpoint)).ToArray();
        var unexpected = new ConcurrentBag<Status>();
        await Task.WhenAll(Enumerable.Range(0, Clients * InFlight).Select(worker => Task.Run(async () =>
        {
            var random = new Random(worker);
            var client = clients[worker % Clients];
            for (var step = 0; step < Steps; step++)
            {
                var id = BlockId.Make((uint)random.Next(1, 3), (ulong)random.Next(1, 16));
                var data = BlockCalls.Bytes(id, (int)BlockId.SequenceOf(id) * 40_000);
                var status = random.Next(100) switch
                {
                    < 40 => (await client.WriteAsync(id, data)).Status,
                    < 80 => await client.ReadAndVerifyAsync(id, data),
                    < 97 => await client.DeleteAsync(id),
                    _ => (await client.CallAsync<DeleteVolumeBlocksRequest, Empty>(new(BlockId.VolumeOf(id)))).Status,
                };
                if (status is not Status.OK and not Status.BlockNotFound)
                {
                    unexpected.Add(status);
                }
            }
        })));
        Array.ForEach(clients, c => c.Dispose());
        Assert.Empty(unexpected);
        Assert.True(rig.Host.WaitForRemovals(30_000));

        var listed = (await rig.Client.CallAsync<ListBlocksRequest, ListBlocksReply>(new(0, 1000))).Value.BlockIds;
        var tiers = await rig.Client.TiersAsync();
        Assert.Equal((ulong)listed.Length, tiers[0].Blocks + tiers[1].Blocks);
        Assert.Equal(listed.Sum(id => BlockFormat.Charge((int)BlockId.SequenceOf(id) * 40_000)), (long)(tiers[0].UsedBytes + tiers[1].UsedBytes));
        foreach (var id in listed)
        {
            Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, BlockCalls.Bytes(id, (int)BlockId.SequenceOf(id) * 40_000)));
        }
    }

    [Fact]
    public async Task RubbishOnTheSocketHarmsNobodyElse()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 64 * Mega));
        var id = BlockId.Make(1, 1);
        var data = BlockCalls.Bytes(id, 100_000);
        Assert.Equal(Status.OK, (await rig.Client.WriteAsync(id, data)).Status);
        var random = new Random(99);
        for (var i = 0; i < 300; i++)
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(rig.Endpoint.Address);
            try
            {
                socket.Send(i % 3 == 0 ? RandomBytes(random, random.Next(1, 500)) : RandomFrame(random));
                socket.Shutdown(SocketShutdown.Send);
                while (socket.Receive(new byte[4096]) > 0)
                {
                }
            }
            catch (SocketException)
            {
                // The server may cut such a connection at any point.
            }
        }

        // Frames that are well formed can only name blocks of volume 0 and up; the one that is looked at is in none of them.
        Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, data));
        Assert.True((await rig.Client.TiersAsync())[0].Healthy);
    }

    /// <summary>A frame whose header is right and whose message is not what the opcode asks for.</summary>
    private static byte[] RandomFrame(Random random)
    {
        Opcode[] opcodes = [Opcode.WriteBlock, Opcode.ReadBlock, Opcode.ListBlocks, Opcode.StorageStatus, Opcode.DeleteBlocks, (Opcode)random.Next(0x10000)];
        var opcode = opcodes[random.Next(opcodes.Length)];
        opcode = opcode == Opcode.Shutdown ? Opcode.None : opcode;
        var head = RandomBytes(random, random.Next(0, 40));
        var body = RandomBytes(random, random.Next(0, 3) * 1000);
        var header = new FrameHeader
        {
            Magic = FrameHeader.MagicValue,
            Version = FrameHeader.CurrentVersion,
            Opcode = opcode,
            RequestId = (ulong)random.NextInt64(),
            HeadLength = (uint)head.Length,
            BodyLength = (uint)body.Length,
            HeadChecksum = Crc32C.Compute(head),
        };
        header.HeaderChecksum = Crc32C.Compute(MemoryMarshal.AsBytes(new ReadOnlySpan<FrameHeader>(in header))[..^4]);
        return [.. MemoryMarshal.AsBytes(new ReadOnlySpan<FrameHeader>(in header)), .. head, .. body];
    }

    private static byte[] RandomBytes(Random random, int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
