using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Controller;

/// <summary>A controller that has lost its state directory, beside metadata servers that live: it learns from them what there is, and harms nothing until it has.</summary>
public sealed class LostStateTests : ControllerRig
{
    [Fact]
    public async Task Volumes_are_known_again_with_everything_that_was_said_of_them()
    {
        await StartMetadataAsync();
        Label[] labels = [new("csi.kind", "volume"), new("csi.name", "pvc 1"), new("empty", "")];
        await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new("plain", 0, 0));
        await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new("full", 1 << 30, 1000, "tier=ssd", labels));
        await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new("copy", 2 << 20, 500, "tier=hdd", [new("csi.kind", "snapshot")], "full"));
        await Client.CallAsync<ChangeVolumeRequest, VolumeStatus>(new("full", 2UL << 30, 2000, "tier=nvme,lifetime=60"));
        await Client.CallAsync<ChangeVolumeRequest, VolumeStatus>(new("copy", 4 << 20, 500, "tier=dram"));
        var before = (await GetAsync()).Value.Volumes;
        Assert.Equal(["copy", "full", "plain"], before.Select(v => v.Name));
        Assert.Equal((2UL << 30, "tier=nvme,lifetime=60", "full"), (before[1].LimitBytes, before[1].Hints, before[0].Source));

        // Also when the metadata server starts again meanwhile: it has them in its files.
        for (var round = 0; round < 2; round++)
        {
            await LoseControllerAsync();
            if (round == 0)
            {
                StartController();
                await RegisteredAsync();
            }
            else
            {
                await StopMetadataAsync();
                StartController();
                await StartMetadataAsync();
            }

            var after = (await GetAsync()).Value.Volumes;
            Assert.Equal(before.Select(v => v with { Labels = null }), after.Select(v => v with { Labels = null }));
            Assert.All(before.Zip(after), pair => Assert.Equal(pair.First.Labels, pair.Second.Labels));
            Assert.All(after, v => Assert.NotEqual(0, v.CreatedNs));
        }

        // Whoever asks again for what is there is told that it is, and for something else that it is not.
        Assert.Equal(before[1].Id, (await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new("full", 2UL << 30, 2000, "tier=nvme,lifetime=60", labels))).Value.Id);
        Assert.Equal(Status.VolumeExists, (await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new("full", 1 << 30, 1000, "tier=ssd", labels))).Status);
    }

    [Fact]
    public async Task A_new_volume_gets_an_id_that_no_volume_ever_had()
    {
        await StartMetadataAsync();
        var first = (await AddAsync("first")).Value.Id;
        await AddAsync("last");
        Assert.Equal(Status.OK, (await RemoveAsync("last")).Status);
        await LoseControllerAsync();
        StartController();
        await RegisteredAsync();
        var made = await AddAsync("new");
        Assert.Equal((Status.OK, first + 2), (made.Status, made.Value.Id));
        Assert.Equal(["first", "new"], await NamesAsync());
    }

    [Fact]
    public async Task Deleting_a_volume_deletes_that_one_and_no_other()
    {
        var metadata = await StartMetadataAsync();
        await AddAsync("theirs");
        await LoseControllerAsync();
        StartController();
        await RegisteredAsync();
        Assert.Equal(Status.OK, (await AddAsync("ours")).Status);
        Assert.Equal(Status.OK, (await RemoveAsync("never")).Status);
        Assert.Equal(Status.OK, (await RemoveAsync("ours")).Status);
        Assert.Equal(["theirs"], metadata.Volumes.Select(v => v.Name));
        Assert.Equal(Status.OK, (await RemoveAsync("theirs")).Status);
        Assert.Empty(metadata.Volumes);
        Assert.Empty(await NamesAsync());
    }

    [Fact]
    public async Task Before_any_metadata_server_registers_nothing_is_said_of_volumes()
    {
        await StartMetadataAsync();
        await AddAsync("theirs");
        await StopMetadataAsync();
        await LoseControllerAsync();
        StartController();
        Assert.Equal(
            [Status.Unavailable, Status.Unavailable, Status.Unavailable, Status.Unavailable, Status.Unavailable],
            [
                (await AddAsync("ours")).Status, (await RemoveAsync("theirs")).Status, (await GetAsync()).Status, (await GetAsync("theirs")).Status,
                (await Client.CallAsync<ChangeVolumeRequest, VolumeStatus>(new("theirs", 1, 1, ""))).Status,
            ]);
        Assert.Equal("no metadata server has registered yet", (await RemoveAsync("theirs")).Error);

        // Who looks for what is wrong is told what there is.
        Assert.Equal(Status.OK, (await Client.ListVolumesAsync(known: true)).Status);
        await StartMetadataAsync();
        Assert.Equal(["theirs"], await NamesAsync());
        Assert.Equal(Status.OK, (await RemoveAsync("never")).Status);
    }

    /// <summary>Extents name storage servers by their ids: with others all data would be lost.</summary>
    [Fact]
    public async Task Storage_servers_keep_their_ids_in_whatever_order_they_come_back()
    {
        await StartMetadataAsync();
        string[] names = ["s1", "s2", "s3"];
        var ids = new Dictionary<string, uint>();
        foreach (var name in names)
        {
            ids[name] = (await RegisterAsync(ServerRole.Storage, name)).Value.Id;
        }

        await RegisteredAsync(); // the metadata server has heard of them
        await LoseControllerAsync();
        await StopMetadataAsync();
        StartController();
        Assert.Equal(Status.OK, (await RegisterAsync(ServerRole.Node, "n1")).Status);
        var waits = RegisterAsync(ServerRole.Storage, "s3");
        await StartMetadataAsync();
        Assert.Equal(ids["s3"], (await waits).Value.Id);
        foreach (var name in names)
        {
            Assert.Equal(ids[name], (await RegisterAsync(ServerRole.Storage, name)).Value.Id);
        }

        Assert.Equal(4u, (await RegisterAsync(ServerRole.Storage, "s4")).Value.Id);
    }

    [Fact]
    public async Task While_a_metadata_server_is_missing_only_what_is_known_is_served()
    {
        await StartMetadataAsync("m1");
        await StartMetadataAsync("m2");
        var home = new Dictionary<string, string>();
        foreach (var name in new[] { "a", "b" })
        {
            home[(await AddAsync(name)).Value.MetadataEndpoint.Contains("m1", StringComparison.Ordinal) ? "m1" : "m2"] = name;
        }

        Assert.Equal(2, home.Count);
        await RegisteredAsync("m1"); // has heard of the other one
        await StopMetadataAsync("m2");
        await LoseControllerAsync();
        StartController();
        await RegisteredAsync("m1");

        // m1 tells that there is an m2.
        Assert.Equal([home["m1"]], (await GetAsync(home["m1"])).Value.Volumes.Select(v => v.Name));
        Assert.Equal(
            [Status.Unavailable, Status.Unavailable, Status.Unavailable, Status.Unavailable],
            [(await GetAsync(home["m2"])).Status, (await GetAsync()).Status, (await AddAsync("new")).Status, (await RemoveAsync(home["m2"])).Status]);
        Assert.EndsWith("metadata server m2", (await GetAsync()).Error, StringComparison.Ordinal);
        await StartMetadataAsync("m2");
        Assert.Equal(["a", "b"], await NamesAsync());
        Assert.Equal(3u, (await AddAsync("new")).Value.Id);

        // With its state a controller does without a metadata server that is away.
        await StopMetadataAsync("m2");
        await StopControllerAsync();
        StartController();
        Assert.Equal(["a", "b", "new"], await NamesAsync());
        Assert.Equal(Status.OK, (await RemoveAsync("never")).Status);
    }
}
