using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>Snapshots, groups of them and clones: a moment of a volume, whatever becomes of it afterwards.</summary>
[Collection(CsiCollection.Name)]
public sealed class SnapshotTests(CsiCluster csi)
{
    [Fact]
    public async Task A_snapshot_is_a_moment_and_a_volume_made_from_it_goes_on_from_there()
    {
        string id = await csi.CreateAsync("source");
        string target = await csi.PublishAsync(id);
        byte[] big = new byte[5 << 20];
        Random.Shared.NextBytes(big);
        File.WriteAllText(Path.Combine(target, "file"), "before");
        File.WriteAllBytes(Path.Combine(target, "big"), big);
        var snapshot = (await SnapshotAsync("moment", id)).Ok()["snapshot"]!;
        string snapshotId = (string)snapshot["snapshot_id"]!;
        Assert.Equal(id, (string)snapshot["source_volume_id"]!);
        Assert.Equal("true", snapshot["ready_to_use"]!.ToJsonString());
        Assert.NotNull(snapshot["creation_time"]!["seconds"]);
        Assert.Equal(snapshotId, (string)(await SnapshotAsync("moment", id)).Ok()["snapshot"]!["snapshot_id"]!);

        File.WriteAllText(Path.Combine(target, "file"), "after");
        File.Delete(Path.Combine(target, "big"));
        string restored = await csi.CreateAsync("restored", more: $$""", "volume_content_source": {"snapshot": {"snapshot_id": "{{snapshotId}}"} }""");
        string clone = await csi.CreateAsync("clone", more: $$""", "volume_content_source": {"volume": {"volume_id": "{{id}}"} }""");
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshotId}}"}""")).Ok();
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshotId}}"}""")).Ok();

        string view = await csi.PublishAsync(restored);
        Assert.Equal("before", File.ReadAllText(Path.Combine(view, "file")));
        Assert.Equal(big, File.ReadAllBytes(Path.Combine(view, "big")));
        string other = await csi.PublishAsync(clone);
        Assert.Equal("after", File.ReadAllText(Path.Combine(other, "file")));
        Assert.False(File.Exists(Path.Combine(other, "big")));
        await csi.UnpublishAsync(restored, view);
        await csi.UnpublishAsync(clone, other);
        await csi.DeleteAsync(restored);
        await csi.DeleteAsync(clone);
    }

    [Fact]
    public async Task Snapshots_are_found_by_id_by_source_and_page_by_page()
    {
        string id = await csi.CreateAsync("listed");
        string other = await csi.CreateAsync("listed-other");
        Assert.Empty(await ListAsync(""));
        List<string> ids = [];
        for (int i = 0; i < 5; i++)
        {
            ids.Add((string)(await SnapshotAsync($"listed-{i}", id)).Ok()["snapshot"]!["snapshot_id"]!);
        }
        (await SnapshotAsync("listed-0", other)).Fails(GrpcStatusCode.AlreadyExists);
        Assert.Equal([ids[2]], await ListAsync($$""" "snapshot_id": "{{ids[2]}}" """));
        Assert.Equal(5, (await ListAsync($$""" "source_volume_id": "{{id}}" """)).Count);
        Assert.Empty(await ListAsync($$""" "source_volume_id": "{{other}}" """));
        var first = (await csi.CallAsync("Controller", "ListSnapshots", """{"max_entries": 2}""")).Ok();
        Assert.Equal(2, first["entries"]!.AsArray().Count);
        Assert.Equal(3, (await ListAsync($$""" "starting_token": "{{(string)first["next_token"]!}}" """)).Count);
        (await csi.CallAsync("Controller", "GetSnapshot", $$"""{"snapshot_id": "{{ids[0]}}"}""")).Ok();
        foreach (string snapshot in ids)
        {
            (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}""")).Ok();
        }
        Assert.Empty(await ListAsync(""));
        await csi.DeleteAsync(id);
        await csi.DeleteAsync(other);
    }

    [Fact]
    public async Task A_group_is_made_and_deleted_as_one()
    {
        string[] ids = [await csi.CreateAsync("member-1"), await csi.CreateAsync("member-2")];
        string request = $$"""{"name": "group", "source_volume_ids": ["{{ids[0]}}", "{{ids[1]}}"]}""";
        var group = (await csi.CallAsync("GroupController", "CreateVolumeGroupSnapshot", request)).Ok()["group_snapshot"]!;
        Assert.Equal(2, group["snapshots"]!.AsArray().Count);
        string groupId = (string)group["group_snapshot_id"]!;
        string member = (string)group["snapshots"]![0]!["snapshot_id"]!;
        (await csi.CallAsync("GroupController", "CreateVolumeGroupSnapshot", request)).Ok();
        (await csi.CallAsync("GroupController", "CreateVolumeGroupSnapshot", """{"name": "group2", "source_volume_ids": ["none-exist-id"]}""")).Fails(GrpcStatusCode.NotFound);
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{member}}"}""")).Fails(GrpcStatusCode.InvalidArgument);
        (await csi.CallAsync("GroupController", "GetVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{groupId}}", "snapshot_ids": ["{{member}}"]}""")).Ok();
        (await csi.CallAsync("GroupController", "GetVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{groupId}}", "snapshot_ids": ["stranger"]}""")).Fails(GrpcStatusCode.InvalidArgument);
        (await csi.CallAsync("GroupController", "DeleteVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{groupId}}"}""")).Ok();
        (await csi.CallAsync("GroupController", "GetVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{groupId}}"}""")).Fails(GrpcStatusCode.NotFound);
        await csi.DeleteAsync(ids[0]);
        await csi.DeleteAsync(ids[1]);
    }

    private Task<Integration.Csi.CsiAnswer> SnapshotAsync(string name, string source) =>
        csi.CallAsync("Controller", "CreateSnapshot", $$"""{"name": "{{name}}", "source_volume_id": "{{source}}"}""");

    private async Task<IReadOnlyList<string>> ListAsync(string request) =>
        [.. ((await csi.CallAsync("Controller", "ListSnapshots", $"{{{request}}}")).Ok()["entries"]?.AsArray() ?? []).Select(entry => (string)entry!["snapshot"]!["snapshot_id"]!)];
}
