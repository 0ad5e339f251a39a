using System.IO.Pipes;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Tests.Unit.Keeper;

/// <summary>Keeper and daemon in this process: the table, the bounds, and what strangers may do.</summary>
public sealed class KeeperHostTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("keeper-unit-").FullName;
    private readonly KeeperHost _host;

    public KeeperHostTests() => _host = KeeperHost.Start(new KeeperOptions { SocketPath = Socket, StopTimeoutMs = 500 });

    private string Socket => Path.Combine(_directory, "keeper.sock");

    public void Dispose()
    {
        _host.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task A_successor_gets_every_entry_as_it_was_last()
    {
        Assert.Equal(Errno.OK, SharedMemory.Create("a", 4096, true, out var memory));
        using (memory)
        {
            "kept"u8.CopyTo(memory!.Slice(0, 4));
            using (var first = Attach())
            {
                Assert.Equal(1ul, first.Incarnation);
                Assert.Empty(first.Inherited);
                await first.PutAsync("shm:main", [1], memory.Handle).WaitAsync(Patience);
                await first.PutAsync("gone", []).WaitAsync(Patience);
                await first.PutAsync("mount:1", "old"u8).WaitAsync(Patience);
                await first.UpdateAsync("mount:1", "new"u8).WaitAsync(Patience);
                await first.UpdateAsync("shm:main", new byte[KeeperLimits.MaxPayloadBytes]).WaitAsync(Patience);
                await first.RemoveAsync("gone").WaitAsync(Patience);
                Assert.Equal(["mount:1", "shm:main"], first.Keys.Order());
                var status = KeeperControl.Status(Socket);
                Assert.Equal(
                    [new KeeperEntryInfo("shm:main", KeeperLimits.MaxPayloadBytes, 1), new KeeperEntryInfo("mount:1", 3, 0)], status.Entries);
                Assert.Equal(
                    (KeeperState.Running, true, 1ul, Environment.ProcessId),
                    (status.State, status.DaemonConnected, status.Incarnation, status.DaemonPid));
            }
        }

        using var second = Attach();
        Assert.Equal(2ul, second.Incarnation);
        Assert.Equal(["shm:main", "mount:1"], second.Inherited.Select(static entry => entry.Key));
        Assert.Equal("new", Encoding.UTF8.GetString(second.Inherited[1].Payload));
        Assert.Equal(Errno.OK, SharedMemory.Map(second.Inherited[0].Fds[0], out var inherited));
        using (inherited)
        {
            Assert.Equal("kept", Encoding.UTF8.GetString(inherited!.Slice(0, 4)));
        }
    }

    [Fact]
    public async Task Replacing_and_removing_closes_the_keepers_descriptors()
    {
        using var client = Attach();
        foreach (var remove in new[] { false, true })
        {
            using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
            using (var writer = new SafeFileHandle(pipe.ClientSafePipeHandle.DangerousGetHandle(), ownsHandle: false))
            {
                await client.PutAsync("pipe", [], writer).WaitAsync(Patience);
            }

            pipe.DisposeLocalCopyOfClientHandle();
            await (remove ? client.RemoveAsync("pipe") : client.PutAsync("pipe", [])).WaitAsync(Patience);

            // The end of the pipe: no copy of its writer is left, neither there nor here.
            Assert.Equal(0, await pipe.ReadAsync(new byte[1]).AsTask().WaitAsync(Patience));
        }
    }

    [Fact]
    public void There_is_one_daemon_and_one_keeper()
    {
        using var client = Attach();
        Assert.Equal(Errno.EBUSY, Assert.Throws<KeeperException>(Attach).Error);
        Assert.Equal(Errno.EAGAIN, Assert.Throws<KeeperException>(() => KeeperHost.Start(new KeeperOptions { SocketPath = Socket })).Error);
        Assert.Equal(1ul, KeeperControl.Status(Socket).Incarnation);
    }

    [Fact]
    public void Without_a_keeper_the_daemon_says_so_after_its_time()
    {
        var options = new KeeperClientOptions { SocketPath = Path.Combine(_directory, "nobody"), AttachTimeoutMs = 50 };
        Assert.Equal(Errno.ENOENT, Assert.Throws<KeeperException>(() => KeeperClient.Attach(options)).Error);
        Assert.Equal(Errno.ENOENT, Assert.Throws<KeeperException>(() => KeeperControl.Status(options.SocketPath)).Error);
    }

    [Fact]
    public async Task Bounds_are_kept_on_both_sides()
    {
        using var client = Attach();
        Assert.Throws<ArgumentException>(() => { _ = client.PutAsync("", []); });
        Assert.Throws<ArgumentException>(() => { _ = client.PutAsync(new string('k', 256), []); });
        Assert.Throws<ArgumentException>(() => { _ = client.PutAsync("k", new byte[KeeperLimits.MaxPayloadBytes + 1]); });
        Assert.Throws<ArgumentException>(() => { _ = client.PutAsync("k", [], new SafeFileHandle[KeeperLimits.MaxFdsPerEntry + 1]); });
        Assert.Equal(Errno.ENOENT, Assert.Throws<KeeperException>(() => { _ = client.UpdateAsync("none", []); }).Error);
        Assert.Equal(Errno.ENOENT, Assert.Throws<KeeperException>(() => { _ = client.RemoveAsync("none"); }).Error);

        // All payloads together are bounded too; what is refused is not kept, what was there stays.
        var full = KeeperLimits.MaxTotalPayloadBytes / KeeperLimits.MaxPayloadBytes;
        for (var i = 0; i < full; i++)
        {
            await client.PutAsync($"k{i}", new byte[KeeperLimits.MaxPayloadBytes]).WaitAsync(Patience);
        }

        var refused = await Assert.ThrowsAsync<KeeperException>(() => client.PutAsync("more", [1]).WaitAsync(Patience));
        Assert.Equal(Errno.ENOSPC, refused.Error);
        Assert.DoesNotContain("more", client.Keys);
        Assert.Equal(full, KeeperControl.Status(Socket).Entries.Count);
    }

    [Fact]
    public async Task The_greatest_number_of_entries_comes_back_whole()
    {
        using (var first = Attach())
        {
            for (var i = 0; i < KeeperLimits.MaxEntries - 1; i++)
            {
                _ = first.PutAsync($"entry:{i}", BitConverter.GetBytes(i));
            }

            await first.PutAsync("last", []).WaitAsync(Patience);
            Assert.Equal(Errno.ENOSPC, (await Assert.ThrowsAsync<KeeperException>(() => first.PutAsync("over", []).WaitAsync(Patience))).Error);
        }

        using var second = Attach();
        Assert.Equal(KeeperLimits.MaxEntries, second.Inherited.Count);
        Assert.All(second.Inherited.Take(KeeperLimits.MaxEntries - 1), static (entry, i) => Assert.Equal(i, BitConverter.ToInt32(entry.Payload)));
    }

    [Fact]
    public async Task Random_bytes_and_descriptors_close_their_connection_only()
    {
        using var client = Attach();
        await client.PutAsync("precious", [7]).WaitAsync(Patience);
        using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        var random = new Random(4711);
        var writer = (int)pipe.ClientSafePipeHandle.DangerousGetHandle();
        for (var i = 0; i < 300; i++)
        {
            Assert.Equal(Errno.OK, UnixSocket.Connect(Socket, out var stranger));
            using (stranger)
            {
                Send(stranger!, Nonsense(random, i), writer, random.Next(0, 4));
                Assert.NotEqual(0, UnixSocketPoll.WaitOne(stranger!.Fd, PollFd.In, 60_000));
                Assert.Equal(Errno.OK, FdPassing.Receive(stranger.Fd, new byte[100], [], out var length, out _));
                Assert.Equal(0, length);
            }
        }

        // None of the descriptors stayed with the keeper.
        pipe.DisposeLocalCopyOfClientHandle();
        Assert.Equal(0, await pipe.ReadAsync(new byte[1]).AsTask().WaitAsync(Patience));
        await client.UpdateAsync("precious", [8]).WaitAsync(Patience);
        Assert.True(client.IsConnected);
        Assert.Equal("precious", Assert.Single(KeeperControl.Status(Socket).Entries).Key);
    }

    [Theory]
    [InlineData(KeeperOpcode.Put)]
    [InlineData(KeeperOpcode.Update)]
    [InlineData(KeeperOpcode.Remove)]
    public async Task Only_the_attached_daemon_changes_entries(KeeperOpcode opcode)
    {
        using var client = Attach();
        await client.PutAsync("precious", [7]).WaitAsync(Patience);
        Assert.Equal(Errno.OK, UnixSocket.Connect(Socket, out var stranger));
        using (stranger)
        {
            Assert.Equal(Errno.OK, FdPassing.Send(
                stranger!.Fd, new KeeperFrame { Opcode = opcode, RequestId = 3, Key = "precious"u8, Payload = [1, 2] }.ToMessage(), []));
            Assert.NotEqual(0, UnixSocketPoll.WaitOne(stranger.Fd, PollFd.In, 60_000));
            var buffer = new byte[KeeperFrame.HeaderBytes];
            Assert.Equal(Errno.OK, FdPassing.Receive(stranger.Fd, buffer, [], out var length, out _));
            Assert.Equal(Errno.OK, KeeperFrame.Parse(buffer.AsSpan(0, length), 0, out var reply));
            Assert.Equal((KeeperOpcode.Reply, 3u, Errno.EPERM), (reply.Opcode, reply.RequestId, reply.Status));
        }

        Assert.Equal(new KeeperEntryInfo("precious", 1, 0), Assert.Single(KeeperControl.Status(Socket).Entries));
    }

    [Fact]
    public async Task A_peer_that_never_reads_holds_up_nobody_else()
    {
        using var client = Attach();
        for (var i = 0; i < 1_000; i++)
        {
            _ = client.PutAsync($"entry:{i}", []);
        }

        await client.PutAsync("last", []).WaitAsync(Patience);
        Assert.Equal(Errno.OK, UnixSocket.Connect(Socket, out var stranger));
        using (stranger)
        {
            var ask = new KeeperFrame { Opcode = KeeperOpcode.List, RequestId = 1 }.ToMessage();
            var sent = 0;
            while (FdPassing.Send(stranger!.Fd, ask, []) == Errno.OK && sent < 10_000)
            {
                sent++;
            }

            Assert.Equal(1_001, KeeperControl.Status(Socket).Entries.Count);
            await client.PutAsync("after", []).WaitAsync(Patience);
        }
    }

    [Fact]
    public async Task A_keeper_that_was_replaced_is_given_everything_back()
    {
        Assert.Equal(Errno.OK, SharedMemory.Create("a", 4096, true, out var memory));
        using var owned = memory;
        using var client = Attach();
        using var changes = new System.Collections.Concurrent.BlockingCollection<bool>();
        client.ConnectionChanged += changes.Add;
        await client.PutAsync("shm:main", [1], memory!.Handle).WaitAsync(Patience);
        await client.PutAsync("other", [2]).WaitAsync(Patience);
        _host.Dispose();
        Assert.True(changes.TryTake(out var connected, Patience));
        Assert.False(connected);

        // Changed while there is no keeper: the tasks wait for the next one.
        var put = client.PutAsync("late", [3]);
        var removed = client.RemoveAsync("other");
        Assert.False(put.IsCompleted);
        using var next = KeeperHost.Start(new KeeperOptions { SocketPath = Socket });
        await put.WaitAsync(Patience);
        await removed.WaitAsync(Patience);
        Assert.True(changes.TryTake(out connected, Patience));
        Assert.True(connected);
        var status = KeeperControl.Status(Socket);
        Assert.Equal(1ul, status.Incarnation);
        Assert.Equal(["late", "shm:main"], status.Entries.Select(static entry => entry.Key).Order());
        Assert.Equal(1, status.Entries.Single(static entry => entry.Key == "shm:main").Fds);
    }

    [Fact]
    public async Task Shutdown_asks_the_daemon_and_leaves_no_file()
    {
        using var client = Attach();
        var shutdown = Task.Run(() => KeeperControl.Shutdown(Socket, TimeSpan.FromSeconds(30)));
        Assert.Equal(KeeperStopReason.Handover, await client.StopRequested.WaitAsync(Patience));
        client.Dispose();
        await shutdown.WaitAsync(Patience);
        Assert.True(_host.WaitForEnd(Patience));
        _host.Dispose();
        Assert.Empty(Directory.GetFileSystemEntries(_directory));
    }

    [Fact]
    public async Task Removing_the_directory_under_a_keeper_harms_nobody_who_is_connected()
    {
        var directory = Path.Combine(_directory, "removed");
        Directory.CreateDirectory(directory);
        var socket = Path.Combine(directory, "keeper.sock");
        using var host = KeeperHost.Start(new KeeperOptions { SocketPath = socket });
        using (var client = KeeperClient.Attach(new KeeperClientOptions { SocketPath = socket }))
        {
            Directory.Delete(directory, recursive: true);
            await client.PutAsync("kept", []).WaitAsync(Patience);
            Assert.True(client.IsConnected);
        }

        host.RequestExit();
        Assert.True(host.WaitForEnd(Patience));
    }

    [Fact]
    public void A_keeper_that_starts_no_daemon_cannot_replace_one()
    {
        Assert.Equal(Errno.EINVAL, Assert.Throws<KeeperException>(() => KeeperControl.Handover(Socket)).Error);
    }

    private static byte[] Nonsense(Random random, int turn)
    {
        byte[] message;
        switch (turn % 3)
        {
            case 0:
                message = new byte[random.Next(1, 2_000)];
                random.NextBytes(message);
                return message;
            case 1:
                // Too long for any frame.
                return new byte[KeeperLimits.MaxMessageBytes + 1];
            default:
                // A frame of an opcode that only the keeper sends, or that does not exist.
                message = new KeeperFrame { Opcode = (KeeperOpcode)random.Next(8, 70_000), Key = "precious"u8 }.ToMessage();
                return message;
        }
    }

    private static void Send(UnixSocket socket, byte[] message, int fd, int count) =>
        Assert.Equal(Errno.OK, FdPassing.Send(socket.Fd, message, Enumerable.Repeat(fd, count).ToArray()));

    private KeeperClient Attach() => KeeperClient.Attach(new KeeperClientOptions { SocketPath = Socket });
}
