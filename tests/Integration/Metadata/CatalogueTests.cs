using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>What a metadata server keeps of its volumes for a controller, and over restarts.</summary>
public class CatalogueTests : MetadataFixture
{
    private static readonly VolumeProperties s_properties = new("tier=ssd", [new("b", "2"), new("a", "1")], 1234);

    [Fact]
    public async Task What_is_kept_of_a_volume_is_told_and_can_be_replaced()
    {
        using var admin = new RpcClient(Host.Endpoint);
        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(1, "tmp", 10, 20, s_properties));
        Assert.Equal(Status.OK, (await admin.CallAsync<CloneVolumeRequest, VolumeStatus>(new(1, 2, "copy", 0, 0, new("", null, 7)))).Status);
        for (var round = 0; round < 2; round++)
        {
            var (original, copy) = await TellAsync();
            Assert.Equal((10UL, 20UL, "tier=ssd", "", 0U, 1234L), (original.LimitBytes, original.LimitInodes, original.Hints, original.Source, original.SourceId, original.CreatedNs));
            Assert.Equal(s_properties.Labels, original.Labels);
            Assert.Equal(("", "tmp", 1U, 7L), (copy.Hints, copy.Source, copy.SourceId, copy.CreatedNs));
            Restart();
        }

        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(1, "tmp", 11, 20, s_properties with { Hints = "tier=hdd" }));
        await admin.CallAsync<CloneVolumeRequest, VolumeStatus>(new(1, 2, "copy", 0, 5, new("copies=2", null, 7)));
        for (var round = 0; round < 2; round++)
        {
            var (original, copy) = await TellAsync();
            Assert.Equal((11UL, "tier=hdd", 1234L), (original.LimitBytes, original.Hints, original.CreatedNs));
            Assert.Equal((5UL, "copies=2", "tmp"), (copy.LimitInodes, copy.Hints, copy.Source));
            Restart();
        }

        async Task<(VolumeStatus, VolumeStatus)> TellAsync()
        {
            var volumes = (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value.Volumes;
            Assert.Equal([1U, 2U], volumes.Select(v => v.Id));
            return (volumes[0], volumes[1]);
        }
    }

    [Fact]
    public async Task More_labels_than_can_be_told_again_are_refused()
    {
        using var admin = new RpcClient(Host.Endpoint);
        Label[] labels = [.. Enumerable.Range(0, 9).Select(i => new Label($"{i}", new string('x', 1000)))];
        Assert.Equal(Status.BadRequest, (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(2, "v", 0, 0, new("", labels, 0)))).Status);
        Assert.Equal(Status.BadRequest, (await admin.CallAsync<CloneVolumeRequest, VolumeStatus>(new(1, 2, "v", 0, 0, new("", labels, 0)))).Status);
    }

    [Fact]
    public async Task Only_a_volume_with_that_id_and_that_name_is_deleted()
    {
        using var admin = new RpcClient(Host.Endpoint);
        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(2, "second", 0, 0));
        Assert.Equal(Status.OK, await DeleteAsync(1, "second"));
        Assert.Equal(Status.OK, await DeleteAsync(2, "tmp"));
        Assert.Equal(Status.OK, await DeleteAsync(1, ""));
        Assert.Equal(Status.OK, await DeleteAsync(3, "tmp"));
        Assert.Equal(2, Host.Volumes.Length);
        Assert.Equal(Status.OK, await DeleteAsync(2, "second"));
        Assert.Equal(["tmp"], Host.Volumes.Select(v => v.Name));

        async Task<Status> DeleteAsync(uint id, string name) => (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(id, name, true))).Status;
    }

    [Fact]
    public async Task The_highest_id_is_that_of_all_volumes_that_ever_were()
    {
        using var storage = new FakeStorage();
        using var admin = new RpcClient(Host.Endpoint);
        await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(9, "v", 0, 0));
        await admin.CallAsync<DeleteVolumeRequest, Empty>(new(9, "v", true));
        Host.UpdateServers([storage.Status(1)]);
        await UntilAsync(() => Metric("ephemeralfs_metadata_deleted_volumes") == 0, "the deleted volume is forgotten");
        Restart();
        var listed = (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value;
        Assert.Equal((9U, 1), (listed.HighestId, listed.Volumes.Length));
    }

    /// <summary>More than a frame can carry, were they told at once.</summary>
    [Fact]
    public async Task Many_volumes_are_listed_in_pages()
    {
        using var admin = new RpcClient(Host.Endpoint);
        Label[] labels = [.. Enumerable.Range(0, 7).Select(i => new Label($"{i}", new string('x', 1000)))];
        const uint Count = 150;
        Assert.True(Count * labels.Sum(l => l.Value.Length) > Limits.FrameHeadMaxBytes);
        for (var id = Count + 1; id > 1; id--)
        {
            Assert.Equal(Status.OK, (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(id, $"v{id}", 0, 0, new("", labels, 0)))).Status);
        }

        Host.UpdateServers([new ServerStatus(ServerRole.Metadata, 1, "m", "unix:/m", "", 1, true, 0, [], [])]);
        var volumes = new List<VolumeStatus>();
        for (var end = false; !end;)
        {
            var page = await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(new([], volumes.Count == 0 ? 0 : volumes[^1].Id));
            Assert.Equal((Status.OK, volumes.Count == 0 ? 1 : 0), (page.Status, page.Value.Servers.Length));
            volumes.AddRange(page.Value.Volumes);
            end = page.Value.End;
        }

        Assert.Equal(Enumerable.Range(1, (int)Count + 1).Select(i => (uint)i), volumes.Select(v => v.Id));
        Assert.All(volumes.Skip(1), v => Assert.Equal(labels, v.Labels));
    }

    [Fact]
    public async Task Servers_that_were_ever_told_of_are_told_again_and_ids_of_storage_servers_do_not_change()
    {
        using var storage = new FakeStorage();
        var metadata = new ServerStatus(ServerRole.Metadata, 3, "m", "unix:/m", "", 1, true, 0, [], []);
        Host.UpdateServers([storage.Status(5), metadata, new(ServerRole.Node, 1, "n", "unix:/n", "", 1, true, 0, [], [])]);
        Host.UpdateServers([storage.Status(5) with { Endpoint = "unix:/elsewhere" }, storage.Status(5) with { Name = "other" }]);
        Host.UpdateServers([storage.Status(5) with { Id = 6, Endpoint = "unix:/nowhere" }, metadata with { Id = 4 }]);
        Restart();
        using var admin = new RpcClient(Host.Endpoint);
        Assert.Equal(
            [new(ServerRole.Metadata, 4, "m", "unix:/m"), new KnownServer(ServerRole.Storage, 5, "s5", "unix:/elsewhere")],
            (await admin.CallAsync<ListVolumesRequest, ListVolumesReply>(default)).Value.Servers.OrderBy(s => s.Role));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public async Task A_catalogue_of_another_format_is_refused_and_named(uint version)
    {
        Host.Abort();
        var path = Path.Combine(StateDirectory, "metadata", "catalogue");
        var bytes = await File.ReadAllBytesAsync(path);
        BitConverter.TryWriteBytes(bytes.AsSpan(4), version);
        BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4), Crc32C.Compute(bytes.AsSpan(0, bytes.Length - 4)));
        await File.WriteAllBytesAsync(path, bytes);
        var refused = Assert.Throws<DamagedStateException>(() => Restart());
        Assert.Contains($"in format {version}", refused.Message, StringComparison.Ordinal);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path));
    }
}
