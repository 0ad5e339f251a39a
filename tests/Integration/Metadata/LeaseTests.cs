using System.Diagnostics;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>What a session may cache, and what it is told to forget before somebody else's change is answered.</summary>
public class LeaseTests : MetadataFixture
{
    private const FrameFlags All = FrameFlags.AttributesLeased | FrameFlags.NamesSole | FrameFlags.NamesShared;

    private readonly Dictionary<string, ulong> _inos = new() { [""] = Ino.Root };
    private TestNode _a = null!;
    private TestNode _b = null!;

    public override async Task InitializeAsync()
    {
        await base.InitializeAsync();
        _a = await NodeAsync("a");
        _b = await NodeAsync("b");
        await MakeAsync("d", 0x41ED);
        await MakeAsync("e", 0x41ED);
        await MakeAsync("d/s", 0x41ED);
        await MakeAsync("d/f", 0x81A4);
        await MakeAsync("e/g", 0x81A4);
    }

    /// <summary>Each operation and all that it changes: names as DIRECTORY/NAME, attributes as the paths that the inodes had before.</summary>
    [Theory]
    [InlineData("create d/n", "d/n", "d")]
    [InlineData("mkdir d/n", "d/n", "d")]
    [InlineData("unlink d/f", "d/f", "d d/f")]
    [InlineData("rmdir d/s", "d/s", "d d/s")]
    [InlineData("rename d/f d/n", "d/f d/n", "d d/f")]
    [InlineData("rename d/f e/g", "d/f e/g", "d e d/f e/g")]
    [InlineData("rename d/s e/n", "d/s e/n", "d e d/s")]
    [InlineData("exchange d/s e/g", "d/s e/g", "d e d/s e/g")]
    [InlineData("link d/f e/n", "e/n", "e d/f")]
    [InlineData("chmod d/f", "", "d/f")]
    [InlineData("truncate d/f", "", "d/f")]
    [InlineData("write d/f", "", "d/f")]
    [InlineData("fallocate d/f", "", "d/f")]
    [InlineData("clone e/g d/f", "", "d/f")]
    [InlineData("open-truncate d/f", "", "d/f")]
    [InlineData("setxattr d/f", "", "d/f")]
    [InlineData("removexattr d/f", "", "d/f")]
    public async Task Others_forget_exactly_what_an_operation_changes(string operation, string names, string inodes)
    {
        var words = operation.Split(' ');
        if (words[0] is "removexattr" or "clone")
        {
            // Something to take away, or to copy.
            await PerformAsync(words[0] == "clone" ? ["write", "e/g"] : ["setxattr", "d/f"]);
        }

        await KnowEverythingAsync(_b);
        await KnowEverythingAsync(_a);
        var gate = new TaskCompletionSource();
        _b.BeforeForgotten = gate.Task;
        var performing = PerformAsync(words);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        Assert.False(performing.IsCompleted);
        var forget = Assert.Single(_b.Forgets);
        Assert.Equal(Words(names), forget.Names.Select(n => $"{PathOf(n.Parent)}/{Encoding.UTF8.GetString(n.Name.Span)}").Order());
        Assert.Equal(Words(inodes), forget.Inodes.Select(PathOf).Order());
        gate.SetResult();
        Assert.Equal(Status.OK, await performing.WaitAsync(Patience));
        Assert.Empty(_a.Forgets);
    }

    /// <summary>Kernels keep a directory's place beyond any lease, so its old name is dropped everywhere.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_directory_that_moves_is_forgotten_where_it_was_whoever_caches_the_name(bool caches)
    {
        if (caches)
        {
            await LookupAsync(_b, "d/s");
        }

        Assert.Equal(Status.OK, await PerformAsync(["rename", "d/s", "e/n"]).WaitAsync(Patience));
        Assert.Equal([(_inos["d"], "s")], _b.Forgotten);
        Assert.Equal(caches ? 1 : 0, _b.Forgets.Count);
    }

    [Fact]
    public async Task The_first_to_know_a_directory_is_told_that_nobody_else_does()
    {
        Assert.Equal(FrameFlags.AttributesLeased | FrameFlags.NamesSole, (await LookupAsync(_a, "d/f")).Flags & All);
        Assert.Equal(FrameFlags.AttributesLeased | FrameFlags.NamesSole, (await LookupAsync(_a, "d/s")).Flags & All);
        Assert.Equal(FrameFlags.AttributesLeased | FrameFlags.NamesShared, (await LookupAsync(_b, "d/f")).Flags & All);
        var missing = await LookupAsync(_b, "d/nothing");
        Assert.Equal((Errno.ENOENT.ToStatus(), FrameFlags.NamesShared), (missing.Status, missing.Flags & All));

        // Who made a directory knows its names: there are none.
        var listing = await _a.ReadAsync<ReadDirRequest, ReadDirReply>(new(_inos["d/s"], 0, 4096, true));
        Assert.Equal(FrameFlags.AttributesLeased | FrameFlags.NamesSole, listing.Flags & All);
        listing = await _b.ReadAsync<ReadDirRequest, ReadDirReply>(new(_inos["d/s"], 0, 4096, true));
        Assert.Equal(FrameFlags.AttributesLeased | FrameFlags.NamesShared, listing.Flags & All);
    }

    [Fact]
    public async Task Attributes_are_forgotten_once_until_they_are_asked_for_again()
    {
        await LookupAsync(_b, "d/f");
        Assert.Equal(Status.OK, await PerformAsync(["chmod", "d/f"]).WaitAsync(Patience));
        Assert.Equal(Status.OK, await PerformAsync(["chmod", "d/f"]).WaitAsync(Patience));
        Assert.Single(_b.Forgets);
        await LookupAsync(_b, "d/f");
        Assert.Equal(Status.OK, await PerformAsync(["chmod", "d/f"]).WaitAsync(Patience));
        Assert.Equal(2, _b.Forgets.Count);
    }

    [Fact]
    public async Task A_second_change_waits_as_well_while_the_first_is_being_forgotten()
    {
        await LookupAsync(_b, "d/f");
        var gate = new TaskCompletionSource();
        _b.BeforeForgotten = gate.Task;
        var first = PerformAsync(["chmod", "d/f"], slot: 1);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        var second = PerformAsync(["chmod", "d/f"], slot: 2);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        Assert.False(first.IsCompleted || second.IsCompleted);
        gate.SetResult();
        Assert.Equal([Status.OK, Status.OK], await Task.WhenAll(first, second).WaitAsync(Patience));
    }

    [Fact]
    public async Task Attributes_of_what_another_session_may_write_are_not_cached()
    {
        await _a.OpenFileAsync(_inos["d/f"], OpenFlags.Write);
        Assert.Equal(FrameFlags.NamesShared, (await LookupAsync(_b, "d/f")).Flags & All);
        Assert.Equal(FrameFlags.AttributesLeased, (await _a.ReadAsync<GetAttrRequest, EntryReply>(new(_inos["d/f"]))).Flags & All);
        var listing = await _b.ReadAsync<ReadDirRequest, ReadDirReply>(new(_inos["d"], 0, 4096, true));
        Assert.Equal(FrameFlags.NamesShared, listing.Flags & All);
    }

    [Fact]
    public async Task What_changes_all_the_time_is_not_cached_by_anybody_for_a_while()
    {
        FrameFlags flags = All;
        for (var i = 0; i < 100 && flags != FrameFlags.None; i++)
        {
            await _b.ReadAsync<GetAttrRequest, EntryReply>(new(_inos["d"]));
            flags = (await LookupAsync(_b, "d/f")).Flags & FrameFlags.NamesShared;
            Assert.Equal(Status.OK, await PerformAsync(["create", $"d/n{i}"]).WaitAsync(Patience));
        }

        Assert.Equal(FrameFlags.None, flags);
        Assert.Equal(FrameFlags.None, (await _b.ReadAsync<GetAttrRequest, EntryReply>(new(_inos["d"]))).Flags & All);

        // Other directories are not concerned.
        Assert.Equal(FrameFlags.AttributesLeased | FrameFlags.NamesShared, (await LookupAsync(_b, "e/g")).Flags & All);
    }

    /// <summary>Two nodes that change names of one directory hold it, each in its kernel, until the other's names have expired: that is to happen once, not each time.</summary>
    [Fact]
    public async Task A_directory_of_which_a_name_was_long_in_being_forgotten_is_not_cached_for_a_while()
    {
        const FrameFlags names = FrameFlags.NamesShared | FrameFlags.NamesSole;
        Assert.NotEqual(FrameFlags.None, (await LookupAsync(_b, "d/f")).Flags & names);
        var gate = new TaskCompletionSource();
        _b.BeforeForgotten = gate.Task;
        var performing = PerformAsync(["unlink", "d/f"]);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        var since = Stopwatch.StartNew();
        while (since.ElapsedMilliseconds < 120)
        {
            await Task.Delay(10);
        }

        gate.SetResult();
        Assert.Equal(Status.OK, await performing.WaitAsync(Patience));
        Assert.Equal(FrameFlags.None, (await LookupAsync(_b, "d/s")).Flags & names);
    }

    [Fact]
    public async Task A_lost_connection_is_asked_again_on_the_next_one()
    {
        await LookupAsync(_b, "d/f");
        _b.BeforeForgotten = new TaskCompletionSource().Task;
        var change = PerformAsync(["chmod", "d/f"]);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        _b.BeforeForgotten = Task.CompletedTask;
        _b.Reconnect();
        Assert.Equal(Status.OK, await _b.TryResumeAsync());
        Assert.Equal(Status.OK, await change.WaitAsync(Patience));
        Assert.Equal(2, _b.Forgets.Count);
    }

    /// <summary>The recalls that have come since the operation was applied were obeyed by the daemon that asked first, which may be dead.</summary>
    [Fact]
    public async Task Who_asks_again_for_what_was_applied_before_may_cache_nothing_of_the_answer()
    {
        await LookupAsync(_b, "d/f");
        var gate = new TaskCompletionSource();
        _b.BeforeForgotten = gate.Task;
        var request = new SetAttrRequest(_inos["d/f"], SetAttrFields.Mode, 0x180, 0, 0, 0, 0, 0);
        var first = _a.CallAsync<SetAttrRequest, EntryReply>(request);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        var successor = Track(await _a.ResumeAsync());
        var again = successor.SendAsync<SetAttrRequest, EntryReply>(request, 0, successor.LastSequence(0));
        await successor.ReadAsync<StatFsRequest, StatFsReply>(default); // so that it has come
        gate.SetResult();
        var result = await again.WaitAsync(Patience);
        Assert.Equal((Status.OK, FrameFlags.None), (result.Status, result.Flags & All));
        _a.Dispose();
        await first;
    }

    [Fact]
    public async Task After_a_restart_changes_are_answered_when_the_others_have_forgotten_everything()
    {
        await LookupAsync(_b, "d/f");
        await _b.ReadAsync<GetAttrRequest, EntryReply>(new(_inos["d/f"]));
        var gate = new TaskCompletionSource();
        _b.BeforeForgotten = gate.Task;
        Restart();
        Assert.Equal(Status.OK, await _a.TryResumeAsync());
        var change = PerformAsync(["chmod", "e/g"]);
        Assert.Equal(Status.OK, await _b.TryResumeAsync());
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        var forget = Assert.Single(_b.Forgets);
        Assert.True(forget.Everything);
        Assert.False(change.IsCompleted);
        gate.SetResult();
        Assert.Equal(Status.OK, await change.WaitAsync(Patience));

        // And what is asked for from then on is leased as before.
        await LookupAsync(_b, "d/f");
        Assert.Equal(Status.OK, await PerformAsync(["chmod", "d/f"]).WaitAsync(Patience));
        Assert.Equal([_inos["d/f"]], _b.Forgets.Last().Inodes);
    }

    [Fact]
    public async Task A_session_that_ends_holds_nobody_up()
    {
        await LookupAsync(_b, "d/f");
        _b.BeforeForgotten = new TaskCompletionSource().Task;
        var change = PerformAsync(["chmod", "d/f"]);
        await _b.RecallCame.WaitAsync().WaitAsync(Patience);
        Assert.False(change.IsCompleted);
        Assert.Equal(FrameFlags.NamesShared, (await LookupAsync(_a, "d/f")).Flags & (FrameFlags.NamesShared | FrameFlags.NamesSole));
        Assert.Equal(Status.OK, (await _b.SendAsync<CloseSessionRequest, Empty>(default, 0, 0)).Status);
        Assert.Equal(Status.OK, await change.WaitAsync(Patience));
        Assert.Equal(FrameFlags.NamesSole, (await LookupAsync(_a, "d/f")).Flags & (FrameFlags.NamesShared | FrameFlags.NamesSole));
    }

    [Fact]
    public async Task The_sixty_fifth_session_caches_nothing_and_all_the_rest_works()
    {
        var nodes = new List<TestNode>();
        for (var i = 2; i < 66; i++)
        {
            nodes.Add(await NodeAsync($"n{i}"));
        }

        Assert.Equal(FrameFlags.AttributesLeased, (await LookupAsync(nodes[61], "d/f")).Flags & FrameFlags.AttributesLeased);
        Assert.Equal(FrameFlags.None, (await LookupAsync(nodes[63], "d/f")).Flags & All);
        Assert.Equal(Status.OK, await PerformAsync(["chmod", "d/f"]).WaitAsync(Patience));
        Assert.Single(nodes[61].Forgets);
        Assert.Empty(nodes[63].Forgets);
    }

    private static IEnumerable<string> Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Order();

    private string PathOf(ulong ino) => _inos.First(known => known.Value == ino).Key;

    private (ulong Parent, byte[] Name) Split(string path) =>
        path.LastIndexOf('/') is var slash && slash < 0 ? (Ino.Root, TestNode.Name(path)) : (_inos[path[..slash]], TestNode.Name(path[(slash + 1)..]));

    private async Task MakeAsync(string path, uint mode)
    {
        var (parent, name) = Split(path);
        _inos[path] = await _a.NewInoAsync();
        Assert.Equal(Status.OK, (await _a.CallAsync<MknodRequest, NameReply>(new(parent, _inos[path], name, mode, 0, 0, 0, default))).Status);
    }

    private Task<RpcResult<EntryReply>> LookupAsync(TestNode node, string path)
    {
        var (parent, name) = Split(path);
        return node.ReadAsync<LookupRequest, EntryReply>(new(parent, name));
    }

    private async Task KnowEverythingAsync(TestNode node)
    {
        foreach (var path in _inos.Keys.Where(p => p.Length > 0).Append("d/n").Append("e/n"))
        {
            await LookupAsync(node, path);
        }
    }

    private async Task<Status> PerformAsync(string[] words, uint slot = 0)
    {
        var (parent, name) = Split(words[1]);
        var (newParent, newName) = words.Length > 2 ? Split(words[2]) : (0, []);
        var ino = _inos.GetValueOrDefault(words[1]);
        return words[0] switch
        {
            "create" => (await _a.CallAsync<CreateRequest, CreateReply>(
                new(parent, await _a.NewInoAsync(), name, 0x81A4, 0, 0, _a.NewHandle(), OpenFlags.Write), slot)).Status,
            "mkdir" => (await _a.CallAsync<MknodRequest, NameReply>(new(parent, await _a.NewInoAsync(), name, 0x41ED, 0, 0, 0, default), slot)).Status,
            "unlink" => (await _a.CallAsync<UnlinkRequest, NameReply>(new(parent, name), slot)).Status,
            "rmdir" => (await _a.CallAsync<RmdirRequest, NameReply>(new(parent, name), slot)).Status,
            "rename" => (await _a.CallAsync<RenameRequest, RenameReply>(new(parent, name, newParent, newName, 0), slot)).Status,
            "exchange" => (await _a.CallAsync<RenameRequest, RenameReply>(new(parent, name, newParent, newName, 2), slot)).Status,
            "link" => (await _a.CallAsync<LinkRequest, NameReply>(new(ino, newParent, newName), slot)).Status,
            "chmod" => (await _a.CallAsync<SetAttrRequest, EntryReply>(new(ino, SetAttrFields.Mode, 0x180, 0, 0, 0, 0, 0), slot)).Status,
            "truncate" => (await _a.CallAsync<SetAttrRequest, EntryReply>(new(ino, SetAttrFields.Size, 0, 0, 0, 5, 0, 0), slot)).Status,
            "write" => (await _a.WriteInlineAsync(ino, "bytes", slot)).Status,
            "fallocate" => (await _a.CallAsync<FallocateRequest, EntryReply>(new(ino, 0, 0, 10, false), slot)).Status,
            "clone" => (await _a.CallAsync<CloneRequest, CloneReply>(new(ino, 0, _inos[words[2]], 0, 100), slot)).Status,
            "open-truncate" => (await _a.OpenFileAsync(ino, OpenFlags.Write | OpenFlags.Truncate, slot)).Status,
            "setxattr" => (await _a.CallAsync<SetXattrRequest, Empty>(new(ino, TestNode.Name("user.a"), TestNode.Name("v"), 0), slot)).Status,
            "removexattr" => (await _a.CallAsync<RemoveXattrRequest, Empty>(new(ino, TestNode.Name("user.a")), slot)).Status,
            _ => throw new ArgumentException(words[0]),
        };
    }
}
