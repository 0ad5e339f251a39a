using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Integration.Storage;

/// <summary>A storage server in this process with directories of its own, and a client.</summary>
internal sealed class StorageRig : IDisposable
{
    private readonly TierOptions[] _tiers;
    private readonly bool _verifyOnRead;

    public StorageRig(bool verifyOnRead = false, params (TierClass Class, long CapacityBytes)[] tiers)
    {
        _verifyOnRead = verifyOnRead;
        Root = Directory.CreateTempSubdirectory("efs-storage-").FullName;
        Endpoint = Endpoint.Unix(Path.Combine(Root, "s.sock"));
        _tiers = [.. tiers.Select(t => new TierOptions(
            t.Class, t.Class == TierClass.Null ? "" : Directory.CreateDirectory(Path.Combine(Root, t.Class.ToString())).FullName, t.CapacityBytes))];
        Host = StartHost();
        Client = new RpcClient(Endpoint);
    }

    public string Root { get; }

    public Endpoint Endpoint { get; }

    public StorageHost Host { get; private set; }

    public RpcClient Client { get; }

    public void Restart()
    {
        Host.Dispose();
        Host = StartHost();
    }

    public void Stop() => Host.Dispose();

    public void Dispose()
    {
        Client.Dispose();
        Host.Dispose();
        Directory.Delete(Root, recursive: true);
    }

    private StorageHost StartHost()
    {
        var host = new StorageHost(new StorageOptions
        {
            Endpoint = Endpoint,
            Tiers = _tiers,
            StateDirectory = Path.Combine(Root, "state"),
            Name = "s1",
            VerifyOnRead = _verifyOnRead,
        });
        host.Start();
        return host;
    }
}

/// <summary>Blocks whose bytes follow from their id and length, and the calls that move them.</summary>
internal static class BlockCalls
{
    public static byte[] Bytes(ulong id, int length)
    {
        var data = new byte[length];
        new Random(unchecked((int)(id * 31) + length)).NextBytes(data);
        return data;
    }

    public static uint[] Checksums(ReadOnlySpan<byte> data)
    {
        var checksums = new uint[BlockFormat.Units(data.Length)];
        for (var i = 0; i < checksums.Length; i++)
        {
            var start = i * Limits.ChecksumUnitBytes;
            checksums[i] = Crc32C.Compute(data[start..Math.Min(start + Limits.ChecksumUnitBytes, data.Length)]);
        }

        return checksums;
    }

    /// <summary>A session of the volume that the block belongs to.</summary>
    public static CallHeader SessionOf(ulong id, uint number = 1) => new(((ulong)BlockId.VolumeOf(id) << 32) | number, 1);

    public static Task<(Status Status, TierClass Tier)> WriteAsync(this RpcClient client, ulong id, byte[] data, TierClass tier = TierClass.Dram) =>
        client.WriteAsync(SessionOf(id), id, data, tier);

    public static async Task<(Status Status, TierClass Tier)> WriteAsync(
        this RpcClient client, CallHeader session, ulong id, byte[] data, TierClass tier = TierClass.Dram)
    {
        var result = await client.CallAsync<WriteBlockRequest, WriteBlockReply>(new(id, tier, Checksums(data)), session, data);
        return (result.Status, result.Value.Tier);
    }

    /// <summary>Reads and verifies as a client must: lengths, checksums, bytes.</summary>
    public static async Task<Status> ReadAndVerifyAsync(this RpcClient client, ulong id, byte[] expected, int offset = 0, int length = int.MaxValue)
    {
        var result = await client.CallAsync<ReadBlockRequest, ReadBlockReply>(new(id, (uint)offset, (uint)length));
        using var body = result.Body;
        if (result.IsOk)
        {
            var end = (int)Math.Min(expected.Length, offset + (long)length);
            Assert.Equal((uint)expected.Length, result.Value.BlockLength);
            Assert.NotNull(body);
            Assert.True(expected.AsSpan(offset, end - offset).SequenceEqual(body.Span), $"block {id:x} has wrong bytes");
            Assert.Equal(Checksums(body.Span), result.Value.Checksums);
        }

        return result.Status;
    }

    public static async Task<Status> DeleteAsync(this RpcClient client, params ulong[] ids) =>
        (await client.CallAsync<DeleteBlocksRequest, Empty>(new(ids))).Status;

    public static async Task<TierStatus[]> TiersAsync(this RpcClient client) =>
        (await client.CallAsync<StorageStatusRequest, StorageStatusReply>(default)).Value.Tiers;
}
