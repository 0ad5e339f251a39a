using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>Volumes that refer to blocks of each other: each is one's own, and a block is deleted with its last reference, not before and not never.</summary>
public class VolumeCloneTests : MetadataFixture
{
    private readonly FakeStorage _storage = new();

    /// <summary>Sessions of volumes that nobody touches for long must not end on a slow machine.</summary>
    protected override MetadataOptions Configure(MetadataOptions options) => options with { SessionTimeoutMs = 600_000 };

    public override async Task InitializeAsync()
    {
        await base.InitializeAsync();
        Host.UpdateServers([_storage.Status(1)]);
        Track(_storage);
    }

    [Fact]
    public async Task A_request_that_is_repeated_is_success_and_one_for_another_volume_is_not()
    {
        var node = await NodeAsync();
        await WriteAsync(node, "f");
        var first = await CloneAsync(1, 2, "copy");
        Assert.Equal(Status.OK, first.Status);
        Assert.Equal((2U, "copy", 1UL), (first.Value.Id, first.Value.Name, first.Value.UsedInodes));
        await WriteAsync(node, "later");
        for (var round = 0; round < 2; round++)
        {
            var again = await CloneAsync(1, 2, "copy");
            Assert.Equal((Status.OK, 1UL), (again.Status, again.Value.UsedInodes));
            Assert.Equal(Status.VolumeExists, (await CloneAsync(1, 2, "other")).Status);
            Assert.Equal(Status.VolumeExists, (await CloneAsync(3, 2, "copy")).Status);
            Assert.Equal(1UL << 30, (await CloneAsync(1, 2, "copy", limitBytes: 1 << 30)).Value.LimitBytes);
            Assert.Equal(Status.VolumeExists, (await CloneAsync(1, 3, "copy")).Status);
            Assert.Equal(Status.VolumeExists, (await CloneAsync(2, 1, "tmp")).Status);
            Assert.Equal(Status.NoSuchVolume, (await CloneAsync(7, 3, "third")).Status);
            Assert.Equal(Status.BadRequest, (await CloneAsync(1, 0, "zero")).Status);
            Assert.Equal(Status.BadRequest, (await CloneAsync(1, 3, "")).Status);
            Assert.Equal(Status.BadRequest, (await CloneAsync(3, 3, "self")).Status);
            Restart();
        }

        // The answer to a request that is repeated after the source was deleted must not be another one.
        await DeleteAsync(1);
        Assert.Equal(Status.OK, (await CloneAsync(1, 2, "copy")).Status);
        Assert.Equal(Status.NoSuchVolume, (await CloneAsync(1, 3, "third")).Status);
        Assert.Equal(Status.OK, (await CloneAsync(2, 3, "third")).Status);
    }

    [Fact]
    public async Task What_is_copied_counts_in_full_and_must_fit()
    {
        var node = await NodeAsync();
        await WriteAsync(node, "f");
        await WriteAsync(node, "g");
        var unnamed = await WriteAsync(node, "unnamed");
        await node.OpenFileAsync(unnamed.Ino, OpenFlags.None);
        await node.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("unnamed")));
        Assert.Equal(Errno.ENOSPC.ToStatus(), (await CloneAsync(1, 2, "copy", limitBytes: 8191)).Status);
        Assert.Equal(Errno.ENOSPC.ToStatus(), (await CloneAsync(1, 2, "copy", limitInodes: 1)).Status);
        var copy = await CloneAsync(1, 2, "copy", limitBytes: 8192, limitInodes: 2);
        Assert.Equal((Status.OK, 8192UL, 2UL), (copy.Status, copy.Value.UsedBytes, copy.Value.UsedInodes));
        var onCopy = Track(await TestNode.OpenAsync(Host.Endpoint, "copy"));
        Assert.Equal(Errno.ENOSPC.ToStatus(), (await onCopy.CallAsync<MknodRequest, NameReply>(
            new(Ino.Root, await onCopy.NewInoAsync(), TestNode.Name("more"), 0x81A4, 0, 0, 0, default))).Status);
        Restart();
        Assert.Equal((8192UL, 2UL), Host.Volumes.Where(v => v.Id == 2).Select(v => (v.UsedBytes, v.UsedInodes)).Single());
    }

    [Fact]
    public async Task Numbers_of_inodes_are_the_same_and_never_given_again()
    {
        var node = await NodeAsync();
        var file = await WriteAsync(node, "f");
        await CloneAsync(1, 2, "copy");
        var onCopy = Track(await TestNode.OpenAsync(Host.Endpoint, "copy"));
        var found = (await onCopy.ReadAsync<LookupRequest, EntryReply>(new(Ino.Root, TestNode.Name("f")))).Value.Attributes;
        Assert.Equal(file.Ino, found.Ino);
        // The node of the source may still use the numbers that it was granted.
        var granted = new HashSet<ulong>();
        for (var i = 0; i < 15; i++)
        {
            granted.Add(await node.NewInoAsync());
        }

        Assert.DoesNotContain(await onCopy.NewInoAsync(), granted);
        Assert.Equal(2U, BlockId.VolumeOf(await onCopy.NewBlockAsync()));
    }

    [Fact]
    public async Task A_block_lives_as_long_as_any_volume_refers_to_it()
    {
        var node = await NodeAsync();
        var (shared, own) = (await WriteAsync(node, "shared"), await WriteAsync(node, "own"));
        await CloneAsync(1, 2, "copy");
        await CloneAsync(2, 3, "second");
        var onCopy = Track(await TestNode.OpenAsync(Host.Endpoint, "copy"));
        await UnlinkAsync(onCopy, "own");
        await UnlinkAsync(node, "shared");
        await UnlinkAsync(node, "own");
        await SettledAsync();
        Assert.Equal([shared.Block, own.Block], _storage.Blocks);
        Assert.Empty(await CheckAsync(shared.Block, own.Block));
        await DeleteAsync(1);
        Restart();
        Host.UpdateServers([_storage.Status(1)]);
        await DeleteAsync(3);
        await UntilAsync(() => _storage.Blocks.SequenceEqual([shared.Block]), "what only the second copy had is deleted");
        Assert.Empty(await CheckAsync(shared.Block));
        Assert.DoesNotContain(1U, _storage.DroppedVolumes);
        await DeleteAsync(2);
        await UntilAsync(() => _storage.Blocks.Length == 0 && Metric("ephemeralfs_metadata_deleted_volumes") == 0, "nothing is left");
        Assert.Equal([1U, 2U, 3U], _storage.DroppedVolumes.Distinct().Order());
        Assert.Equal([shared.Block], await CheckAsync(shared.Block));
    }

    /// <summary>A scrubber asks about blocks of volumes that live and that do not; what a node was granted in a deleted volume is nobody's.</summary>
    [Fact]
    public async Task Garbage_is_what_no_volume_needs()
    {
        var node = await NodeAsync();
        var (kept, dropped) = (await WriteAsync(node, "kept"), await WriteAsync(node, "dropped"));
        var uncommitted = await node.NewBlockAsync();
        await CloneAsync(1, 2, "copy");
        await UnlinkAsync(node, "kept");
        await UnlinkAsync(node, "dropped");
        var onCopy = Track(await TestNode.OpenAsync(Host.Endpoint, "copy"));
        Assert.Empty(await CheckAsync(kept.Block, dropped.Block, uncommitted));
        await UnlinkAsync(onCopy, "dropped");
        Assert.Equal([dropped.Block], await CheckAsync(kept.Block, dropped.Block, uncommitted));
        await DeleteAsync(1);
        Assert.Equal([uncommitted, dropped.Block], (await CheckAsync(kept.Block, dropped.Block, uncommitted)).OrderDescending());
        Restart();
        Assert.Equal([uncommitted, dropped.Block], (await CheckAsync(kept.Block, dropped.Block, uncommitted)).OrderDescending());
        await DeleteAsync(2);
        Assert.Equal(3, (await CheckAsync(kept.Block, dropped.Block, uncommitted)).Length);
    }

    /// <summary>A copy is what there was at one instant, however many changes are under way.</summary>
    [Fact]
    public async Task A_copy_of_a_volume_in_use_is_a_cut_through_its_history_and_whole()
    {
        using var done = new CancellationTokenSource();
        var writer = await NodeAsync();
        var rewritten = await WriteAsync(writer, "rewritten");
        var writing = Task.Run(async () =>
        {
            for (var i = 0; !done.IsCancellationRequested; i++)
            {
                await WriteAsync(writer, $"n{i}");
                var extent = new Extent(0, 4096, await writer.NewBlockAsync(), 0, 1);
                _storage.Put(extent.BlockId);
                Assert.Equal(Status.OK, (await writer.CallAsync<CommitRequest, CommitReply>(new(rewritten.Ino, CommitFlags.None, 0, [extent], default, 0))).Status);
            }
        });
        for (var id = 2U; id < 12; id++)
        {
            Assert.Equal(Status.OK, (await CloneAsync(1, id, $"copy{id}")).Status);
        }

        await done.CancelAsync();
        await writing;
        await SettledAsync();
        var counts = new HashSet<int>();
        for (var id = 2U; id < 12; id++)
        {
            using var node = await TestNode.OpenAsync(Host.Endpoint, $"copy{id}");
            var files = await FilesAsync(node);
            var blocks = await Task.WhenAll(files.Values.Select(ino => BlocksAsync(node, ino)));
            Assert.Equal(Enumerable.Range(0, files.Count - 1).Select(i => $"n{i}").Append("rewritten").Order(), files.Keys.Order());
            Assert.Subset(_storage.Blocks.ToHashSet(), blocks.SelectMany(b => b).ToHashSet());
            // The newest one may have been made and not yet written.
            Assert.InRange(blocks.SelectMany(b => b).Distinct().Count(), files.Count - 1, files.Count);
            counts.Add(files.Count);
        }

        Assert.True(counts.Count > 1, "nothing was written between the copies");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Families_of_volumes_lose_no_block_and_leave_none(int seed) => await new VolumeFamily(this, seed).RunAsync(steps: 250);

    [Theory]
    [Trait("Category", "Soak")]
    [InlineData(101)]
    [InlineData(102)]
    [InlineData(103)]
    [InlineData(104)]
    public async Task Families_of_volumes_lose_no_block_and_leave_none_for_long(int seed) => await new VolumeFamily(this, seed).RunAsync(steps: 10_000);

    /// <summary>Half-made and half-deleted directories are nobody's; what a deleted copy knew and cannot tell is left to the scrubbers.</summary>
    [Fact]
    public async Task What_an_earlier_life_has_left_half_done_is_removed()
    {
        var node = await NodeAsync();
        var file = await WriteAsync(node, "f");
        await CloneAsync(1, 2, "copy");
        await UnlinkAsync(node, "f");
        await SettledAsync();
        var volumes = Path.Combine(StateDirectory, "metadata", "volumes");
        // The storage server cannot be reached, so that the deleted copy stays.
        Host.UpdateServers([]);
        await DeleteAsync(2);
        Host.Abort();
        Directory.CreateDirectory(Path.Combine(volumes, "3.new"));
        Directory.CreateDirectory(Path.Combine(volumes, "4.old"));
        foreach (var path in Directory.GetFiles(Path.Combine(volumes, "2")))
        {
            await File.WriteAllTextAsync(path, "damaged");
        }

        Restart();
        Assert.Equal(["1"], Directory.GetDirectories(volumes).Select(Path.GetFileName));
        Assert.Equal([file.Block], await CheckAsync(file.Block));
    }

    internal Task<RpcResult<VolumeStatus>> CloneAsync(uint source, uint id, string name, ulong limitBytes = 0, ulong limitInodes = 0) =>
        AdminAsync<CloneVolumeRequest, VolumeStatus>(new(source, id, name, limitBytes, limitInodes));

    internal async Task DeleteAsync(uint id) =>
        Assert.Equal(Status.OK, (await AdminAsync<DeleteVolumeRequest, Empty>(new(id, Host.Volumes.Single(v => v.Id == id).Name, true))).Status);

    internal async Task<ulong[]> CheckAsync(params ulong[] blocks) => (await AdminAsync<CheckBlocksRequest, CheckBlocksReply>(new(blocks))).Value.Garbage;

    internal Task<TestNode> OpenAsync(string volume) => TestNode.OpenAsync(Host.Endpoint, volume);

    /// <summary>The server dies and comes back; what it has in its files is what it had in memory.</summary>
    /// <param name="storage">Storage servers from then on.</param>
    /// <param name="whenSettled">Not while blocks are being deleted: only then does nothing change between looking and dying.</param>
    internal async Task DieAsync(FakeStorage[] storage, bool whenSettled)
    {
        if (whenSettled)
        {
            await SettledAsync();
        }

        var before = Host.Volumes.ToDictionary(v => v.Id, v => Host.Dump(v.Id));
        Restart();
        Assert.Equal(before.Keys.Order(), Host.Volumes.Select(v => v.Id).Order());
        if (whenSettled)
        {
            Assert.All(before, volume => Assert.Equal(volume.Value, Host.Dump(volume.Key)));
        }

        Use(storage);
    }

    internal void Use(FakeStorage[] storage) => Host.UpdateServers([.. storage.Select((s, i) => s.Status((uint)i + 1))]);

    internal Task EventuallyAsync(Func<bool> condition, string what) => UntilAsync(condition, what);

    internal bool NothingIsDeletedAnyMore() => Metric("ephemeralfs_metadata_deleted_volumes") == 0;

    internal async Task<VolumeFamily.Volume> CreateAsync(uint id)
    {
        Assert.Equal(Status.OK, (await AdminAsync<CreateVolumeRequest, VolumeStatus>(new(id, $"v{id}", 0, 0))).Status);
        return new VolumeFamily.Volume(id, await OpenAsync($"v{id}"));
    }

    internal static async Task UnlinkAsync(TestNode node, string name) =>
        Assert.Equal(Status.OK, (await node.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name(name)))).Status);

    internal static async Task<Dictionary<string, ulong>> FilesAsync(TestNode node)
    {
        var files = new Dictionary<string, ulong>();
        for (var cookie = 0UL; ;)
        {
            var reply = (await node.ReadAsync<ReadDirRequest, ReadDirReply>(new(Ino.Root, cookie, 1 << 18, true))).Value;
            foreach (var entry in reply.Entries.Where(e => e.Attributes.IsRegular))
            {
                files.Add(Encoding.UTF8.GetString(entry.Name.Span), entry.Attributes.Ino);
            }

            if (reply.End)
            {
                return files;
            }

            cookie = reply.Entries[^1].Cookie;
        }
    }

    internal static async Task<ulong[]> BlocksAsync(TestNode node, ulong ino)
    {
        var layout = await node.ReadAsync<GetLayoutRequest, LayoutReply>(new(ino, 0, 1 << 30));
        Assert.Equal(Status.OK, layout.Status);
        return [.. layout.Value.Extents.Select(e => e.BlockId)];
    }

    private async Task<RpcResult<TReply>> AdminAsync<TRequest, TReply>(TRequest request)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        using var admin = new RpcClient(Host.Endpoint);
        return await admin.CallAsync<TRequest, TReply>(request);
    }

    /// <summary>A closed file of one block.</summary>
    private async Task<(ulong Ino, ulong Block)> WriteAsync(TestNode node, string name)
    {
        var ino = await node.NewInoAsync();
        Assert.Equal(Status.OK, (await node.CallAsync<MknodRequest, NameReply>(new(Ino.Root, ino, TestNode.Name(name), 0x81A4, 0, 0, 0, default))).Status);
        var block = await node.NewBlockAsync();
        _storage.Put(block);
        var extent = new Extent(0, 4096, block, 0, 1);
        Assert.Equal(Status.OK, (await node.CallAsync<CommitRequest, CommitReply>(new(ino, CommitFlags.None, 0, [extent], default, 0))).Status);
        return (ino, block);
    }

    private Task SettledAsync() => UntilAsync(() => Metric("ephemeralfs_metadata_blocks_to_delete") == 0, "the queues are empty");
}
