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
            metadata = Serve(state, "a");
            storage = Id(state, ServerRole.Storage, "a");
            Assert.Equal(storage, Id(state, ServerRole.Storage, "a", "unix:/elsewhere"));
        }

        using var again = Open();
        var known = again.View(0).Single(s => s.Role == ServerRole.Storage);
        Assert.Equal((storage, "unix:/elsewhere", false), (known.Id, known.Endpoint, known.Alive));
        Assert.Equal(metadata, Id(again, ServerRole.Metadata, "a"));
        Assert.Equal(2u, Id(again, ServerRole.Storage, "b"));
        Assert.Equal(1u, Id(again, ServerRole.Node, "b"));
    }

    [Fact]
    public void A_silent_server_is_not_alive()
    {
        using var state = Open();
        state.Register(Server(ServerRole.Node, "a"), 1000);
        Assert.True(state.View(5999).Single().Alive);
        Assert.Equal(4999u, state.View(5999).Single().LastSeenMs);
        Assert.False(state.View(6000).Single().Alive);
        state.Register(Server(ServerRole.Node, "a"), 7000);
        Assert.True(state.View(7000).Single().Alive);
    }

    [Fact]
    public void A_volume_needs_a_living_metadata_server()
    {
        using var state = Open();
        Assert.Equal(Status.Unavailable, state.AddVolume(new("tmp", 0, 0), 0, 0, out _));
        Serve(state, "m");
        Assert.Equal(Status.NoSuchServer, state.AddVolume(new("tmp", 0, 0), 5000, 0, out _));
        Assert.Equal(Status.OK, state.AddVolume(new("tmp", 0, 0), 4999, 0, out var volume));
        Assert.Equal("m", volume!.MetadataServer);
    }

    [Fact]
    public void Volumes_are_dealt_out_evenly()
    {
        using var state = Open();
        Serve(state, "m");
        Serve(state, "n");
        var homes = Enumerable.Range(0, 6).Select(i => Add(state, $"v{i}").MetadataServer).ToArray();
        Assert.Equal(3, homes.Count(h => h == "m"));
        Assert.Equal(3, homes.Count(h => h == "n"));
    }

    [Fact]
    public void Repeating_is_success_only_with_the_same_limits()
    {
        using var state = Open();
        Serve(state, "m");
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
            Serve(state, "m");
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
            Serve(state, "m");
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
            Serve(again, "m");
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
        Serve(state, "m");
        Assert.Equal(Errno.EINVAL.ToStatus(), state.AddVolume(new(name, 0, 0), 0, 0, out _));
    }

    [Fact]
    public void The_longest_name_has_63_characters()
    {
        Assert.True(VolumeName.IsValid(new string('a', 63)));
        Assert.False(VolumeName.IsValid(new string('a', 64)));
    }

    [Fact]
    public void Nothing_new_is_numbered_and_nothing_is_denied_before_every_known_metadata_server_was_listed()
    {
        using var state = Open();
        Assert.Equal("no metadata server has registered yet", state.Missing());
        Assert.Null(state.Register(Server(ServerRole.Storage, "s"), 0));
        Assert.NotNull(state.Register(Server(ServerRole.Node, "n"), 0));
        Id(state, ServerRole.Metadata, "m");
        Assert.Contains("metadata server m", state.Missing(), StringComparison.Ordinal);
        Assert.Null(state.Register(Server(ServerRole.Storage, "s"), 0));
        Assert.Equal(Status.Unavailable, state.ChangeVolume(new("v", 0, 0, ""), out _));

        // It knows of another one.
        List(state, "m", 0, [], new KnownServer(ServerRole.Metadata, 8, "n", "unix:/n"), new KnownServer(ServerRole.Metadata, 4, "m", "unix:/m"));
        Assert.EndsWith("metadata server n", state.Missing(), StringComparison.Ordinal);
        Assert.Equal(Status.Unavailable, state.AddVolume(new("v", 0, 0), 0, 0, out _));
        Serve(state, "n");
        Assert.Null(state.Missing());
        Assert.Equal(Status.NoSuchVolume, state.ChangeVolume(new("v", 0, 0, ""), out _));
        Assert.Equal(1u, Id(state, ServerRole.Storage, "s"));
    }

    [Fact]
    public void What_a_metadata_server_has_and_the_journal_has_not_is_written_down()
    {
        var known = Listed(7, "old", hints: "tier=ssd", labels: [new Label("a", "1"), new Label("b", "2")], source: "gone", sourceId: 3);
        using (var state = Open())
        {
            Id(state, ServerRole.Metadata, "m");
            List(state, "m", 9, [known], new KnownServer(ServerRole.Storage, 5, "s5", "unix:/s5"), new KnownServer(ServerRole.Storage, 2, "s2", "unix:/s2"));
        }

        using var again = Open();
        Assert.Null(again.Missing());
        var volume = Assert.Single(again.Volumes("old"));
        Assert.Equal((7u, "m", 100UL, 10UL, "tier=ssd", "gone", 3u, 1234L),
            (volume.Id, volume.MetadataServer, volume.LimitBytes, volume.LimitInodes, volume.Hints, volume.Source, volume.SourceId, volume.CreatedNs));
        Assert.Equal(known.Labels, volume.Labels);
        Id(again, ServerRole.Metadata, "m");
        Assert.Equal(10u, Add(again, "new").Id);
        Assert.Equal((2u, 5u, 6u), (Id(again, ServerRole.Storage, "s2"), Id(again, ServerRole.Storage, "s5"), Id(again, ServerRole.Storage, "s6")));
    }

    /// <summary>The journal is an old copy: volumes of these names and ids were deleted since, and others made.</summary>
    [Fact]
    public void Of_its_own_volumes_a_metadata_server_knows_best()
    {
        using (var state = Open())
        {
            Serve(state, "m");
            var (a, b, c) = (Add(state, "a"), Add(state, "b"), Add(state, "c"));
            List(state, "m", 9, [Listed(a.Id, "c"), Listed(b.Id, "b"), Listed(7, "a"), Listed(8, "d")]);
            Check(state);
            Assert.Equal(10u, Add(state, "e").Id);
        }

        using var again = Open();
        Check(again);

        static void Check(ControllerState state) =>
            Assert.Equal([("a", 7u), ("b", 2u), ("c", 1u), ("d", 8u)], state.Volumes("").Where(v => v.Name != "e").Select(v => (v.Name, v.Id)));
    }

    [Fact]
    public void Where_a_metadata_server_contradicts_the_journal_on_another_one_the_journal_counts()
    {
        using var state = Open();
        Serve(state, "m");
        Serve(state, "n");
        Assert.Equal(1u, Id(state, ServerRole.Storage, "s"));
        var (kept, other) = (Add(state, "a"), Add(state, "b"));
        List(state, "m", 3, [Listed(kept.Id, "a", hints: "tier=hdd"), Listed(3, "b"), Listed(other.Id, "c")], new KnownServer(ServerRole.Storage, 2, "s", ""), new KnownServer(ServerRole.Storage, 1, "t", ""));
        List(state, "n", 3, [Listed(kept.Id, "a")]);
        Assert.Equal([kept, other], state.Volumes(""));
        Assert.Equal(1u, Id(state, ServerRole.Storage, "s"));
        Assert.Equal(2u, Id(state, ServerRole.Storage, "t"));
        Assert.Equal(4u, Add(state, "d").Id);
    }

    [Fact]
    public void A_list_that_was_on_its_way_brings_no_deleted_volume_back()
    {
        using var state = Open();
        Serve(state, "m");
        var volume = Add(state, "v");
        state.RemoveVolume(volume.Id);
        List(state, "m", volume.Id, [Listed(volume.Id, "v")]);
        Assert.Empty(state.Volumes(""));
    }

    [Fact]
    public void A_volume_that_was_refused_is_forgotten_and_the_one_in_its_way_is_asked_for()
    {
        using var state = Open();
        Serve(state, "m");
        var refused = Add(state, "v");
        Assert.Empty(state.Unlisted(0));
        state.TakeBack(refused, isTaken: true);
        Assert.Empty(state.Volumes(""));
        Assert.Equal(["m"], state.Unlisted(0).Select(s => s.Name));
        List(state, "m", refused.Id, [Listed(refused.Id, "other")]);
        Assert.Equal(["other"], state.Volumes("").Select(v => v.Name));
        Assert.Equal(refused.Id + 1, Add(state, "v").Id);
    }

    [Fact]
    public void A_new_life_of_either_side_is_listed_and_a_dead_server_holds_up_nobody_whose_journal_is_whole()
    {
        using (var state = Open())
        {
            Serve(state, "m");
            Serve(state, "n");
            Assert.Empty(state.Unlisted(0));
            state.Register(Server(ServerRole.Metadata, "m") with { StartedNs = 2 }, 0);
            Assert.Equal(["m"], state.Unlisted(0).Select(s => s.Name));
            Assert.Null(state.Missing());
        }

        using var again = Open();
        Assert.Null(again.Missing());
        Id(again, ServerRole.Metadata, "m");
        Assert.Equal(["m"], again.Unlisted(0).Select(s => s.Name));
        Assert.Empty(again.Unlisted(5000));
        Add(again, "v");
    }

    [Fact]
    public void A_journal_that_was_cut_is_taken_for_incomplete_until_everything_was_listed_again()
    {
        using (var state = Open())
        {
            Serve(state, "m");
            Add(state, "v");
        }

        using (var file = new FileStream(Path.Combine(_directory, "controller.journal"), System.IO.FileMode.Open))
        {
            file.SetLength(file.Length - 1);
        }

        for (var start = 0; start < 2; start++)
        {
            using var cut = Open();
            Assert.NotNull(cut.Missing());
        }

        using var again = Open();
        Id(again, ServerRole.Metadata, "m");
        List(again, "m", 1, [Listed(1, "v")]);
        Assert.Null(again.Missing());
        Assert.Equal(1u, Assert.Single(again.Volumes("v")).Id);
    }

    private ControllerState Open() => ControllerState.Open(_directory, 5000, NullLogger.Instance);

    private static Volume Add(ControllerState state, string name)
    {
        Assert.Equal(Status.OK, state.AddVolume(new(name, 0, 0), 0, 0, out var volume));
        return volume!;
    }

    /// <summary>A metadata server registers and has been listed: it has nothing.</summary>
    private static uint Serve(ControllerState state, string name)
    {
        var id = Id(state, ServerRole.Metadata, name);
        List(state, name, 0, []);
        return id;
    }

    private static void List(ControllerState state, string name, uint highestId, VolumeStatus[] volumes, params KnownServer[] servers) =>
        state.Adopt(state.View(0).Single(s => s.Role == ServerRole.Metadata && s.Name == name), volumes, highestId, servers);

    private static VolumeStatus Listed(uint id, string name, string hints = "", Label[]? labels = null, string source = "", uint sourceId = 0) =>
        new(id, name, "", 100, 50, 10, 5, 1, hints, labels, source, 1234, sourceId);

    private static uint Id(ControllerState state, ServerRole role, string name, string endpoint = "unix:/run/x.sock") => state.Register(Server(role, name, endpoint), 0)!.Value.Id;

    private static RegisterRequest Server(ServerRole role, string name, string endpoint = "unix:/run/x.sock") => new(role, name, endpoint, "", 1, [], []);
}
