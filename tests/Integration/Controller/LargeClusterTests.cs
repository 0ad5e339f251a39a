using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Controller;

/// <summary>Clusters of which one frame cannot tell everything.</summary>
public sealed class LargeClusterTests : ControllerRig
{
    [Fact]
    public async Task Volumes_are_listed_page_by_page()
    {
        await StartMetadataAsync("m1");
        await StartMetadataAsync("m2");
        var labels = Enumerable.Range(0, 7).Select(i => new Label($"key{i}", new string((char)('a' + i), 1000))).ToArray();
        var names = Enumerable.Range(0, 200).Select(i => $"v{i:000}").ToArray();
        foreach (var name in names)
        {
            Assert.Equal(Status.OK, (await AddAsync(name, labels: labels)).Status);
        }

        Assert.True(names.Length * labels.Sum(label => label.Value.Length) > Limits.FrameHeadMaxBytes);
        Assert.Equal(names, await NamesAsync());
        var listed = (await GetAsync()).Value.Volumes;
        Assert.All(listed, volume => Assert.Equal(labels, volume.Labels));
        Assert.Equal(2, listed.Select(volume => volume.MetadataEndpoint).Distinct().Count());
        var first = (await Client.CallAsync<GetVolumesRequest, GetVolumesReply>(new(""))).Value;
        Assert.False(first.End);
        Assert.InRange(first.Volumes.Length, 2, names.Length - 1);
    }

    /// <summary>Every server hears of all servers once a second, and not of what thousands of pods have mounted.</summary>
    [Fact]
    public async Task Servers_hear_of_each_other_however_much_is_mounted()
    {
        await StartMetadataAsync();
        var directory = "/" + new string('d', 200);
        for (var node = 0; node < 8; node++)
        {
            var mounts = Enumerable.Range(0, 800).Select(i => new MountStatus($"volume-{i}", directory, 1, "rw")).ToArray();
            Assert.Equal(Status.OK, (await RegisterAsync(ServerRole.Node, $"n{node}", mounts)).Status);
        }

        await RegisteredAsync();
        var told = await RegisterAsync(ServerRole.Storage, "s1");
        Assert.Equal(Status.OK, told.Status);
        Assert.Equal(11, told.Value.Servers.Length); // controller, metadata server, storage server, nodes
        Assert.All(told.Value.Servers, server => Assert.Empty(server.Mounts));

        var servers = (await Client.ListServersAsync()).Value.Servers;
        Assert.Equal(ServerRole.Controller, servers[0].Role);
        Assert.Equal(["m1", "s1", .. Enumerable.Range(0, 8).Select(i => $"n{i}")], servers.Skip(1).Select(server => server.Name));
        Assert.All(servers.Where(server => server.Role == ServerRole.Node), server => Assert.Equal(800, server.Mounts.Length));
        Assert.True(servers.Sum(server => server.Mounts.Length) * directory.Length > Limits.FrameHeadMaxBytes);
        Assert.Equal(servers.Where(server => server.Role == ServerRole.Node).Select(server => server.Name), (await Client.ListServersAsync(ServerRole.Node)).Value.Servers.Select(server => server.Name));
        Assert.Equal("s1", Assert.Single((await Client.ListServersAsync(ServerRole.Storage)).Value.Servers).Name);
    }
}
