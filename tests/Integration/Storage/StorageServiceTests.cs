using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Integration.Storage;

/// <summary>The storage server over its socket.</summary>
public sealed class StorageServiceTests
{
    private const int Unit = Limits.ChecksumUnitBytes;
    private const long Mega = 1 << 20;

    [Fact]
    public async Task BlocksOfAllSizesRoundTripWholeAndInParts()
    {
        using var rig = new StorageRig(verifyOnRead: true, (TierClass.Ssd, 256 * Mega));
        var random = new Random(21);
        int[] edges = [1, Unit - 1, Unit, Unit + 1, Limits.BlockSizeBytes - 1, Limits.BlockSizeBytes];
        ulong sequence = 0;
        foreach (var length in edges.Concat(Enumerable.Range(0, 30).Select(_ => random.Next(1, Limits.BlockSizeBytes + 1))))
        {
            var id = BlockId.Make(1, ++sequence);
            var data = BlockCalls.Bytes(id, length);
            Assert.Equal((Status.OK, TierClass.Ssd), await rig.Client.WriteAsync(id, data));
            Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, data));
            var first = random.Next(BlockFormat.Units(length)) * Unit;
            Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, data, first));
            Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, data, first, Unit));
        }
    }

    [Fact]
    public async Task EachFailureHasItsStatus()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 16 * Mega));
        var id = BlockId.Make(1, 1);
        var data = BlockCalls.Bytes(id, 200_000);
        var checksums = BlockCalls.Checksums(data);
        Assert.Equal(Status.BlockNotFound, await rig.Client.ReadAndVerifyAsync(id, data));
        Assert.Equal(Status.BadRequest, (await rig.Client.CallAsync<WriteBlockRequest, WriteBlockReply>(new(id, TierClass.Ssd, checksums), BlockCalls.SessionOf(id))).Status);
        checksums[2]++;
        Assert.Equal(Status.ChecksumMismatch, (await rig.Client.CallAsync<WriteBlockRequest, WriteBlockReply>(new(id, TierClass.Ssd, checksums), BlockCalls.SessionOf(id), data)).Status);
        Assert.Equal(Status.BlockNotFound, await rig.Client.ReadAndVerifyAsync(id, data));

        Assert.Equal(Status.OK, (await rig.Client.WriteAsync(id, data)).Status);
        Assert.Equal(Status.OK, (await rig.Client.WriteAsync(id, data)).Status);
        Assert.Equal(Status.BadRequest, (await rig.Client.WriteAsync(id, BlockCalls.Bytes(id + 1, 200_000))).Status);
        Assert.Equal(Status.BadRequest, await rig.Client.ReadAndVerifyAsync(id, data, 1, Unit));
        Assert.Equal(Status.BadRequest, await rig.Client.ReadAndVerifyAsync(id, data, 0, 100));
        Assert.Equal(Status.BadRequest, await rig.Client.ReadAndVerifyAsync(id, data, 0, 0));
        Assert.Equal(Status.BadRequest, await rig.Client.ReadAndVerifyAsync(id, data, 4 * Unit));
        Assert.Equal(Status.BadRequest, (await rig.Client.CallAsync<DeleteVolumeBlocksRequest, Empty>(new(0))).Status);
        Assert.Equal(Status.BadRequest, (await rig.Client.CallAsync<ListBlocksRequest, ListBlocksReply>(new(0, 0))).Status);
        Assert.Equal(Status.UnknownOpcode, (await rig.Client.CallAsync<RenewSessionRequest, Empty>(default)).Status);
        Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, data));
    }

    [Fact]
    public async Task SessionsThatEndedMayNotWrite()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 16 * Mega));
        var next = 0UL;
        Assert.Equal([Status.OK, Status.OK, Status.OK], await WriteAsAsync(1, 2, 3));
        Assert.Equal(Status.OK, await TellAsync(7, 3, 1, 3));
        Assert.Equal([Status.OK, Status.StaleEpoch, Status.OK, Status.OK], await WriteAsAsync(1, 2, 3, 4));
        Assert.Equal(Status.OK, await TellAsync(7, 4, 3));
        // The one that was sent before it comes late, and says nothing new.
        Assert.Equal(Status.OK, await TellAsync(7, 3, 1, 3));
        Assert.Equal([Status.StaleEpoch, Status.StaleEpoch, Status.OK, Status.StaleEpoch, Status.OK], await WriteAsAsync(1, 2, 3, 4, 5));
        Assert.Equal(Status.BadRequest, await TellAsync(7, 4, 5));
        Assert.Equal(Status.BadRequest, await TellAsync(7, 4, 0));
        Assert.Equal(Status.OK, await TellAsync(7, 9));
        Assert.Equal([Status.StaleEpoch, Status.OK], await WriteAsAsync(9, 10));

        // What they had written before stays for those who refer to it; sessions of other volumes have nothing to say here.
        var first = BlockId.Make(7, 1);
        Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(first, BlockCalls.Bytes(first, 100)));
        var other = BlockId.Make(8, 1);
        Assert.Equal(Status.BadRequest, (await rig.Client.WriteAsync(BlockCalls.SessionOf(first), other, [1])).Status);
        Assert.Equal(Status.BadRequest, (await rig.Client.WriteAsync(default, other, [1])).Status);
        Assert.Equal(Status.OK, (await rig.Client.WriteAsync(other, [1])).Status);

        async Task<Status> TellAsync(uint volume, uint opened, params uint[] live) =>
            (await rig.Client.CallAsync<LiveSessionsRequest, Empty>(new(volume, opened, live))).Status;

        async Task<Status[]> WriteAsAsync(params uint[] sessions)
        {
            var statuses = new List<Status>();
            foreach (var session in sessions)
            {
                var id = BlockId.Make(7, ++next);
                statuses.Add((await rig.Client.WriteAsync(BlockCalls.SessionOf(id, session), id, BlockCalls.Bytes(id, 100))).Status);
            }

            return [.. statuses];
        }
    }

    [Fact]
    public async Task AFullTierIsPassedOverAndDeletingMakesRoom()
    {
        var charge = BlockFormat.Charge(Limits.BlockSizeBytes);
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 3 * charge), (TierClass.Hdd, 2 * charge));
        var taken = new List<TierClass>();
        for (ulong i = 1; i <= 5; i++)
        {
            var (status, tier) = await rig.Client.WriteAsync(BlockId.Make(1, i), BlockCalls.Bytes(i, Limits.BlockSizeBytes), TierClass.Ssd);
            Assert.Equal(Status.OK, status);
            taken.Add(tier);
        }

        Assert.Equal([TierClass.Ssd, TierClass.Ssd, TierClass.Ssd, TierClass.Hdd, TierClass.Hdd], taken);
        Assert.All(await rig.Client.TiersAsync(), t => Assert.Equal(t.CapacityBytes, t.UsedBytes));
        Assert.Equal(Status.TierFull, (await rig.Client.WriteAsync(BlockId.Make(1, 6), [1])).Status);
        Assert.Equal(Status.OK, await rig.Client.DeleteAsync(BlockId.Make(1, 2), BlockId.Make(1, 77)));
        Assert.Equal((Status.OK, TierClass.Ssd), await rig.Client.WriteAsync(BlockId.Make(1, 6), [1], TierClass.Hdd));
        Assert.Equal(Status.BlockNotFound, await rig.Client.ReadAndVerifyAsync(BlockId.Make(1, 2), []));
    }

    [Fact]
    public async Task ARestartedServerStillHasItsBlocksAndItsClientCarriesOn()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 64 * Mega));
        var ids = Enumerable.Range(1, 20).Select(i => BlockId.Make(3, (ulong)i)).ToArray();
        foreach (var id in ids)
        {
            Assert.Equal(Status.OK, (await rig.Client.WriteAsync(id, BlockCalls.Bytes(id, 99_999))).Status);
        }

        var before = await rig.Client.TiersAsync();
        var files = Directory.GetFiles(rig.Root, "*-01869f", SearchOption.AllDirectories).Order(StringComparer.Ordinal).ToArray();
        Assert.Equal(20, files.Length);
        rig.Stop();
        using (var file = File.OpenWrite(files[0]))
        {
            file.SetLength(70_000);
        }

        using (var file = File.OpenWrite(files[1]))
        {
            file.Seek(-1, SeekOrigin.End);
            file.WriteByte(0xEE);
        }

        rig.Restart();
        var statuses = new List<Status>();
        foreach (var id in ids)
        {
            statuses.Add(await rig.Client.ReadAndVerifyAsync(id, BlockCalls.Bytes(id, 99_999)));
        }

        Assert.Equal(1, statuses.Count(s => s == Status.BlockNotFound));
        Assert.Equal(1, statuses.Count(s => s == Status.BlockCorrupt));
        Assert.Equal(18, statuses.Count(s => s == Status.OK));
        Assert.Equal(before[0].Blocks - 1, (await rig.Client.TiersAsync())[0].Blocks);
    }

    [Fact]
    public async Task DeletingAVolumeFreesItAndLeavesTheOthers()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 64 * Mega), (TierClass.Null, 64 * Mega));
        for (ulong i = 1; i <= 50; i++)
        {
            await rig.Client.WriteAsync(BlockId.Make(1, i), BlockCalls.Bytes(i, 5000), TierClass.Ssd);
            await rig.Client.WriteAsync(BlockId.Make(2, i), BlockCalls.Bytes(i, 5000), i % 2 == 0 ? TierClass.Ssd : TierClass.Null);
        }

        Assert.Equal(Status.OK, (await rig.Client.CallAsync<DeleteVolumeBlocksRequest, Empty>(new(2))).Status);
        Assert.Equal(Status.OK, (await rig.Client.CallAsync<DeleteVolumeBlocksRequest, Empty>(new(2))).Status);
        var list = await rig.Client.CallAsync<ListBlocksRequest, ListBlocksReply>(new(0, 1000));
        Assert.True(list.Value.End);
        Assert.Equal(Enumerable.Range(1, 50).Select(i => BlockId.Make(1, (ulong)i)), list.Value.BlockIds);
        Assert.True(rig.Host.WaitForRemovals(30_000));
        var tiers = await rig.Client.TiersAsync();
        Assert.Equal((ulong)(50 * BlockFormat.Charge(5000)), tiers[0].UsedBytes);
        Assert.Equal((0UL, 0UL), (tiers[1].UsedBytes, tiers[1].Blocks));
    }

    [Fact]
    public async Task ListingIsPaged()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Null, 64 * Mega));
        var ids = Enumerable.Range(1, 25).Select(i => BlockId.Make((uint)(i % 2) + 1, (ulong)i * 1000)).Order().ToArray();
        foreach (var id in ids)
        {
            await rig.Client.WriteAsync(id, [7], TierClass.Null);
        }

        var listed = new List<ulong>();
        for (var end = false; !end;)
        {
            var part = (await rig.Client.CallAsync<ListBlocksRequest, ListBlocksReply>(new(listed.LastOrDefault(), 10))).Value;
            Assert.InRange(part.BlockIds.Length, 1, 10);
            listed.AddRange(part.BlockIds);
            end = part.End;
        }

        Assert.Equal(ids, listed);
    }

    [Fact]
    public async Task TheNullTierSwallowsAndReadsZeros()
    {
        using var rig = new StorageRig(verifyOnRead: true, (TierClass.Ssd, 16 * Mega), (TierClass.Null, 16 * Mega));
        var id = BlockId.Make(1, 1);
        Assert.Equal((Status.OK, TierClass.Null), await rig.Client.WriteAsync(id, BlockCalls.Bytes(id, 300_001), TierClass.Null));
        Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, new byte[300_001]));
        Assert.Equal(Status.OK, await rig.Client.ReadAndVerifyAsync(id, new byte[300_001], 4 * Unit));
        Assert.Empty(Directory.GetFiles(Path.Combine(rig.Root, "Ssd"), "*-*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task TheScrubberFreesOverTheLiveServer()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 64 * Mega));
        for (ulong i = 1; i <= 30; i++)
        {
            await rig.Client.WriteAsync(BlockId.Make(1, i), [1, 2, 3]);
        }

        var scrubber = rig.Host.StartScrubber(ids => Task.FromResult(ids.Where(id => id % 2 == 0).ToArray()));
        await scrubber.RunOnceAsync();
        Assert.Equal(15UL, (await rig.Client.TiersAsync())[0].Blocks);
        Assert.Contains(rig.Host.Metrics(), m => m is { Name: "ephemeralfs_storage_scrub_freed_blocks_total", Value: 15 });
    }

    [Fact]
    public async Task AskedToShutDownItSaysSo()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Null, 16 * Mega));
        Assert.False(rig.Host.ShutdownRequested.IsCompleted);
        Assert.Equal(Status.OK, (await rig.Client.CallAsync<ShutdownRequest, Empty>(default)).Status);
        await rig.Host.ShutdownRequested.WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public void WrongOptionsAreOneClearLine()
    {
        using var rig = new StorageRig(verifyOnRead: false, (TierClass.Ssd, 16 * Mega));
        var good = new StorageOptions
        {
            Endpoint = Endpoint.Unix(Path.Combine(rig.Root, "other.sock")),
            Tiers = [new TierOptions(TierClass.Null, "", 16 * Mega)],
            StateDirectory = Path.Combine(rig.Root, "state"),
            Name = "s2",
        };
        AssertFails<ArgumentException>("use 1 to 63 characters", good with { Name = "Bad Name" });
        AssertFails<ArgumentException>("needs a tier", good with { Tiers = [] });
        AssertFails<ArgumentException>("too small", good with { Tiers = [new TierOptions(TierClass.Null, "", 100)] });
        AssertFails<ArgumentException>("absolute path", good with { Tiers = [new TierOptions(TierClass.Ssd, "here", 16 * Mega)] });
        AssertFails<ArgumentException>("a storage server has dram", good with { Tiers = [new TierOptions(TierClass.Object, "s3", 16 * Mega)] });
        AssertFails<IOException>("stop the other server of this name", good with { Name = "s1" });
        AssertFails<IOException>("in use by another storage server", good with { Tiers = [new TierOptions(TierClass.Ssd, Path.Combine(rig.Root, "Ssd"), 16 * Mega)] });
        AssertFails<Exception>("in use", good with { Endpoint = rig.Endpoint });
        new StorageHost(good).Dispose();
    }

    private static void AssertFails<T>(string text, StorageOptions options)
        where T : Exception
    {
        var error = Assert.ThrowsAny<T>(() => new StorageHost(options));
        Assert.Contains(text, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }
}
