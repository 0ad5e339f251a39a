using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Client;

/// <summary>A look-up that is expected to be for an open has the server open the file in the same request.</summary>
public sealed class OpenAheadTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly MiniCluster _cluster = new();
    private readonly TestNode _a;
    private readonly TestNode _b;
    private ulong _lookup = 1UL << 40;

    public OpenAheadTests()
    {
        _a = _cluster.NewNode("a");
        _b = _cluster.NewNode("b");
    }

    public void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
        _cluster.Dispose();
    }

    [Fact]
    public async Task One_request_finds_and_opens_what_the_other_node_has_made()
    {
        await MakeAsync("f1", Bytes(1000, 1));
        await MakeAsync("f2", Bytes(1000, 2));
        await MakeAsync("large", Bytes(300_000, 3));
        Assert.Equal(Bytes(1000, 1), await ReadAsync("f1")); // the directory becomes one in which files are opened
        var before = await RequestsAsync();
        Assert.Equal(Bytes(1000, 2), await ReadAsync("f2"));
        Assert.Equal(Bytes(300_000, 3), await ReadAsync("large"));
        var after = await RequestsAsync();
        Assert.Equal(before.Lookup, after.Lookup);
        Assert.Equal(before.Open, after.Open);
        Assert.Equal(before.OpenName + 2, after.OpenName);
        Assert.Equal(0, _b.Files.Table.HandleCount);
    }

    [Fact]
    public async Task Who_only_looks_opens_no_more_than_a_few()
    {
        for (var i = 0; i < 20; i++)
        {
            await MakeAsync($"f{i}", Bytes(10, i));
        }

        await ReadAsync("f0");
        for (var i = 1; i < 20; i++)
        {
            await LookupAsync($"f{i}");
        }

        Assert.InRange((await RequestsAsync()).OpenName, 1, 4);
    }

    [Fact]
    public async Task A_name_that_is_not_there_is_remembered()
    {
        await MakeAsync("f", Bytes(10, 1));
        await ReadAsync("f");
        var before = await RequestsAsync();
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(Errno.ENOENT.ToStatus(), (await _b.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes("none"), _lookup += 2)).Status);
        }

        Assert.Equal(before.OpenName + 1, (await RequestsAsync()).OpenName);
        Assert.Equal(before.Lookup, (await RequestsAsync()).Lookup);
    }

    [Fact]
    public async Task What_another_node_writes_meanwhile_is_read()
    {
        var ino = await AheadAsync("f", Bytes(1000, 1));
        var handle = await _a.Open("f", HandleFlags.Write);
        await _a.Write(handle, 0, Bytes(1000, 2));
        await _a.Close(handle);
        Assert.Equal(Bytes(1000, 2), await ReadAsync(ino));

        await AheadAsync("g", Bytes(1000, 3));
        handle = await _a.Open("g", HandleFlags.Write); // and is still written
        var reader = await OpenAsync((await LookupAsync("g")).Ino);
        await _a.Write(handle, 0, Bytes(1000, 4));
        Assert.Equal(Bytes(1000, 4), await _b.Read(reader, 0, 2000));
        await _a.Close(handle);
        await _b.Close(reader);
    }

    [Fact]
    public async Task What_this_node_changes_meanwhile_is_read()
    {
        var cut = await AheadAsync("cut", Bytes(1000, 1));
        var (status, _) = await _b.Do(o => _b.Volume.Namespace.SetAttrAsync(o, new SetAttrRequest(cut, SetAttrFields.Size, 0, 0, 0, 10, 0, 0)));
        Assert.Equal(Status.OK, status);
        Assert.Equal(Bytes(1000, 1)[..10], await ReadAsync(cut));

        var written = await AheadAsync("written", Bytes(1000, 1));
        var (opened, handle, _, _) = await _b.Do(o => _b.Volume.Opener.OpenAsync(o, written, HandleFlags.Write, OpenFlags.Write));
        Assert.Equal(Status.OK, opened);
        await _b.Write(handle, 0, Bytes(1000, 2));
        Assert.Equal(Bytes(1000, 2), await ReadAsync(written));
        await _b.Close(handle);
        Assert.Equal(Bytes(1000, 2), await ReadAsync(written));
    }

    [Theory]
    [InlineData("removed by the other node")]
    [InlineData("removed here")]
    [InlineData("never opened")]
    [InlineData("daemon replaced")]
    [InlineData("session ended")]
    public async Task Nothing_stays_open(string what)
    {
        await AheadAsync("f", Bytes(100_000, 1));
        Assert.Equal(UsedByTheRest + 1, (await _a.Volume.Namespace.StatFsAsync()).Reply.UsedInodes);
        switch (what)
        {
            case "removed here":
                Assert.Equal(Status.OK, await _b.Do(o => _b.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("f"))));
                break;

            case "daemon replaced":
                _b.Restart();
                break;

            case "session ended":
                await _b.LoseSessionAsync();
                break;
        }

        if (what != "removed here")
        {
            Assert.Equal(Status.OK, await _a.Do(o => _a.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("f"))));
        }

        // An inode lives as long as somebody has it open.
        await UntilAsync(async () => (await _a.Volume.Namespace.StatFsAsync()).Reply.UsedInodes == UsedByTheRest);
    }

    [Fact]
    public async Task What_was_announced_and_not_answered_is_closed_by_the_next_daemon()
    {
        await AheadAsync("f", Bytes(100_000, 1));
        await MakeAsync("g", Bytes(100_000, 2));
        Assert.True(_b.Files.Table.TryReserve(out var handle));
        _b.Files.Table.Announce(handle, 77);
        var operation = _b.Volume.Session.Begin();
        var asked = await _b.Volume.Session.MutateAsync<OpenNameRequest, OpenNameReply>(operation, new(Ino.Root, TestNode.Bytes("g"), 77));
        Assert.True(asked.Value.IsOpen);
        _b.Restart();
        foreach (var name in new[] { "f", "g" })
        {
            Assert.Equal(Status.OK, await _a.Do(o => _a.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes(name))));
        }

        await UntilAsync(async () => (await _a.Volume.Namespace.StatFsAsync()).Reply.UsedInodes == UsedByTheRest);
    }

    /// <summary>The file that <see cref="AheadAsync"/> reads first.</summary>
    private const ulong UsedByTheRest = 1;

    private static byte[] Bytes(int count, int seed)
    {
        var bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var deadline = new CancellationTokenSource(Patience);
        while (!await condition())
        {
            await Task.Delay(10, deadline.Token);
        }
    }

    private async Task<(long Lookup, long Open, long OpenName)> RequestsAsync()
    {
        // A request is counted after its answer, and before the next one of the connection is read.
        await _b.Volume.Namespace.StatFsAsync();
        var metrics = _cluster.Metadata.Metrics().Where(m => m.Name == "ephemeralfs_metadata_requests_total").ToDictionary(m => m.Labels, m => (long)m.Value);
        return (Of("Lookup"), Of("Open"), Of("OpenName"));

        long Of(string name) => metrics.GetValueOrDefault($"op=\"{name}\"");
    }

    private async Task MakeAsync(string name, byte[] content)
    {
        var handle = await _a.Create(name);
        await _a.Write(handle, 0, content);
        await _a.Close(handle);
    }

    private async Task<InodeAttributes> LookupAsync(string name)
    {
        var found = await _b.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes(name), _lookup += 2);
        Assert.Equal(Status.OK, found.Status);
        return found.Attributes;
    }

    private async Task<ulong> OpenAsync(ulong ino)
    {
        var (status, handle, _, _) = await _b.Do(o => _b.Volume.Opener.OpenAsync(o, ino, HandleFlags.None, OpenFlags.None));
        Assert.Equal(Status.OK, status);
        return handle;
    }

    private async Task<byte[]> ReadAsync(string name) => await ReadAsync((await LookupAsync(name)).Ino);

    private async Task<byte[]> ReadAsync(ulong ino)
    {
        var handle = await OpenAsync(ino);
        var bytes = await _b.Read(handle, 0, 1 << 20);
        await _b.Close(handle);
        return bytes;
    }

    /// <summary>A file that node A has made and that node B has looked up, and with that opened.</summary>
    private async Task<ulong> AheadAsync(string name, byte[] content)
    {
        await MakeAsync("first", Bytes(10, 0));
        await ReadAsync("first");
        await MakeAsync(name, content);
        var before = await RequestsAsync();
        var ino = (await LookupAsync(name)).Ino;
        Assert.Equal(before.OpenName + 1, (await RequestsAsync()).OpenName);
        Assert.Equal(1, _b.Files.Table.ParkedCount - ParkedBefore(ino));
        return ino;

        // What was read first is kept as well, unless another node has changed it.
        int ParkedBefore(ulong found) => _b.Files.Table.ParkedBefore(long.MaxValue).Count(parked => parked != found);
    }
}
