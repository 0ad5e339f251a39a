using System.Text.Json.Nodes;
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

    [Fact]
    public async Task A_group_of_other_volumes_is_another_group_and_the_same_again_is_the_same()
    {
        string[] ids = [await csi.CreateAsync("grouped-1"), await csi.CreateAsync("grouped-2"), await csi.CreateAsync("grouped-3")];
        var group = (await GroupAsync("of-two", ids[..2])).Ok()["group_snapshot"]!;
        foreach (string[] others in (string[][])[ids, ids[..1], [ids[0], ids[2]]])
        {
            Assert.Contains("of-two", (await GroupAsync("of-two", others)).Fails(GrpcStatusCode.AlreadyExists).Message, StringComparison.Ordinal);
        }
        Assert.Empty(await ListAsync($$""" "source_volume_id": "{{ids[2]}}" """));
        Assert.True(JsonNode.DeepEquals(Sorted(group), Sorted((await GroupAsync("of-two", [ids[1], ids[0], ids[1]])).Ok()["group_snapshot"]!)));
        await csi.DeleteAsync(ids[0]);
        Assert.True(JsonNode.DeepEquals(Sorted(group), Sorted((await GroupAsync("of-two", ids[..2])).Ok()["group_snapshot"]!)));
        (await GroupAsync("of-all", ids)).Fails(GrpcStatusCode.NotFound);
        (await csi.CallAsync("GroupController", "DeleteVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{(string)group["group_snapshot_id"]!}}"}""")).Ok();
        Assert.Empty(await ListAsync(""));
        await csi.DeleteAsync(ids[1]);
        await csi.DeleteAsync(ids[2]);

        static JsonNode Sorted(JsonNode group)
        {
            var copy = group.DeepClone();
            copy["snapshots"] = new JsonArray([.. copy["snapshots"]!.AsArray().OrderBy(one => (string)one!["snapshot_id"]!).Select(one => one!.DeepClone())]);
            return copy;
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_snapshot_that_somebody_has_mounted_stays(bool isInGroup)
    {
        string id = await csi.CreateAsync("looked-at");
        string target = await csi.PublishAsync(id);
        File.WriteAllText(Path.Combine(target, "file"), "a moment");
        string name = $"looked-at-{isInGroup}", groupId = "", snapshot;
        if (isInGroup)
        {
            var group = (await GroupAsync(name, [id])).Ok()["group_snapshot"]!;
            (groupId, snapshot) = ((string)group["group_snapshot_id"]!, (string)group["snapshots"]![0]!["snapshot_id"]!);
        }
        else
        {
            snapshot = (string)(await SnapshotAsync(name, id)).Ok()["snapshot"]!["snapshot_id"]!;
        }
        string directory = csi.Cluster.MakeDirectory(name);
        csi.Cluster.Program(60, "mount", snapshot, directory).Run().MustSucceed();
        try
        {
            Assert.Contains(CsiCluster.Node, (await DeleteAsync()).Fails(GrpcStatusCode.FailedPrecondition).Message, StringComparison.Ordinal);
            Assert.Equal("a moment", File.ReadAllText(Path.Combine(directory, "file")));
            Assert.Equal([snapshot], await ListAsync(""));
            (await csi.CallAsync("Controller", "GetSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}""")).Ok();
        }
        finally
        {
            csi.Cluster.Program(60, "umount", directory).Run().MustSucceed();
        }
        (await DeleteAsync()).Ok();
        Assert.Empty(await ListAsync(""));
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);

        Task<Integration.Csi.CsiAnswer> DeleteAsync() => isInGroup
            ? csi.CallAsync("GroupController", "DeleteVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{groupId}}"}""")
            : csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}""");
    }

    [Theory]
    [InlineData("snapshot")]
    [InlineData("volume")]
    public async Task A_call_that_comes_again_needs_no_source(string kind)
    {
        string id = await csi.CreateAsync("source-goes");
        string target = await csi.PublishAsync(id);
        File.WriteAllText(Path.Combine(target, "file"), "content");
        await csi.UnpublishAsync(id, target);
        var snapshot = (await SnapshotAsync("source-goes", id)).Ok();
        string snapshotId = (string)snapshot["snapshot"]!["snapshot_id"]!;
        string source = kind == "snapshot" ? snapshotId : id;
        string request = $$$"""{"name": "from-what-goes", "volume_capabilities": [{{{CsiCluster.Shared}}}], "volume_content_source": {"{{{kind}}}": {"{{{kind}}}_id": "{{{source}}}"}} }""";
        var made = (await csi.CallAsync("Controller", "CreateVolume", request)).Ok();
        string volume = (string)made["volume"]!["volume_id"]!;

        await csi.DeleteAsync(id);
        Assert.True(JsonNode.DeepEquals(snapshot, (await SnapshotAsync("source-goes", id)).Ok()));
        (await SnapshotAsync("source-goes", "another-that-is-gone")).Fails(GrpcStatusCode.AlreadyExists);
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshotId}}"}""")).Ok();
        (await SnapshotAsync("source-goes", id)).Fails(GrpcStatusCode.NotFound);
        Assert.True(JsonNode.DeepEquals(made, (await csi.CallAsync("Controller", "CreateVolume", request)).Ok()));
        (await csi.CallAsync("Controller", "CreateVolume", request.Replace("from-what-goes", "too-late", StringComparison.Ordinal))).Fails(GrpcStatusCode.NotFound);
        (await csi.CallAsync("Controller", "CreateVolume", request.Replace(source, "another-that-is-gone", StringComparison.Ordinal))).Fails(GrpcStatusCode.AlreadyExists);

        string view = await csi.PublishAsync(volume);
        Assert.Equal("content", File.ReadAllText(Path.Combine(view, "file")));
        await csi.UnpublishAsync(volume, view);
        await csi.DeleteAsync(volume);
    }

    [Fact]
    public async Task A_snapshot_may_have_a_name_of_128_characters()
    {
        string id = await csi.CreateAsync("named-at-length"), name = new string('n', 128);
        string first = (string)(await SnapshotAsync(name, id)).Ok()["snapshot"]!["snapshot_id"]!;
        string second = (string)(await SnapshotAsync(name[..127] + "m", id)).Ok()["snapshot"]!["snapshot_id"]!;
        Assert.NotEqual(first, second);
        Assert.Equal(first, (string)(await SnapshotAsync(name, id)).Ok()["snapshot"]!["snapshot_id"]!);
        string group = (string)(await GroupAsync(name, [id])).Ok()["group_snapshot"]!["group_snapshot_id"]!;
        (await csi.CallAsync("GroupController", "DeleteVolumeGroupSnapshot", $$"""{"group_snapshot_id": "{{group}}"}""")).Ok();
        Assert.Equal(new[] { first, second }.Order(), await ListAsync(""));
        foreach (string snapshot in new[] { first, second })
        {
            (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}""")).Ok();
        }
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task A_copy_has_no_fewer_bytes_than_its_source()
    {
        var before = csi.Volumes();
        string id = await csi.CreateAsync("large", 64 << 20);
        string snapshot = (string)(await SnapshotAsync("large", id)).Ok()["snapshot"]!["snapshot_id"]!;
        foreach (string source in new[] { $$"""{"volume": {"volume_id": "{{id}}"} }""", $$"""{"snapshot": {"snapshot_id": "{{snapshot}}"} }""" })
        {
            foreach (string range in new[] { """{"required_bytes": 33554432, "limit_bytes": 33554432}""", """{"limit_bytes": 33554432}""" })
            {
                var answer = (await CreateAsync(range)).Fails(GrpcStatusCode.OutOfRange);
                Assert.Contains("capacity_range", answer.Message, StringComparison.Ordinal);
            }
            var made = (await CreateAsync("""{"required_bytes": 134217728}""")).Ok()["volume"]!;
            Assert.Equal("134217728", (string)made["capacity_bytes"]!);
            await csi.DeleteAsync((string)made["volume_id"]!);

            Task<Integration.Csi.CsiAnswer> CreateAsync(string range) => csi.CallAsync(
                "Controller", "CreateVolume", $$"""{"name": "copy", "volume_capabilities": [{{CsiCluster.Shared}}], "capacity_range": {{range}}, "volume_content_source": {{source}}}""");
        }
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{snapshot}}"}""")).Ok();
        await csi.DeleteAsync(id);
        Assert.Equal(before, csi.Volumes());
    }

    private Task<Integration.Csi.CsiAnswer> GroupAsync(string name, string[] sources) => csi.CallAsync(
        "GroupController", "CreateVolumeGroupSnapshot", $$"""{"name": "{{name}}", "source_volume_ids": [{{string.Join(", ", sources.Select(id => $"\"{id}\""))}}]}""");

    private Task<Integration.Csi.CsiAnswer> SnapshotAsync(string name, string source) =>
        csi.CallAsync("Controller", "CreateSnapshot", $$"""{"name": "{{name}}", "source_volume_id": "{{source}}"}""");

    private async Task<IReadOnlyList<string>> ListAsync(string request) =>
        [.. ((await csi.CallAsync("Controller", "ListSnapshots", $"{{{request}}}")).Ok()["entries"]?.AsArray() ?? []).Select(entry => (string)entry!["snapshot"]!["snapshot_id"]!)];
}
