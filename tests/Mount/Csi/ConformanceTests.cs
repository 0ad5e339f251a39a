using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>What the public conformance suite checks (csi-test, pkg/sanity), each rule over the socket and with real mounts; some that it leaves out.</summary>
[Collection(CsiCollection.Name)]
public sealed class ConformanceTests(CsiCluster csi)
{
    private const string Caps = CsiCluster.SingleWriter;

    /// <summary>Bad arguments are told before anything else, and with the same words whatever else is wrong.</summary>
    [Theory]
    [InlineData("Controller", "CreateVolume", """{"volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateVolume", """{"name": "n"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}]}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "mutable_parameters": {"XXX_FakeKey": "XXX_FakeValue"}}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": -1}}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": 2, "limit_bytes": 1}}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": "9223372036854775807"}}""", GrpcStatusCode.OutOfRange)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {"snapshot": {"snapshot_id": "non-existing-snapshot-id"}}}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {"volume": {"volume_id": "non-existing-volume-id"}}}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "secrets": {"password": "x"}, "parameters": {"tier": "fast"}}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "DeleteVolume", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "DeleteVolume", """{"volume_id": "reallyfakevolumeid"}""", GrpcStatusCode.OK)]
    [InlineData("Controller", "ValidateVolumeCapabilities", """{"volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ValidateVolumeCapabilities", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ValidateVolumeCapabilities", """{"volume_id": "fake-vol-id", "volume_capabilities": [CAP]}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "ListVolumes", """{"starting_token": "invalid-token"}""", GrpcStatusCode.Aborted)]
    [InlineData("Controller", "ListVolumes", """{"max_entries": -1}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ControllerExpandVolume", """{"capacity_range": {"required_bytes": 1}}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id", "capacity_range": {"required_bytes": 1}}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "ControllerGetVolume", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ControllerGetVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "ControllerModifyVolume", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "ControllerModifyVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "ControllerPublishVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.Unimplemented)]
    [InlineData("Controller", "CreateSnapshot", """{"source_volume_id": "v"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateSnapshot", """{"name": "n"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "CreateSnapshot", """{"name": "n", "source_volume_id": "fake-vol-id"}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "DeleteSnapshot", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "DeleteSnapshot", """{"snapshot_id": "reallyfakesnapshotid"}""", GrpcStatusCode.OK)]
    [InlineData("Controller", "GetSnapshot", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("Controller", "GetSnapshot", """{"snapshot_id": "reallyfakesnapshotid"}""", GrpcStatusCode.NotFound)]
    [InlineData("Controller", "ListSnapshots", """{"snapshot_id": "none-exist-id"}""", GrpcStatusCode.OK)]
    [InlineData("Controller", "ListSnapshots", """{"source_volume_id": "none-exist-id"}""", GrpcStatusCode.OK)]
    [InlineData("Controller", "ListSnapshots", """{"starting_token": "invalid-token"}""", GrpcStatusCode.Aborted)]
    [InlineData("GroupController", "CreateVolumeGroupSnapshot", """{"source_volume_ids": ["v"]}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("GroupController", "GetVolumeGroupSnapshot", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("GroupController", "GetVolumeGroupSnapshot", """{"group_snapshot_id": "none-exist-id"}""", GrpcStatusCode.NotFound)]
    [InlineData("GroupController", "DeleteVolumeGroupSnapshot", "{}", GrpcStatusCode.InvalidArgument)]
    [InlineData("GroupController", "DeleteVolumeGroupSnapshot", """{"group_snapshot_id": "none-exist-id"}""", GrpcStatusCode.OK)]
    [InlineData("Node", "NodePublishVolume", """{"target_path": "/t", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "target_path": "/t"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "fake-vol-id", "target_path": "/t", "volume_capability": CAP}""", GrpcStatusCode.NotFound)]
    [InlineData("Node", "NodeUnpublishVolume", """{"target_path": "/t"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodeUnpublishVolume", """{"volume_id": "v"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodeStageVolume", """{"volume_id": "v"}""", GrpcStatusCode.Unimplemented)]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_path": "/t"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_id": "v"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_id": "fake-vol-id", "volume_path": "some/path"}""", GrpcStatusCode.NotFound)]
    [InlineData("Node", "NodeExpandVolume", """{"volume_path": "/t"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodeExpandVolume", """{"volume_id": "v"}""", GrpcStatusCode.InvalidArgument)]
    [InlineData("Node", "NodeExpandVolume", """{"volume_id": "fake-vol-id", "volume_path": "some/path"}""", GrpcStatusCode.NotFound)]
    public async Task Each_call_checks_its_arguments(string service, string method, string request, GrpcStatusCode code)
    {
        var before = csi.Volumes();
        var answer = await csi.CallAsync(service, method, request.Replace("CAP", Caps, StringComparison.Ordinal));
        Assert.True(answer.Code == code, $"{answer.Code} {answer.Message} instead of {code}");
        Assert.Equal(code == GrpcStatusCode.OK, answer.Response is not null);
        Assert.True(code == GrpcStatusCode.OK || answer.Message.Length > 0);
        Assert.Equal(before, csi.Volumes());
    }

    [Fact]
    public async Task The_driver_says_who_it_is_and_what_it_can()
    {
        Assert.Matches("^[a-zA-Z][-a-zA-Z0-9.]{0,61}[a-zA-Z]$", (string)(await csi.CallAsync("Identity", "GetPluginInfo")).Ok()["name"]!);
        Assert.Equal("true", (await csi.CallAsync("Identity", "Probe")).Ok()["ready"]!["value"]!.ToJsonString());
        Assert.NotEmpty((await csi.CallAsync("Identity", "GetPluginCapabilities")).Ok()["capabilities"]!.AsArray());
        Assert.Equal(13, (await csi.CallAsync("Controller", "ControllerGetCapabilities")).Ok()["capabilities"]!.AsArray().Count);
        Assert.Equal(5, (await csi.CallAsync("Node", "NodeGetCapabilities")).Ok()["capabilities"]!.AsArray().Count);
        var info = (await csi.CallAsync("Node", "NodeGetInfo")).Ok();
        Assert.Equal("node-1", (string)info["node_id"]!);
        Assert.NotNull(info["accessible_topology"]!["segments"]!["topology.ephemeralfs.io/zone"]);
        Assert.True(long.Parse((string)(await csi.CallAsync("Controller", "GetCapacity")).Ok()["available_capacity"]!, System.Globalization.CultureInfo.InvariantCulture) > 0);
        Assert.Null((await csi.CallAsync("Controller", "GetCapacity", """{"parameters": {"tier": "hdd"}}""")).Ok()["available_capacity"]);
    }

    [Fact]
    public async Task A_name_is_a_volume()
    {
        string id = await csi.CreateAsync("name", CsiCluster.Size);
        Assert.Equal(id, await csi.CreateAsync("name", CsiCluster.Size));
        string other = $$$"""{"name": "name", "volume_capabilities": [{{{Caps}}}], "capacity_range": {"required_bytes": {{{CsiCluster.Size + 1}}}}}""";
        (await csi.CallAsync("Controller", "CreateVolume", other)).Fails(GrpcStatusCode.AlreadyExists);
        string tier = $$$"""{"name": "name", "volume_capabilities": [{{{Caps}}}], "capacity_range": {"required_bytes": {{{CsiCluster.Size}}}}, "parameters": {"tier": "ssd"}}""";
        (await csi.CallAsync("Controller", "CreateVolume", tier)).Fails(GrpcStatusCode.AlreadyExists);
        string odd = await csi.CreateAsync(new string('ü', 64));
        string exact = """{"name": "exact", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": 12345, "limit_bytes": 12345} }""".Replace("CAP", Caps, StringComparison.Ordinal);
        var made = (await csi.CallAsync("Controller", "CreateVolume", exact)).Ok()["volume"]!;
        Assert.Equal("12345", (string)made["capacity_bytes"]!);
        foreach (string volume in new[] { id, odd, (string)made["volume_id"]! })
        {
            await csi.DeleteAsync(volume);
            await csi.DeleteAsync(volume);
        }
    }

    [Fact]
    public async Task Volumes_are_listed_page_by_page()
    {
        int before = (await ListAsync("")).Entries.Count;
        List<string> ids = [];
        for (int i = 0; i < 5; i++)
        {
            ids.Add(await csi.CreateAsync($"listed-{i}"));
        }
        Assert.Equal(before + 5, (await ListAsync("")).Entries.Count);
        List<string> seen = [];
        string token = "";
        do
        {
            var (entries, next) = await ListAsync($$""" "max_entries": 2, "starting_token": "{{token}}" """);
            Assert.InRange(entries.Count, 1, 2);
            seen.AddRange(entries);
            token = next;
        }
        while (token.Length > 0);
        Assert.Equal(seen.Distinct(), seen);
        Assert.All(ids, id => Assert.Contains(id, seen));
        foreach (string id in ids)
        {
            await csi.DeleteAsync(id);
        }
        Assert.Equal(before, (await ListAsync("")).Entries.Count);

        async Task<(List<string> Entries, string Next)> ListAsync(string request)
        {
            var listed = (await csi.CallAsync("Controller", "ListVolumes", $"{{{request}}}")).Ok();
            return ([.. (listed["entries"]?.AsArray() ?? []).Select(entry => (string)entry!["volume"]!["volume_id"]!)], (string?)listed["next_token"] ?? "");
        }
    }

    [Fact]
    public async Task Capabilities_are_confirmed_or_refused()
    {
        string id = await csi.CreateAsync("validated");
        var good = (await csi.CallAsync("Controller", "ValidateVolumeCapabilities", $$"""{"volume_id": "{{id}}", "volume_capabilities": [{{Caps}}]}""")).Ok();
        Assert.Single(good["confirmed"]!["volume_capabilities"]!.AsArray());
        var bad = (await csi.CallAsync("Controller", "ValidateVolumeCapabilities", $$"""{"volume_id": "{{id}}", "volume_capabilities": [{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"} }]}""")).Ok();
        Assert.Null(bad["confirmed"]);
        Assert.Contains("block", (string)bad["message"]!, StringComparison.Ordinal);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task A_volume_grows_while_it_is_in_use()
    {
        string id = await csi.CreateAsync("grows", 1 << 20);
        string target = await csi.PublishAsync(id);
        Assert.Throws<IOException>(() => File.WriteAllBytes(Path.Combine(target, "big"), new byte[2 << 20]));
        var grown = (await csi.CallAsync("Controller", "ControllerExpandVolume", $$$"""{"volume_id": "{{{id}}}", "capacity_range": {"required_bytes": {{{8 << 20}}}}}""")).Ok();
        Assert.Equal((8 << 20).ToString(System.Globalization.CultureInfo.InvariantCulture), (string)grown["capacity_bytes"]!);
        Assert.Null(grown["node_expansion_required"]);
        File.WriteAllBytes(Path.Combine(target, "big"), new byte[2 << 20]);
        (await csi.CallAsync("Node", "NodeExpandVolume", $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}""")).Ok();
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task Hints_change_while_a_volume_is_in_use_and_a_bad_one_changes_nothing()
    {
        string id = await csi.CreateAsync("modified", more: """, "parameters": {"tier": "dram"}""");
        string target = await csi.PublishAsync(id);
        (await ModifyAsync("""{"tier": "ssd", "XXX_FakeKey": "x"}""")).Fails(GrpcStatusCode.InvalidArgument);
        (await ModifyAsync("""{"size": "1G"}""")).Fails(GrpcStatusCode.InvalidArgument);
        Assert.Contains("tier=dram", csi.Cluster.Program(60, "volume", "show", id, "--json").Run().MustSucceed(), StringComparison.Ordinal);
        (await ModifyAsync("""{"tier": "ssd", "concurrency": "100"}""")).Ok();
        Assert.Contains("tier=ssd,concurrency=100", csi.Cluster.Program(60, "volume", "show", id, "--json").Run().MustSucceed(), StringComparison.Ordinal);
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);

        Task<Integration.Csi.CsiAnswer> ModifyAsync(string parameters) => csi.CallAsync("Controller", "ControllerModifyVolume", $$$"""{"volume_id": "{{{id}}}", "mutable_parameters": {{{parameters}}}}""");
    }

    [Fact]
    public async Task The_whole_flow_ten_times()
    {
        string id = await csi.CreateAsync("flow", CsiCluster.Size);
        string target = csi.NewTarget();
        (await csi.TryUnpublishAsync(id, target)).Ok();
        for (int i = 0; i < 10; i++)
        {
            (await csi.TryPublishAsync(id, target, Caps)).Ok();
        }
        Assert.Equal(2, csi.Mounts().Count);
        File.WriteAllText(Path.Combine(target, "file"), "content");
        var usage = (await csi.CallAsync("Node", "NodeGetVolumeStats", $$"""{"volume_id": "{{id}}", "volume_path": "{{target}}"}""")).Ok();
        Assert.Equal(["BYTES", "INODES"], usage["usage"]!.AsArray().Select(one => (string)one!["unit"]!));
        Assert.Null(usage["volume_condition"]!["abnormal"]);
        (await csi.CallAsync("Node", "NodeGetVolumeStats", $$"""{"volume_id": "{{id}}", "volume_path": "some/path"}""")).Fails(GrpcStatusCode.NotFound);
        (await csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}"}""")).Fails(GrpcStatusCode.FailedPrecondition);
        for (int i = 0; i < 10; i++)
        {
            await csi.UnpublishAsync(id, target);
        }
        Assert.Empty(csi.Mounts());
        await csi.DeleteAsync(id);
    }
}
