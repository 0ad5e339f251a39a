using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Client;

/// <summary>The node's client against real servers, without a kernel.</summary>
public sealed class VolumeClientTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(100)]
    [InlineData(8192)]
    [InlineData(8193)]
    [InlineData(200_000)]
    [InlineData(5_000_000)]
    public async Task WhatWasWrittenIsReadByAnotherNode(int size)
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var data = Random(size);
        var handle = await a.Create("f");
        for (var at = 0; at < size; at += 100_000)
        {
            await a.Write(handle, (ulong)at, data[at..Math.Min(size, at + 100_000)]);
        }

        Assert.Equal(data, await a.Read(handle, 0, size + 10));
        await a.Close(handle);
        var other = await b.Open("f");
        Assert.Equal(data, await b.Read(other, 0, size + 10));
        await b.Close(other);
    }

    /// <summary>The server may have committed them all the same: what the node knew of the file is worth nothing any more.</summary>
    [Fact]
    public async Task AfterACommitWithoutAnswerTheServerIsAskedWhatTheFileIs()
    {
        using var cluster = new MiniCluster();
        using var node = cluster.NewNode("a");
        var handle = await node.Create("f");
        await node.Write(handle, 0, Random(100));
        await node.Flush(handle);
        Assert.True(node.Files.TryGetFile(handle, out var record, out var file));
        await node.Write(handle, 100, Random(100));
        cluster.Metadata.Dispose();
        Assert.Equal(Errno.EIO, await node.Files.FlushAsync(handle));
        Assert.Equal(0UL, file.Layout.CoveredEnd);
        cluster.StartMetadata();
        Assert.Equal(Random(100), await node.Read(handle, 0, 300));

        // This is the commit that the server had heard, and the node has not.
        var request = new CommitRequest(record.Ino, CommitFlags.HasInline, 200, [], Random(200), file.Layout.Version);
        Assert.Equal(Status.OK, (await node.Do(o => node.Volume.Session.MutateAsync<CommitRequest, CommitReply>(o, request))).Status);
        node.Volume.Attributes.ForgetEverything();
        Assert.Equal(Random(200), await node.Read(await node.Open("f"), 0, 300));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task RandomWritesTruncatesAndFlushesMatchAnArray(int seed)
    {
        using var cluster = new MiniCluster();
        using var node = cluster.NewNode("a", cacheBytes: 4 << 20);
        var random = new Random(seed);
        var model = new byte[3 << 20];
        var size = 0;
        var handle = await node.Create("f");
        node.Files.Table.TryGet(handle, out var record);
        for (var step = 0; step < 400; step++)
        {
            switch (random.Next(8))
            {
                case < 4:
                    var at = random.Next(model.Length - 70_000);
                    var data = Random(random.Next(1, 70_000), random.Next());
                    await node.Write(handle, (ulong)at, data);
                    data.CopyTo(model, at);
                    size = Math.Max(size, at + data.Length);
                    break;
                case 4:
                    await node.Flush(handle);
                    break;
                case 5:
                    var cut = random.Next(model.Length);
                    var request = new SetAttrRequest(record.Ino, SetAttrFields.Size, 0, 0, 0, (ulong)cut, 0, 0);
                    Assert.Equal(Status.OK, (await node.Do(o => node.Files.SetAttrAsync(o, request))).Status);
                    model.AsSpan(Math.Min(cut, size)).Clear();
                    size = cut;
                    break;
                case 6:
                    node.Restart();
                    break;
                default:
                    var from = random.Next(model.Length);
                    var length = random.Next(1, 300_000);
                    var expected = model.AsSpan(from, Math.Max(0, Math.Min(length, size - from))).ToArray();
                    Assert.Equal(expected, await node.Read(handle, (ulong)from, length));
                    break;
            }
        }

        Assert.Equal(model[..size], await node.Read(handle, 0, model.Length));
        await node.Close(handle);
    }

    [Fact]
    public async Task UnflushedWritesSurviveTheDaemon()
    {
        using var cluster = new MiniCluster();
        using var node = cluster.NewNode("a");
        var handle = await node.Create("f");
        var data = Random(300_000);
        await node.Write(handle, 5, data);
        node.Restart();
        Assert.Equal(data, (await node.Read(handle, 0, 400_000))[5..]);
        await node.Close(handle);
    }

    /// <summary>What a daemon that leaves is flushing just then is not taken for lost, and it does not touch the memory any more when it has left.</summary>
    [Fact]
    public async Task AFlushThatWaitsForStorageIsLeftToTheSuccessor()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var handle = await a.Create("f");
        cluster.StopStorage(0);
        cluster.StopStorage(1);
        var data = Random(5 << 20);
        await a.Write(handle, 0, data);
        var flush = a.Files.FlushAsync(handle).AsTask();
        Assert.False(flush.IsCompleted);

        a.Restart();
        Assert.Equal(Errno.EIO, await flush);
        cluster.StartStorage(0);
        cluster.StartStorage(1);
        Assert.Equal(0UL, a.Volume.Lost.FileCount);
        Assert.Equal(data, await a.Read(handle, 0, data.Length));
        await a.Flush(handle);
        using var b = await cluster.JoinAsync("b");
        Assert.Equal(data, await b.Read(await b.Open("f"), 0, data.Length));
    }

    /// <summary>The answer is of before, and the file has more bytes by now: a kernel that believed it would read to the old end.</summary>
    [Theory]
    [InlineData("link")]
    [InlineData("chmod")]
    public async Task WhatTheKernelSendsAgainIsAnsweredAsItIsNow(string call)
    {
        const ulong unique = 1000;
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        await a.Close(await a.Create("f"));
        var ino = (await a.Volume.Namespace.LookupAsync(Ino.Root, TestNode.Bytes("f"))).Attributes.Ino;
        Assert.Equal(0UL, await AskAsync(a.Volume.Session.Begin(unique)));
        var handle = await b.Open("f", HandleFlags.Write);
        await b.Write(handle, 0, new byte[100]);
        await b.Close(handle);
        a.Restart();
        Assert.Equal(100UL, await AskAsync(a.Volume.Session.Begin(unique, resent: true)));

        async Task<ulong> AskAsync(EphemeralFs.Client.Session.Operation operation)
        {
            if (call == "link")
            {
                var found = await a.Volume.Namespace.LinkAsync(operation, ino, Ino.Root, TestNode.Bytes("g"));
                Assert.Equal(Status.OK, found.Status);
                return found.Attributes.Size;
            }

            var (status, attributes) = await a.Volume.Namespace.SetAttrAsync(operation, new SetAttrRequest(ino, SetAttrFields.Mode, 0x180, 0, 0, 0, 0, 0));
            Assert.Equal(Status.OK, status);
            return attributes.Size;
        }
    }

    /// <summary>
    /// With the first connection come recalls, which are obeyed by what is not there yet while a daemon starts: kernels kept old pages when one connected too early, to
    /// close what its predecessor had not.
    /// </summary>
    [Fact]
    public async Task ASuccessorIsAskedNothingBeforeItObeys()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        await a.Close(await a.Create("closed"));
        var read = await a.Create("f");
        var written = await b.Open("f", HandleFlags.Write);
        Task? write = null;
        await a.RestartAsync(async volume =>
        {
            a.Invalidated.Clear();
            var early = volume.Session.QueryAsync<GetAttrRequest, EntryReply>(new(Ino.Root)).AsTask();
            write = b.Write(written, 0, [1, 2, 3]);
            await Task.WhenAny(write, early, Task.Delay(300)); // to see that nothing happens
            Assert.False(early.IsCompleted);
            Assert.False(write.IsCompleted);
            Assert.Empty(a.Invalidated);
        });
        Assert.Equal(Status.OK, a.Opened);
        await write!;
        Assert.NotEmpty(a.Invalidated);
        Assert.Equal([1, 2, 3], await a.Read(read, 0, 10));
    }

    [Fact]
    public async Task TheQuotaIsExact()
    {
        using var cluster = new MiniCluster(limitBytes: 1 << 20);
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var first = await a.Create("x");
        await a.Write(first, 0, Random(600 << 10));
        var second = await b.Create("y");

        // 1024 KiB − 600 KiB are left, whatever the other node was granted.
        var (errno, written, _) = await b.Do(o => b.Files.WriteAsync(o, second, 0, Random(500 << 10), false));
        Assert.Equal(Errno.OK, errno);
        Assert.Equal(424 << 10, written);
        (errno, _, _) = await b.Do(o => b.Files.WriteAsync(o, second, 424 << 10, Random(1), false));
        Assert.Equal(Errno.ENOSPC, errno);
        await a.Close(first);
        await b.Close(second);
    }

    [Fact]
    public async Task ALostWriteIsToldOnceToEveryHandleThatWasOpen()
    {
        using var cluster = new MiniCluster(storageServers: 1, tierBytes: 4 << 20);
        using var a = cluster.NewNode("a");
        var first = await a.Create("f");
        var second = await a.Open("f", HandleFlags.Write);
        await a.Write(first, 0, Random(8 << 20));
        Assert.Equal(Errno.ENOSPC, await a.Files.SyncAsync(first));
        Assert.Equal(Errno.OK, await a.Files.SyncAsync(first));
        var third = await a.Open("f", HandleFlags.Write);
        Assert.Equal(Errno.OK, await a.Files.SyncAsync(third));
        Assert.Equal(Errno.ENOSPC, await a.Files.FlushAsync(second));
        Assert.Equal(Errno.OK, await a.Files.FlushAsync(second));

        // What did not fit is gone; the file can be written again.
        await a.Write(first, 0, Random(100_000));
        Assert.Equal(Errno.OK, await a.Files.SyncAsync(first));
        await a.Close(first);
        await a.Close(second);
        await a.Close(third);
    }

    [Fact]
    public async Task BytesOfAFileWithoutANameAreCommittedByFsync()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var (status, handle, reply) = await a.Do(o => a.Volume.Opener.TmpfileAsync(o, Ino.Root, 0x81A4, 0, 0, HandleFlags.Write, OpenFlags.Write));
        Assert.Equal(Status.OK, status);
        await a.Write(handle, 0, Random(100_000));
        Assert.Equal(Errno.OK, await a.Files.SyncAsync(handle));
        var committed = await a.Volume.Session.QueryAsync<GetAttrRequest, EntryReply>(new(reply.Attributes.Ino));
        Assert.Equal(100_000UL, committed.Value.Attributes.Size);
        await a.Close(handle);
    }

    [Fact]
    public async Task ANodeLearnsFromAStorageServerThatItsSessionHasEnded()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var handle = await a.Create("f");
        await a.Write(handle, 0, Random(100_000));
        Assert.Equal(Errno.OK, await a.Files.SyncAsync(handle));
        foreach (var server in cluster.View())
        {
            Assert.True(Endpoint.TryParse(server.Endpoint, out var endpoint, out _));
            using var storage = new RpcClient(endpoint);
            var told = await storage.CallAsync<LiveSessionsRequest, Empty>(new(a.Volume.Session.Volume, (uint)a.Volume.Session.Id, []));
            Assert.Equal(Status.OK, told.Status);
        }

        var ended = new TaskCompletionSource<IReadOnlyList<LostFile>>();
        a.Volume.Fenced += (_, lost) => ended.TrySetResult(lost);
        await a.Write(handle, 0, Random(100_000, 2));
        Assert.Equal(Errno.EIO, await a.Files.SyncAsync(handle));
        Assert.Equal(100_000UL, Assert.Single(await ended.Task).Bytes);
    }

    [Fact]
    public async Task TwoWritersSeeEachOther()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var ha = await a.Create("f");
        await a.Write(ha, 0, Random(20_000, 1));
        var hb = await b.Open("f", HandleFlags.Write);
        Assert.Equal(Random(20_000, 1), await b.Read(hb, 0, 30_000));
        await b.Write(hb, 10_000, Random(20_000, 2));
        Assert.Equal(Random(20_000, 2), await a.Read(ha, 10_000, 30_000));
        await a.Close(ha);
        await b.Close(hb);
    }

    [Fact]
    public async Task AppendsOfTwoNodesDoNotOverwriteEachOther()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var ha = await a.Create("log", HandleFlags.Write | HandleFlags.Append);
        var hb = await b.Open("log", HandleFlags.Write | HandleFlags.Append);
        for (var i = 0; i < 50; i++)
        {
            var first = a.Write(ha, 0, TestNode.Bytes($"a{i:00}\n"));
            var second = b.Write(hb, 0, TestNode.Bytes($"b{i:00}\n"));
            await Task.WhenAll(first, second);
        }

        var text = System.Text.Encoding.UTF8.GetString(await a.Read(ha, 0, 10_000));
        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(100, lines.Distinct().Count());
        await a.Close(ha);
        await b.Close(hb);
    }

    [Fact]
    public async Task WhatIsAppendedToAnInlineFileLiesBehindItsBytes()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var ha = await a.Create("log", HandleFlags.Write | HandleFlags.Append);
        await a.Write(ha, 0, TestNode.Bytes("inline,"));
        await a.Flush(ha);
        var hb = await b.Open("log", HandleFlags.Write | HandleFlags.Append);
        await b.Write(hb, 0, TestNode.Bytes("behind,"));
        await a.Write(ha, 0, TestNode.Bytes("more"));
        Assert.Equal("inline,behind,more", System.Text.Encoding.UTF8.GetString(await b.Read(hb, 0, 100)));
        await a.Close(ha);
        await b.Close(hb);

        // A later write moves everything into blocks, and nothing is lost.
        var later = await b.Open("log", HandleFlags.Write);
        Assert.Equal("inline,behind,more", System.Text.Encoding.UTF8.GetString(await b.Read(later, 0, 100)));
        await b.Write(later, 0, TestNode.Bytes("INLINE"));
        await b.Close(later);
        var reader = await a.Open("log");
        Assert.Equal("INLINE,behind,more", System.Text.Encoding.UTF8.GetString(await a.Read(reader, 0, 100)));
        await a.Close(reader);
    }

    [Fact]
    public async Task AStorageServerThatComesBackBringsItsData()
    {
        using var cluster = new MiniCluster(storageServers: 1);
        using var a = cluster.NewNode("a");
        using var b = cluster.NewNode("b");
        var data = Random(3_000_000);
        var handle = await a.Create("f");
        await a.Write(handle, 0, data);
        await a.Close(handle);
        cluster.StopStorage(0);
        var other = await b.Open("f");
        var reading = b.Read(other, 0, data.Length);
        cluster.StartStorage(0);
        Assert.Equal(data, await reading);
        await b.Close(other);
    }

    [Fact]
    public async Task AMetadataServerThatComesBackKnowsEverything()
    {
        using var cluster = new MiniCluster();
        using var a = cluster.NewNode("a");
        var handle = await a.Create("f");
        var data = Random(3_000_000);
        await a.Write(handle, 0, data);
        await a.Flush(handle);
        cluster.Metadata.Abort();
        var creating = a.Create("g");
        cluster.StartMetadata();
        await a.Close(await creating);
        Assert.Equal(data, await a.Read(handle, 0, data.Length));
        await a.Close(handle);
        await a.Close(await a.Open("f"));
    }

    private static byte[] Random(int size, int seed = 7)
    {
        var data = new byte[size];
        new Random(seed).NextBytes(data);
        return data;
    }
}
