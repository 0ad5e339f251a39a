using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Controller;

/// <summary>What a metadata server refuses to make is not there afterwards, and never was.</summary>
public sealed class RefusedVolumeTests : ControllerRig
{
    /// <summary>Something has been made behind the controller's back: its next id is taken, or the name is.</summary>
    [Theory]
    [InlineData("wanted", 9)]
    [InlineData("other", 1)]
    public async Task A_volume_in_the_way_is_found_and_the_request_can_be_repeated(string name, uint id)
    {
        await StartMetadataAsync();
        using var metadata = Metadata();
        await metadata.CallAsync<CreateVolumeRequest, VolumeStatus>(new(id, name, 0, 0, new("tier=ssd", [new("of", "others")], 5)));
        var refused = await AddAsync("wanted");
        Assert.Equal(Status.Unavailable, refused.Status);
        Assert.NotEmpty(refused.Error);
        Assert.Equal([name], await NamesAsync());
        var again = await AddAsync("wanted");
        if (name == "wanted")
        {
            Assert.Equal(Status.VolumeExists, again.Status);
            Assert.Equal(id, (await GetAsync("wanted")).Value.Volumes.Single().Id);
        }
        else
        {
            Assert.Equal((Status.OK, id + 1), (again.Status, again.Value.Id));
            Assert.Equal(["other", "wanted"], await NamesAsync());
        }
    }

    [Fact]
    public async Task A_copy_whose_source_is_gone_or_does_not_fit_is_not_written_down()
    {
        var host = await StartMetadataAsync();
        var source = (await AddAsync("source")).Value.Id;
        using (var node = await Integration.Metadata.TestNode.OpenAsync(host.Endpoint, "source"))
        {
            await node.CreateAsync("f");
            await node.CreateAsync("g");
        }

        var tooSmall = await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new("copy", 0, 1, Source: "source"));
        Assert.Equal(Errno.ENOSPC.ToStatus(), tooSmall.Status);
        Assert.Equal(["source"], await NamesAsync());
        using var metadata = Metadata();
        Assert.Equal(Status.OK, (await metadata.CallAsync<DeleteVolumeRequest, Empty>(new(source, "source", true))).Status);
        Assert.Equal(Status.NoSuchVolume, (await AddAsync("copy", "source")).Status);
        Assert.Empty((await GetAsync("copy")).Value.Volumes);
        Assert.Equal(Status.OK, (await RemoveAsync("source")).Status);
    }

    /// <summary>The controller died after the metadata server had deleted the volume and before it had written that down.</summary>
    [Fact]
    public async Task A_record_of_a_volume_that_is_deleted_does_not_stand_for_it()
    {
        await StartMetadataAsync();
        var old = (await AddAsync("v")).Value.Id;
        using var metadata = Metadata();
        Assert.Equal(Status.OK, (await metadata.CallAsync<DeleteVolumeRequest, Empty>(new(old, "v", true))).Status);
        Assert.Equal(Status.Unavailable, (await AddAsync("v")).Status);
        var made = await AddAsync("v");
        Assert.Equal((Status.OK, old + 1), (made.Status, made.Value.Id));
    }

    [Fact]
    public async Task Requests_for_one_name_at_the_same_time_leave_both_sides_agreeing()
    {
        var metadata = await StartMetadataAsync();
        for (var round = 0; round < 20; round++)
        {
            await Task.WhenAll(AddAsync("v"), RemoveAsync("v"), AddAsync("v"), RemoveAsync("v"), AddAsync("w"));
            var known = (await GetAsync()).Value.Volumes;
            Assert.Equal(metadata.Volumes.Select(v => (v.Name, v.Id)).Order(), known.Select(v => (v.Name, v.Id)));
        }
    }
}
