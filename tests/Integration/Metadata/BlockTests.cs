using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>Blocks and volumes that nobody needs are deleted at the storage servers, whenever those can be reached.</summary>
public class BlockTests : MetadataFixture
{
    [Fact]
    public async Task Blocks_without_a_file_are_deleted_where_they_are()
    {
        var node = await NodeAsync();
        using var first = new FakeStorage();
        using var second = new FakeStorage();
        Host.UpdateServers([first.Status(1), second.Status(2)]);
        var file = (await node.CreateAsync("f")).Value.Attributes.Ino;
        var kept = (await node.WriteBlockAsync(file, 0, 100, server: 1)).Value;
        await node.WriteBlockAsync(file, 1000, 100, server: 1);
        await node.WriteBlockAsync(file, 2000, 100, server: 2);
        await node.CallAsync<SetAttrRequest, EntryReply>(new(file, SetAttrFields.Size, 0, 0, 0, 500, 0, 0));
        await UntilAsync(() => Metric("ephemeralfs_metadata_blocks_to_delete") == 0, "the queues are empty");
        Assert.Equal((1, 1), (first.Deleted.Count, second.Deleted.Count));
        Assert.Equal(1, Metric("ephemeralfs_metadata_blocks"));
        Assert.Equal(100UL, kept.Attributes.Size);
        var before = Host.Dump(1);
        Restart();
        Assert.Equal(before, Host.Dump(1));
    }

    [Fact]
    public async Task A_server_that_is_away_gets_its_deletions_when_it_comes()
    {
        var node = await NodeAsync();
        var file = (await node.CreateAsync("f")).Value.Attributes.Ino;
        for (var i = 0UL; i < 20; i++)
        {
            await node.WriteBlockAsync(file, i * 4096, 4096, server: 1 + (uint)(i % 2));
        }

        await node.CallAsync<SetAttrRequest, EntryReply>(new(file, SetAttrFields.Size, 0, 0, 0, 0, 0, 0));
        using var here = new FakeStorage();
        using var later = new FakeStorage(start: false);
        Host.UpdateServers([here.Status(1), later.Status(2)]);
        await UntilAsync(() => here.Deleted.Count == 10, "the server that is there gets its deletions");
        Assert.Equal(10, Metric("ephemeralfs_metadata_blocks_to_delete"));
        Restart();
        Host.UpdateServers([here.Status(1), later.Status(2)]);
        later.Start();
        await UntilAsync(() => later.Deleted.Count == 10 && Metric("ephemeralfs_metadata_blocks_to_delete") == 0, "the other one too");
    }

    [Fact]
    public async Task A_deleted_volume_is_deleted_everywhere()
    {
        using var storage = new FakeStorage();
        using var admin = new RpcClient(Host.Endpoint);
        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(2, "second", 0, 0));
        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(9, "third", 0, 0));
        using var node = await TestNode.OpenAsync(Host.Endpoint, "second");
        Assert.Equal(Status.VolumeBusy, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(2, "second", false))).Status);
        Assert.Equal(Status.OK, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(2, "second", true))).Status);
        Assert.Equal(Status.UnknownSession, (await node.ReadAsync<StatFsRequest, StatFsReply>(default)).Status);
        Assert.Equal(Status.OK, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(2, "second", true))).Status);
        Restart();
        Host.UpdateServers([storage.Status(1)]);
        await UntilAsync(() => storage.DroppedVolumes.Contains(2U), "the volume is dropped");
        Assert.Equal(["tmp", "third"], (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value.Volumes.Select(v => v.Name));
        Assert.Equal(["third"], (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(new([9]))).Value.Volumes.Select(v => v.Name));
        Assert.Empty((await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(new([2]))).Value.Volumes);
    }

    [Fact]
    public async Task Storage_servers_hear_of_sessions_that_ended()
    {
        using var storage = new FakeStorage();
        using var later = new FakeStorage(start: false);
        Host.UpdateServers([storage.Status(1), later.Status(2) with { Alive = false }]);
        var stays = await NodeAsync();
        var closes = await NodeAsync();
        await closes.ReadAsync<CloseSessionRequest, Empty>(default);
        await UntilAsync(() => Told(storage, 2, [1]), "it is told which one lives");
        // A new life of the server knows nothing; a new life of the metadata server does not know what it has told.
        storage.Sessions.Clear();
        Host.UpdateServers([storage.Status(1) with { StartedNs = 5 }, later.Status(2) with { Alive = false }]);
        await UntilAsync(() => Told(storage, 2, [1]), "it is told again");
        storage.Sessions.Clear();
        Restart();
        Host.UpdateServers([storage.Status(1) with { StartedNs = 5 }, later.Status(2)]);
        later.Start();
        await UntilAsync(() => Told(storage, 2, [1]) && Told(later, 2, [1]), "both are told");
        await stays.ReadAsync<CloseSessionRequest, Empty>(default);
        await UntilAsync(() => Told(storage, 2, []) && Told(later, 2, []), "nobody lives");

        static bool Told(FakeStorage server, uint opened, uint[] live) =>
            server.Sessions.Any(s => s.Volume == 1 && s.Opened == opened && s.Live.SequenceEqual(live));
    }

    [Fact]
    public async Task Garbage_is_what_no_file_and_no_live_session_needs()
    {
        using var admin = new RpcClient(Host.Endpoint);
        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(5, "five", 0, 0));
        var node = await NodeAsync();
        var file = (await node.CreateAsync("f")).Value.Attributes.Ino;
        var uncommitted = await node.NewBlockAsync();
        await node.WriteBlockAsync(file, 0, 100);
        var used = (await node.ReadAsync<GetLayoutRequest, LayoutReply>(new(file, 0, 100))).Value.Extents[0].BlockId;
        await node.WriteBlockAsync(file, 0, 100);
        ulong[] blocks = [used, uncommitted, BlockId.Make(3, 1), BlockId.Make(5, 1), BlockId.Make(6, 1)];
        Assert.Equal([used, BlockId.Make(3, 1), BlockId.Make(5, 1)], (await CheckAsync(blocks)).Order());
        await node.ReadAsync<CloseSessionRequest, Empty>(default);
        Assert.Contains(uncommitted, await CheckAsync(blocks));

        async Task<ulong[]> CheckAsync(ulong[] ids) => (await admin.CallAsync<CheckBlocksRequest, CheckBlocksReply>(new(ids))).Value.Garbage;
    }

    [Fact]
    public async Task Creating_a_volume_again_changes_its_quota_and_nothing_else()
    {
        using var admin = new RpcClient(Host.Endpoint);
        Assert.Equal(Status.OK, await CreateAsync(1, "tmp", 100));
        Assert.Equal(Status.VolumeExists, await CreateAsync(1, "other", 100));
        Assert.Equal(Status.VolumeExists, await CreateAsync(2, "tmp", 100));
        Assert.Equal(Status.BadRequest, await CreateAsync(0, "zero", 100));
        Assert.Equal(Status.BadRequest, await CreateAsync(1 << 24, "large", 100));
        Restart();
        var list = await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default);
        Assert.Equal(Status.OK, list.Status);
        var volume = Assert.Single(list.Value.Volumes);
        Assert.Equal(("tmp", 100UL, 1U), (volume.Name, volume.LimitBytes, volume.Id));

        async Task<Status> CreateAsync(uint id, string name, ulong limit) =>
            (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(id, name, limit, 0))).Status;
    }
}
