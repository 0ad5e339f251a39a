using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Client;

/// <summary>The server has ended a node's session: what belonged to it fails and is reported, and the node goes on with another one.</summary>
public class SessionEndTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task What_was_open_fails_and_what_is_opened_works()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var old = await a.Create("f");
        await a.Write(old, 0, Bytes(300_000, 1));
        await a.Flush(old);
        await a.Write(old, 100_000, Bytes(50_000, 2));
        await a.Write(old, 120_000, Bytes(50_000, 3));
        Assert.True(a.Files.Table.TryGet(old, out var record));
        var session = a.Volume.Session.Id;

        var lost = Assert.Single(await a.LoseSessionAsync());
        Assert.Equal((record.Ino, 70_000UL, LostReason.SessionEnded, $"/somewhere/{record.Ino}"), (lost.Ino, lost.Bytes, lost.Reason, lost.Path));
        Assert.Equal([lost], a.Volume.Lost.Read());
        Assert.NotEqual(session, a.Volume.Session.Id);
        Assert.Equal(1UL, a.Volume.Session.Life);
        Assert.Contains(record.Ino, a.Invalidated);
        Assert.Equal(0, a.Volume.WriteBackBytes.Used);

        // Another node and then this one write the file; the handle of before does nothing to it.
        var theirs = await b.Open("f", HandleFlags.Write);
        await b.Write(theirs, 0, Bytes(1000, 4));
        await b.Close(theirs);
        await MustFailAsync(a, old);
        var fresh = await a.Open("f", HandleFlags.Write);
        byte[] expected = [.. Bytes(1000, 4), .. Bytes(300_000, 1)[1000..]];
        Assert.Equal(expected, await a.Read(fresh, 0, 400_000));
        await a.Write(fresh, 1000, Bytes(1000, 5));
        await MustFailAsync(a, old);
        await CloseAsync(a, old);
        await a.Close(fresh);
        var read = await b.Open("f");
        expected = [.. Bytes(1000, 4), .. Bytes(1000, 5)];
        Assert.Equal(expected, await b.Read(read, 0, 2000));
        Assert.Equal(0, a.Files.Table.HandleCount);
    }

    /// <summary>A handle that is kept for the next open is known to the server of the session in which it was opened: under another one the file is opened again.</summary>
    [Fact]
    public async Task Handles_that_are_kept_for_the_next_open_go_with_the_session()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var written = await a.Create("f");
        await a.Write(written, 0, Bytes(100_000, 1));
        await a.Close(written);
        await a.Close(await a.Open("f"));
        Assert.Equal(1, a.Files.Table.ParkedCount);

        await a.LoseSessionAsync();
        Assert.Equal(0, a.Files.Table.ParkedCount);
        var again = await a.Open("f");
        Assert.Equal(Status.OK, await b.Do(o => b.Volume.Namespace.UnlinkAsync(o, Ino.Root, TestNode.Bytes("f"))));
        Assert.Equal(Bytes(100_000, 1), await a.Read(again, 0, 100_000));
        await a.Close(again);
        Assert.Equal(0, a.Files.Table.HandleCount);
    }

    [Fact]
    public async Task What_began_before_is_not_done_under_the_next_session()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var before = a.Volume.Session.Begin(77);
        await a.LoseSessionAsync();
        var request = new MknodRequest(Ino.Root, 1 << 20, TestNode.Bytes("d"), 0x41ED, 0, 0, 0, default);
        Assert.Equal(Status.StaleEpoch, (await a.Volume.Session.MutateAsync<MknodRequest, NameReply>(before, request)).Status);
        before.Complete();
        var (status, _) = await Lookup(a, "d");
        Assert.Equal(Errno.ENOENT.ToStatus(), status);
    }

    /// <summary>Whether a call was executed that the kernel sends again to a new daemon nobody knows when its session has ended.</summary>
    [Fact]
    public async Task A_call_that_is_sent_again_is_not_executed_under_the_next_session()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var executed = a.Volume.Session.Begin(78);
        var made = await a.Volume.Namespace.MakeAsync(executed, Ino.Root, TestNode.Bytes("d"), 0x41ED, 0, 0, 0, default);
        Assert.Equal(Status.OK, made.Status);
        await a.LoseSessionAsync();
        a.Restart();
        Assert.Equal(Status.OK, a.Opened);
        var again = a.Volume.Session.Begin(78, resent: true);
        Assert.Equal(Status.StaleEpoch, await a.Volume.Namespace.RmdirAsync(again, Ino.Root, TestNode.Bytes("d")));
        again.Complete();
        Assert.Equal(Status.OK, (await Lookup(a, "d")).Status);
    }

    [Fact]
    public async Task A_new_daemon_finds_out_and_reports_what_its_predecessor_had()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var old = await a.Create("f");
        await a.Write(old, 0, Bytes(100_000, 1));
        var session = a.Volume.Session.Header!.Value;
        a.Volume.Dispose();
        await cluster.EndSessionAsync(session);
        a.Restart();
        Assert.Equal(Status.UnknownSession, a.Opened);
        await UntilAsync(() => !a.Volume.Session.IsFenced);
        Assert.Equal(100_000UL, Assert.Single(a.Volume.Lost.Read()).Bytes);
        await MustFailAsync(a, old);

        // And the one after that knows it too.
        a.Restart();
        Assert.Equal(Status.OK, a.Opened);
        Assert.Equal((1UL, 100_000UL), (a.Volume.Lost.FileCount, a.Volume.Lost.ByteCount));
        await MustFailAsync(a, old);
        await CloseAsync(a, old);
        await a.Close(await a.Create("g"));
    }

    [Fact]
    public async Task Quota_that_was_granted_before_is_not_used_again()
    {
        using var cluster = new MiniCluster(limitBytes: 8 << 20);
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var old = await a.Create("f");
        await a.Write(old, 0, Bytes(2 << 20, 1)); // little enough to stay unflushed
        await a.LoseSessionAsync();
        Assert.Equal(0, a.Volume.Grants.UnusedBytes);
        var all = await b.Create("g");
        await b.Write(all, 0, Bytes(8 << 20, 2));
        await b.Flush(all);
        var none = await a.Open("f", HandleFlags.Write);
        Assert.Equal(Errno.ENOSPC, (await a.Do(o => a.Files.WriteAsync(o, none, 0, Bytes(5000, 3), false))).Errno);
    }

    /// <summary>Nothing says that the session has ended: but nothing says either that it has not, and others may have changed the file.</summary>
    [Fact]
    public async Task A_node_that_hears_nothing_for_its_time_out_asks_before_it_serves()
    {
        using var cluster = new MiniCluster(sessionTimeoutMs: 1000);
        using var a = cluster.NewNode("a");
        var silent = new TaskCompletionSource();
        a.Volume.Session.Silent += () => silent.TrySetResult();
        var handle = await a.Create("f");
        await a.Write(handle, 0, Bytes(5000, 1));
        await a.Flush(handle);
        Assert.True(a.Files.Table.TryGet(handle, out var record));
        cluster.Metadata.Abort();
        await silent.Task.WaitAsync(Patience);
        Assert.Contains(record.Ino, a.Invalidated);
        Assert.False(a.Volume.Session.IsConfirmed);
        var reading = a.Read(handle, 0, 5000);
        var writing = a.Write(handle, 5000, Bytes(5000, 2));
        Assert.False(reading.IsCompleted || writing.IsCompleted);
        cluster.StartMetadata();
        Assert.Equal(Bytes(5000, 1), await reading.WaitAsync(Patience));
        await writing.WaitAsync(Patience);
        await a.Close(handle);
        Assert.Equal((0UL, 0UL), (a.Volume.Session.Life, a.Volume.Lost.FileCount));
    }

    [Fact]
    public async Task Another_volume_of_the_same_name_is_not_taken_for_the_old_one()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var reopened = new TaskCompletionSource<Status>();
        a.Volume.Session.Reopened += status => reopened.TrySetResult(status);
        using var admin = new RpcClient(cluster.MetadataEndpoint);
        Assert.Equal(Status.OK, (await admin.CallAsync<DeleteVolumeRequest, Empty>(new(1, "v", Force: true))).Status);
        Assert.Equal(Status.OK, (await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(2, "v", 0, 0))).Status);
        Assert.NotEqual(Status.OK, (await Lookup(a, "f")).Status);
        Assert.Equal(Status.NoSuchVolume, await reopened.Task.WaitAsync(Patience));
        Assert.Equal(Status.StaleEpoch, (await Lookup(a, "f")).Status);
    }

    private static async Task<(Status Status, ulong Ino)> Lookup(TestNode node, string name)
    {
        var found = await node.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes(name));
        return (found.Status, found.Attributes.Ino);
    }

    private static async Task MustFailAsync(TestNode node, ulong handle)
    {
        Assert.True(node.Files.IsEnded(handle));
        Assert.Equal(Errno.EIO, (await node.Do(o => node.Files.ReadAsync(o, handle, 0, new byte[10]))).Errno);
        Assert.Equal(Errno.EIO, (await node.Do(o => node.Files.WriteAsync(o, handle, 0, new byte[10], false))).Errno);
        Assert.Equal(Errno.EIO, await node.Files.SyncAsync(handle));
        Assert.Equal(Errno.EIO, await node.Files.FlushAsync(handle));
        Assert.Equal(Errno.EIO.ToStatus(), await node.Do(o => node.Files.FallocateAsync(o, handle, 0, 0, 10, false)));
        Assert.Equal(Errno.EIO.ToStatus(), (await node.Files.SeekAsync(handle, 0, 3)).Status);
    }

    private static Task<int> CloseAsync(TestNode node, ulong handle) => node.Do(async o =>
    {
        await node.Files.CloseAsync(o, handle);
        return 0;
    });

    private static async Task UntilAsync(Func<bool> condition)
    {
        var end = DateTime.UtcNow + Patience;
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < end);
            await Task.Delay(5);
        }
    }

    private static byte[] Bytes(int count, int seed)
    {
        var bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
