using System.Text.Json.Nodes;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>What the public conformance suite checks (csi-test, pkg/sanity), each rule over the socket and with real mounts; some that it leaves out.</summary>
[Collection(CsiCollection.Name)]
public sealed class ConformanceTests(CsiCluster csi)
{
    private const string Caps = CsiCluster.SingleWriter;

    /// <summary>Bad arguments are told before anything else, by the name of the field, and leave nothing.</summary>
    [Theory]
    [InlineData("Controller", "CreateVolume", """{"volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "n"}""", GrpcStatusCode.InvalidArgument, "volume_capabilities")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}]}""", GrpcStatusCode.InvalidArgument, "volume_capability.block")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "mutable_parameters": {"XXX_FakeKey": "XXX_FakeValue"}}""", GrpcStatusCode.InvalidArgument, "mutable_parameters")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": -1}}""", GrpcStatusCode.InvalidArgument, "capacity_range.required_bytes")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": 2, "limit_bytes": 1}}""", GrpcStatusCode.InvalidArgument, "capacity_range.limit_bytes")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": "9223372036854775807"}}""", GrpcStatusCode.OutOfRange, "capacity_range.required_bytes")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {"snapshot": {"snapshot_id": "non-existing-snapshot-id"}}}""", GrpcStatusCode.NotFound, "volume_content_source")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {"volume": {"volume_id": "non-existing-volume-id"}}}""", GrpcStatusCode.NotFound, "volume_content_source")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "secrets": {"password": "x"}, "parameters": {"tier": "fast"}}""", GrpcStatusCode.InvalidArgument, "parameters")]
    [InlineData("Controller", "CreateVolume", """{"name": "LONG", "volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "a\u0000b", "volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "a\u000bb", "volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "a\u001fb", "volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "a\u007fb", "volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "a\u009fb", "volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": 0, "limit_bytes": 0}}""", GrpcStatusCode.InvalidArgument, "capacity_range")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "capacity_range": {"limit_bytes": -1}}""", GrpcStatusCode.InvalidArgument, "capacity_range.limit_bytes")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP, {"mount": {}}]}""", GrpcStatusCode.InvalidArgument, "access_mode")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [{"access_mode": {"mode": "SINGLE_NODE_WRITER"}}]}""", GrpcStatusCode.InvalidArgument, "access_type")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [{"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}]}""", GrpcStatusCode.InvalidArgument, "fs_type")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {}}""", GrpcStatusCode.InvalidArgument, "volume_content_source")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {"snapshot": {}}}""", GrpcStatusCode.InvalidArgument, "snapshot_id")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "volume_content_source": {"volume": {"volume_id": "LONG"}}}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "CreateVolume", """{"name": "n", "volume_capabilities": [CAP], "accessibility_requirements": {"requisite": [{"segments": {"example.org/zone": "a"}}, {"segments": {"example.org/rack": "1", "topology.ephemeralfs.io/zone": "default"}}]}}""", GrpcStatusCode.ResourceExhausted, "accessibility_requirements")]
    [InlineData("Controller", "DeleteVolume", "{}", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "DeleteVolume", """{"volume_id": "reallyfakevolumeid"}""", GrpcStatusCode.OK, "")]
    [InlineData("Controller", "DeleteVolume", """{"volume_id": "LONG"}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "DeleteVolume", """{"volume_id": "a\u0001\u007fb"}""", GrpcStatusCode.OK, "")]
    [InlineData("Controller", "ValidateVolumeCapabilities", """{"volume_capabilities": [CAP]}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "ValidateVolumeCapabilities", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.InvalidArgument, "volume_capabilities")]
    [InlineData("Controller", "ValidateVolumeCapabilities", """{"volume_id": "fake-vol-id", "volume_capabilities": [CAP]}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "ListVolumes", """{"starting_token": "invalid-token"}""", GrpcStatusCode.Aborted, "starting_token")]
    [InlineData("Controller", "ListVolumes", """{"max_entries": -1}""", GrpcStatusCode.InvalidArgument, "max_entries")]
    [InlineData("Controller", "ControllerExpandVolume", """{"capacity_range": {"required_bytes": 1}}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.InvalidArgument, "capacity_range")]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id", "capacity_range": {"required_bytes": 1}}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id", "capacity_range": {"required_bytes": 0, "limit_bytes": 0}}""", GrpcStatusCode.InvalidArgument, "capacity_range")]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id", "capacity_range": {"required_bytes": -1}}""", GrpcStatusCode.InvalidArgument, "capacity_range.required_bytes")]
    [InlineData("Controller", "ControllerExpandVolume", """{"volume_id": "fake-vol-id", "capacity_range": {"required_bytes": 1}, "volume_capability": {"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}}""", GrpcStatusCode.InvalidArgument, "volume_capability.block")]
    [InlineData("Controller", "ControllerGetVolume", "{}", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "ControllerGetVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "ControllerGetVolume", """{"volume_id": "a\u0001\u007fb"}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "ControllerModifyVolume", "{}", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Controller", "ControllerModifyVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "ControllerModifyVolume", """{"volume_id": "fake-vol-id", "mutable_parameters": {"XXX_FakeKey": "x"}}""", GrpcStatusCode.InvalidArgument, "XXX_FakeKey")]
    [InlineData("Controller", "ControllerModifyVolume", """{"volume_id": "fake-vol-id", "mutable_parameters": {"tier": "dram"}}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "ControllerPublishVolume", """{"volume_id": "fake-vol-id"}""", GrpcStatusCode.Unimplemented, "ControllerPublishVolume")]
    [InlineData("Controller", "CreateSnapshot", """{"source_volume_id": "v"}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateSnapshot", """{"name": "n"}""", GrpcStatusCode.InvalidArgument, "source_volume_id")]
    [InlineData("Controller", "CreateSnapshot", """{"name": "n", "source_volume_id": "fake-vol-id"}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Controller", "CreateSnapshot", """{"name": "LONG", "source_volume_id": "v"}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateSnapshot", """{"name": "a\u0000b", "source_volume_id": "v"}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("Controller", "CreateSnapshot", """{"name": "n", "source_volume_id": "LONG"}""", GrpcStatusCode.InvalidArgument, "source_volume_id")]
    [InlineData("Controller", "CreateSnapshot", """{"name": "n", "source_volume_id": "v", "parameters": {"XXX_FakeKey": "x"}}""", GrpcStatusCode.InvalidArgument, "parameters")]
    [InlineData("Controller", "DeleteSnapshot", "{}", GrpcStatusCode.InvalidArgument, "snapshot_id")]
    [InlineData("Controller", "DeleteSnapshot", """{"snapshot_id": "reallyfakesnapshotid"}""", GrpcStatusCode.OK, "")]
    [InlineData("Controller", "DeleteSnapshot", """{"snapshot_id": "LONG"}""", GrpcStatusCode.InvalidArgument, "snapshot_id")]
    [InlineData("Controller", "GetSnapshot", "{}", GrpcStatusCode.InvalidArgument, "snapshot_id")]
    [InlineData("Controller", "GetSnapshot", """{"snapshot_id": "reallyfakesnapshotid"}""", GrpcStatusCode.NotFound, "snapshot_id")]
    [InlineData("Controller", "ListSnapshots", """{"snapshot_id": "none-exist-id"}""", GrpcStatusCode.OK, "")]
    [InlineData("Controller", "ListSnapshots", """{"source_volume_id": "none-exist-id"}""", GrpcStatusCode.OK, "")]
    [InlineData("Controller", "ListSnapshots", """{"starting_token": "invalid-token"}""", GrpcStatusCode.Aborted, "starting_token")]
    [InlineData("Controller", "GetCapacity", """{"parameters": {"XXX_FakeKey": "x"}}""", GrpcStatusCode.InvalidArgument, "parameters")]
    [InlineData("GroupController", "CreateVolumeGroupSnapshot", """{"source_volume_ids": ["v"]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("GroupController", "CreateVolumeGroupSnapshot", """{"name": "n"}""", GrpcStatusCode.InvalidArgument, "source_volume_ids")]
    [InlineData("GroupController", "CreateVolumeGroupSnapshot", """{"name": "LONG", "source_volume_ids": ["v"]}""", GrpcStatusCode.InvalidArgument, "name")]
    [InlineData("GroupController", "CreateVolumeGroupSnapshot", """{"name": "n", "source_volume_ids": ["v", "LONG"]}""", GrpcStatusCode.InvalidArgument, "source_volume_ids")]
    [InlineData("GroupController", "CreateVolumeGroupSnapshot", """{"name": "n", "source_volume_ids": ["tmp", "none-exist-id"]}""", GrpcStatusCode.NotFound, "source_volume_ids")]
    [InlineData("GroupController", "GetVolumeGroupSnapshot", "{}", GrpcStatusCode.InvalidArgument, "group_snapshot_id")]
    [InlineData("GroupController", "GetVolumeGroupSnapshot", """{"group_snapshot_id": "none-exist-id"}""", GrpcStatusCode.NotFound, "group_snapshot_id")]
    [InlineData("GroupController", "GetVolumeGroupSnapshot", """{"group_snapshot_id": "LONG"}""", GrpcStatusCode.InvalidArgument, "group_snapshot_id")]
    [InlineData("GroupController", "DeleteVolumeGroupSnapshot", "{}", GrpcStatusCode.InvalidArgument, "group_snapshot_id")]
    [InlineData("GroupController", "DeleteVolumeGroupSnapshot", """{"group_snapshot_id": "none-exist-id"}""", GrpcStatusCode.OK, "")]
    [InlineData("Node", "NodePublishVolume", """{"target_path": "/t", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument, "target_path")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "target_path": "/t"}""", GrpcStatusCode.InvalidArgument, "volume_capability")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "fake-vol-id", "target_path": "/t", "volume_capability": CAP}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "LONG", "target_path": "/t", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "target_path": "/t", "volume_capability": {"mount": {"mount_flags": ["nobarrier"]}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}}""", GrpcStatusCode.InvalidArgument, "mount_flags")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "target_path": "/t", "volume_capability": {"mount": {"volume_mount_group": "wheel"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}}""", GrpcStatusCode.InvalidArgument, "volume_mount_group")]
    [InlineData("Node", "NodeUnpublishVolume", """{"target_path": "/t"}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Node", "NodeUnpublishVolume", """{"volume_id": "v"}""", GrpcStatusCode.InvalidArgument, "target_path")]
    [InlineData("Node", "NodeUnpublishVolume", """{"volume_id": "LONG", "target_path": "/t"}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Node", "NodeUnpublishVolume", """{"volume_id": "v", "target_path": "/LONGLONG"}""", GrpcStatusCode.InvalidArgument, "target_path")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "target_path": "/LONGLONG", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument, "target_path")]
    [InlineData("Node", "NodePublishVolume", """{"volume_id": "v", "target_path": "DEEP", "volume_capability": CAP}""", GrpcStatusCode.InvalidArgument, "target_path")]
    [InlineData("Node", "NodeStageVolume", """{"volume_id": "v"}""", GrpcStatusCode.Unimplemented, "NodeStageVolume")]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_path": "/t"}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_id": "v"}""", GrpcStatusCode.InvalidArgument, "volume_path")]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_id": "fake-vol-id", "volume_path": "some/path"}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Node", "NodeGetVolumeStats", """{"volume_id": "tmp", "volume_path": "/t"}""", GrpcStatusCode.NotFound, "volume_path")]
    [InlineData("Node", "NodeExpandVolume", """{"volume_path": "/t"}""", GrpcStatusCode.InvalidArgument, "volume_id")]
    [InlineData("Node", "NodeExpandVolume", """{"volume_id": "v"}""", GrpcStatusCode.InvalidArgument, "volume_path")]
    [InlineData("Node", "NodeExpandVolume", """{"volume_id": "fake-vol-id", "volume_path": "some/path"}""", GrpcStatusCode.NotFound, "volume_id")]
    [InlineData("Node", "NodeExpandVolume", """{"volume_id": "tmp", "volume_path": "/t"}""", GrpcStatusCode.NotFound, "volume_path")]
    [InlineData("Node", "NodeExpandVolume", """{"volume_id": "tmp", "volume_path": "/t", "capacity_range": {"required_bytes": 2, "limit_bytes": 1}}""", GrpcStatusCode.InvalidArgument, "capacity_range.limit_bytes")]
    public async Task Each_call_checks_its_arguments(string service, string method, string request, GrpcStatusCode code, string named)
    {
        var before = State();
        var answer = await csi.CallAsync(service, method, request.Replace("CAP", Caps, StringComparison.Ordinal).Replace("LONG", new string('l', 129), StringComparison.Ordinal)
            .Replace("DEEP", string.Concat(Enumerable.Repeat("/deep", 1000)), StringComparison.Ordinal));
        Assert.True(answer.Code == code, $"{answer.Code} {answer.Message} instead of {code}");
        Assert.Equal(code == GrpcStatusCode.OK, answer.Response is not null);
        Assert.Contains(named, answer.Message, StringComparison.Ordinal);
        Assert.Equal(code == GrpcStatusCode.OK, answer.Message.Length == 0);
        Assert.Equal(before, State());

        string State() => string.Join('\n', [.. csi.DescribeVolumes(), .. csi.Mounts(), .. csi.PodDirectories(), .. csi.NodeDirectories(), $"{Path.Exists("/t")}"]);
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
    public async Task Every_segment_of_the_drivers_has_all_capacity_and_others_have_none()
    {
        Assert.NotNull(await CapacityAsync(""));
        Assert.Equal(await CapacityAsync(""), await CapacityAsync(""" "topology.ephemeralfs.io/zone": "default" """));
        Assert.Equal(await CapacityAsync(""), await CapacityAsync(""" "topology.ephemeralfs.io/zone": "another" """));
        Assert.Null(await CapacityAsync(""" "example.org/zone": "default" """));
        Assert.Null(await CapacityAsync(""" "topology.ephemeralfs.io/zone": "default", "example.org/rack": "1" """));
        const string Request = """{"name": "somewhere", "volume_capabilities": [CAP], "accessibility_requirements": {"requisite": [{"segments": {"example.org/zone": "a"}}, {"segments": {"topology.ephemeralfs.io/zone": "b"}}]}}""";
        var made = (await csi.CallAsync("Controller", "CreateVolume", Request.Replace("CAP", Caps, StringComparison.Ordinal))).Ok()["volume"]!;
        await csi.DeleteAsync((string)made["volume_id"]!);

        async Task<string?> CapacityAsync(string segments) =>
            (string?)(await csi.CallAsync("Controller", "GetCapacity", $$$"""{"accessible_topology": {"segments": {{{{segments}}}}} }""")).Ok()["available_capacity"];
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
        string odd = await csi.CreateAsync(new string('ü', 64)); // 128 bytes
        Assert.NotEqual(odd, await csi.CreateAsync(new string('ü', 63) + "u"));
        await csi.DeleteAsync(await csi.CreateAsync(new string('ü', 63) + "u"));
        string exact = """{"name": "exact", "volume_capabilities": [CAP], "capacity_range": {"required_bytes": 12345, "limit_bytes": 12345} }""".Replace("CAP", Caps, StringComparison.Ordinal);
        var made = (await csi.CallAsync("Controller", "CreateVolume", exact)).Ok()["volume"]!;
        Assert.Equal("12345", (string)made["capacity_bytes"]!);
        // The control characters that the specification allows.
        string lines = await csi.CreateAsync("a\\tname\\r\\nof lines");
        Assert.NotEqual(lines, await csi.CreateAsync("a\\tname\\nof lines"));
        await csi.DeleteAsync(await csi.CreateAsync("a\\tname\\nof lines"));
        foreach (string volume in new[] { id, odd, lines, (string)made["volume_id"]! })
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
        // A provisioner that has lost its memory asks again for what it asked for first.
        Assert.Equal(id, await csi.CreateAsync("grows", 1 << 20));
        Assert.Equal((string)grown["capacity_bytes"]!, (string)(await csi.CallAsync("Controller", "ControllerGetVolume", $$"""{"volume_id": "{{id}}"}""")).Ok()["volume"]!["capacity_bytes"]!);
        await csi.UnpublishAsync(id, target);
        await csi.DeleteAsync(id);
    }

    [Fact]
    public async Task A_volume_does_not_shrink()
    {
        string id = await csi.CreateAsync("shrinks", 8 << 20);
        foreach (string range in new[] { """{"limit_bytes": 4194304}""", """{"required_bytes": 4194304, "limit_bytes": 4194304}""", """{"required_bytes": 1, "limit_bytes": 8388607}""" })
        {
            Assert.Contains("capacity_range.limit_bytes", (await ExpandAsync(range)).Fails(GrpcStatusCode.OutOfRange).Message, StringComparison.Ordinal);
        }
        foreach (string range in new[] { """{"required_bytes": 4194304}""", """{"required_bytes": 4194304, "limit_bytes": 8388608}""", """{"limit_bytes": 8388608}""" })
        {
            Assert.Equal("8388608", (string)(await ExpandAsync(range)).Ok()["capacity_bytes"]!);
        }
        Assert.Equal("8388608", (string)(await csi.CallAsync("Controller", "ControllerGetVolume", $$"""{"volume_id": "{{id}}"}""")).Ok()["volume"]!["capacity_bytes"]!);
        await csi.DeleteAsync(id);

        Task<Integration.Csi.CsiAnswer> ExpandAsync(string range) => csi.CallAsync("Controller", "ControllerExpandVolume", $$"""{"volume_id": "{{id}}", "capacity_range": {{range}} }""");
    }

    [Fact]
    public async Task Secrets_are_taken_and_are_in_no_log()
    {
        const string Secret = "hunter2-not-for-logs", Secrets = $$"""
            "secrets": {"only-here": "{{Secret}}"}
            """;
        string target = csi.NewTarget();
        var volume = (await csi.CallAsync("Controller", "CreateVolume", $$"""{"name": "with-secrets", "volume_capabilities": [{{Caps}}], {{Secrets}} }""")).Ok()["volume"]!;
        string id = (string)volume["volume_id"]!;
        (await csi.CallAsync("Node", "NodePublishVolume", $$"""{"volume_id": "{{id}}", "target_path": "{{target}}", "volume_capability": {{Caps}}, {{Secrets}} }""")).Ok();
        var snapshot = (await csi.CallAsync("Controller", "CreateSnapshot", $$"""{"name": "with-secrets", "source_volume_id": "{{id}}", {{Secrets}} }""")).Ok()["snapshot"]!;
        (await csi.CallAsync("Controller", "DeleteSnapshot", $$"""{"snapshot_id": "{{(string)snapshot["snapshot_id"]!}}", {{Secrets}} }""")).Ok();
        (await csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}", {{Secrets}} }""")).Fails(GrpcStatusCode.FailedPrecondition);
        await csi.UnpublishAsync(id, target);
        (await csi.CallAsync("Controller", "DeleteVolume", $$"""{"volume_id": "{{id}}", {{Secrets}} }""")).Ok();

        // A line is written when the call has ended, which its caller may hear of first.
        Wait.For(() => Lines("only-here") == 6, () => $"six calls with secrets are in the log, not {Lines("only-here")}");
        Assert.Equal(0, Lines(Secret));

        int Lines(string text) => csi.LogOf("csi").Split('\n').Count(line => line.Contains(text, StringComparison.Ordinal));
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
        Assert.Equal(id, await csi.CreateAsync("modified", more: """, "parameters": {"tier": "dram"}"""));
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
