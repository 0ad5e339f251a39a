using EphemeralFs.Controller.Service;
using EphemeralFs.Controller.Volumes;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Unit.Controller;

public sealed class ControllerStateTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("efs-controller").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_server_keeps_its_id_over_restarts_of_both()
    {
        uint storage, metadata;
        using (var state = Open())
        {
            storage = state.Register(Server(ServerRole.Storage, "a"), 0).Id;
            metadata = state.Register(Server(ServerRole.Metadata, "a"), 0).Id;
            Assert.Equal(storage, state.Register(Server(ServerRole.Storage, "a", "unix:/elsewhere"), 10).Id);
        }

        using var again = Open();
        Assert.NotEqual(storage, metadata);
        var known = again.View(0).Single(s => s.Role == ServerRole.Storage);
        Assert.Equal((storage, "unix:/elsewhere", false), (known.Id, known.Endpoint, known.Alive));
        Assert.Equal(metadata, again.Register(Server(ServerRole.Metadata, "a"), 0).Id);
        Assert.Equal(3u, again.Register(Server(ServerRole.Node, "b"), 0).Id);
    }

    [Fact]
    public void A_silent_server_is_not_alive()
    {
        using var state = Open();
        state.Register(Server(ServerRole.Storage, "a"), 1000);
        Assert.True(state.View(5999).Single().Alive);
        Assert.Equal(4999u, state.View(5999).Single().LastSeenMs);
        Assert.False(state.View(6000).Single().Alive);
        state.Register(Server(ServerRole.Storage, "a"), 7000);
        Assert.True(state.View(7000).Single().Alive);
    }

    [Fact]
    public void A_volume_needs_a_living_metadata_server()
    {
        using var state = Open();
        Assert.Equal(Status.NoSuchServer, state.AddVolume(new("tmp", 0, 0), 0, 0, out _));
        state.Register(Server(ServerRole.Metadata, "m"), 0);
        Assert.Equal(Status.NoSuchServer, state.AddVolume(new("tmp", 0, 0), 5000, 0, out _));
        Assert.Equal(Status.OK, state.AddVolume(new("tmp", 0, 0), 4999, 0, out var volume));
        Assert.Equal("m", volume!.MetadataServer);
    }

    [Fact]
    public void Volumes_are_dealt_out_evenly()
    {
        using var state = Open();
        state.Register(Server(ServerRole.Metadata, "m"), 0);
        state.Register(Server(ServerRole.Metadata, "n"), 0);
        var homes = Enumerable.Range(0, 6).Select(i => Add(state, $"v{i}").MetadataServer).ToArray();
        Assert.Equal(3, homes.Count(h => h == "m"));
        Assert.Equal(3, homes.Count(h => h == "n"));
    }

    [Fact]
    public void Repeating_is_success_only_with_the_same_limits()
    {
        using var state = Open();
        state.Register(Server(ServerRole.Metadata, "m"), 0);
        Assert.Equal(Status.OK, state.AddVolume(new("v", 10, 20), 0, 0, out var first));
        Assert.Equal(Status.OK, state.AddVolume(new("v", 10, 20), 0, 0, out var second));
        Assert.Equal(first, second);
        Assert.Equal(Status.VolumeExists, state.AddVolume(new("v", 11, 20), 0, 0, out _));
        Assert.Equal(Status.VolumeExists, state.AddVolume(new("v", 10, 21), 0, 0, out _));
    }

    [Fact]
    public void Ids_of_volumes_are_never_used_again()
    {
        var ids = new HashSet<uint>();
        for (var round = 0; round < 5; round++)
        {
            using var state = Open();
            state.Register(Server(ServerRole.Metadata, "m"), 0);
            for (var i = 0; i < 3; i++)
            {
                var volume = Add(state, "same");
                Assert.True(ids.Add(volume.Id), $"id {volume.Id} came twice");
                state.RemoveVolume(volume.Id);
                Assert.Empty(state.Volumes("same"));
            }
        }
    }

    [Fact]
    public void A_journal_of_mostly_removed_volumes_is_rewritten_and_ids_still_are_not_reused()
    {
        uint last = 0;
        using (var state = Open())
        {
            state.Register(Server(ServerRole.Metadata, "m"), 0);
            Add(state, "stays");
            for (var i = 0; i < 300; i++)
            {
                last = Add(state, "passes").Id;
                state.RemoveVolume(last);
            }
        }

        var before = new FileInfo(Path.Combine(_directory, "controller.journal")).Length;
        using (var again = Open())
        {
            Assert.Equal(["stays"], again.Volumes("").Select(v => v.Name));
            again.Register(Server(ServerRole.Metadata, "m"), 0);
            Assert.Equal(last + 1, Add(again, "next").Id);
        }

        Assert.True(new FileInfo(Path.Combine(_directory, "controller.journal")).Length < before / 10);
    }

    [Theory]
    [InlineData("")]
    [InlineData("Upper")]
    [InlineData("-dash")]
    [InlineData(".dot")]
    [InlineData("sla/sh")]
    [InlineData("spa ce")]
    [InlineData("ümlaut")]
    public void Bad_names_are_refused(string name)
    {
        using var state = Open();
        state.Register(Server(ServerRole.Metadata, "m"), 0);
        Assert.Equal(Errno.EINVAL.ToStatus(), state.AddVolume(new(name, 0, 0), 0, 0, out _));
    }

    [Fact]
    public void The_longest_name_has_63_characters()
    {
        Assert.True(VolumeName.IsValid(new string('a', 63)));
        Assert.False(VolumeName.IsValid(new string('a', 64)));
    }

    private ControllerState Open() => ControllerState.Open(_directory, 5000, NullLogger.Instance);

    private static Volume Add(ControllerState state, string name)
    {
        Assert.Equal(Status.OK, state.AddVolume(new(name, 0, 0), 0, 0, out var volume));
        return volume!;
    }

    private static RegisterRequest Server(ServerRole role, string name, string endpoint = "unix:/run/x.sock") => new(role, name, endpoint, "", 1, [], []);
}
