using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseConnectionTests
{
    /// <summary>A connection over a fake kernel, past INIT.</summary>
    internal sealed class Rig : IDisposable
    {
        public Rig(int workers = 2, FuseHandler? handler = null, Func<FuseConnectionOptions, FuseConnectionOptions>? change = null)
        {
            Kernel = new FakeKernel(workers);
            Handler = handler ?? new RecordingHandler();
            Options = new FuseConnectionOptions { Workers = workers, OnFault = Faults.Add, DetectMisuse = true };
            Options = change?.Invoke(Options) ?? Options;
            _ = Kernel.Submit(FuseMessages.Build(FuseOpcode.INIT, Kernel.NextUnique(), 0, FakeKernel.Offer()));
            Connection = FuseConnection.Open(Handler, Options, Kernel.Channels);
            Connection.Start();
        }

        public FakeKernel Kernel { get; }

        public FuseHandler Handler { get; }

        public FuseConnectionOptions Options { get; }

        public FuseConnection Connection { get; }

        public ConcurrentBag<FuseFault> Faults { get; } = [];

        public RecordingHandler Recording => (RecordingHandler)Handler;

        public Task<FakeReply> Lookup(string name) =>
            Kernel.Submit(FuseMessages.Build(FuseOpcode.LOOKUP, Kernel.NextUnique(), 1, FuseMessages.Name(name)));

        public Task<FakeReply> Read(out ulong unique)
        {
            unique = Kernel.NextUnique();
            return Kernel.Submit(FuseMessages.Build(FuseOpcode.READ, unique, 5, new FuseReadIn { Size = 10 }));
        }

        public FuseRequest TakeKept()
        {
            Assert.True(Recording.Kept.TryTake(out FuseRequest? request, TimeSpan.FromSeconds(30)));
            return request!;
        }

        public void Dispose() => Connection.Dispose();
    }

    [Fact]
    public async Task RepliesEchoTheRequestAndCarryData()
    {
        using var rig = new Rig();
        FakeReply entry = await rig.Lookup("abc");
        Assert.Equal((Errno.OK, 128), (entry.Errno, entry.Data.Length));
        Assert.Equal((42, 3), (entry.Data[0], entry.Data[8]));
        FakeReply link = await rig.Kernel.Submit(FuseMessages.Build(FuseOpcode.READLINK, rig.Kernel.NextUnique(), 1, []));
        Assert.Equal("target"u8.ToArray(), link.Data);
        FakeReply unknown = await rig.Kernel.Submit(FuseMessages.Build(FuseOpcode.SETUPMAPPING, rig.Kernel.NextUnique(), 1, new byte[40]));
        Assert.Equal(Errno.ENOSYS, unknown.Errno);
        FakeReply unimplemented = await rig.Kernel.Submit(FuseMessages.Valid(FuseOpcodeTable.Find(FuseOpcode.FALLOCATE)!, rig.Kernel.NextUnique()));
        Assert.Equal(Errno.ENOSYS, unimplemented.Errno);
        Assert.Empty(rig.Faults);
        Assert.False(rig.Recording.Resumed);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(200)]
    public async Task DataFromManyPlacesArrivesInOrder(int pieces)
    {
        using var rig = new Rig();
        FakeReply reply = await rig.Kernel.Submit(
            FuseMessages.Build(FuseOpcode.LISTXATTR, rig.Kernel.NextUnique(), (ulong)pieces, new FuseGetxattrIn { Size = 4096 }));
        Assert.Equal(Enumerable.Repeat<byte[]>([1, 2, 3], pieces).SelectMany(p => p), reply.Data);
    }

    [Fact]
    public async Task OneRenameMethodSeesBothForms()
    {
        using var rig = new Rig();
        byte[] names = [.. FuseMessages.Name("a"), .. FuseMessages.Name("b")];
        ulong plain = rig.Kernel.NextUnique();
        // The bytes after RENAME's structure must not be taken for flags.
        Assert.Equal(Errno.OK, (await rig.Kernel.Submit(
            FuseMessages.Build(FuseOpcode.RENAME, plain, 1, new FuseRenameIn { NewDir = 1 }, names))).Errno);
        Assert.Equal(Errno.EEXIST, (await rig.Kernel.Submit(FuseMessages.Build(
            FuseOpcode.RENAME2, rig.Kernel.NextUnique(), 1, new FuseRename2In { NewDir = 1, Flags = FuseRenameFlags.NOREPLACE }, names))).Errno);
    }

    [Fact]
    public async Task CopiesAreCountedInTheWidthThatWasAsked()
    {
        using var rig = new Rig();
        FuseOpcodeRow narrow = FuseOpcodeTable.Find(FuseOpcode.COPY_FILE_RANGE)!;
        FuseOpcodeRow wide = FuseOpcodeTable.Find(FuseOpcode.COPY_FILE_RANGE_64)!;
        FakeReply first = await rig.Kernel.Submit(FuseMessages.Valid(narrow, rig.Kernel.NextUnique()));
        Assert.Equal(uint.MaxValue, BitConverter.ToUInt32(first.Data));
        Assert.Equal(0u, BitConverter.ToUInt32(first.Data, 4));
        FakeReply second = await rig.Kernel.Submit(FuseMessages.Valid(wide, rig.Kernel.NextUnique()));
        Assert.Equal(5_000_000_000UL, BitConverter.ToUInt64(second.Data));
    }

    [Theory]
    [InlineData("throws")]
    [InlineData("throws-later")]
    [InlineData("forgets-to-answer")]
    [InlineData("odd-errno")]
    public async Task AFaultIsEioForThatRequestOnly(string name)
    {
        using var rig = new Rig();
        Assert.Equal(Errno.EIO, (await rig.Lookup(name)).Errno);
        FuseFault fault = Assert.Single(rig.Faults);
        Assert.Equal(FuseOpcode.LOOKUP, fault.Opcode);
        Assert.Equal(Errno.OK, (await rig.Lookup("fine")).Errno);
    }

    [Fact]
    public async Task ASecondReplyIsFoundAndNotSent()
    {
        using var rig = new Rig(workers: 1);
        Assert.Equal(Errno.ENOENT, (await rig.Lookup("twice")).Errno);
        Assert.Equal(Errno.OK, (await rig.Lookup("fine")).Errno);
        Assert.Contains(rig.Faults, f => f.What.Contains("twice", StringComparison.Ordinal));
        Assert.Equal(0, rig.Kernel.Stray);
    }

    [Fact]
    public async Task LargeWritesKeepTheirBytesWhileOthersAreRead()
    {
        using var rig = new Rig(workers: 1, change: o => o with { DetectMisuse = false });
        var random = new Random(5);
        var replies = new List<(uint Sum, Task<FakeReply> Reply)>();
        for (int i = 0; i < 200; i++)
        {
            byte[] data = new byte[random.Next(1, 300_000)];
            random.NextBytes(data);
            byte[] message = FuseMessages.Build(
                FuseOpcode.WRITE, rig.Kernel.NextUnique(), 99, new FuseWriteIn { Size = (uint)data.Length }, data);
            replies.Add(((uint)data.Sum(b => b), rig.Kernel.Submit(message)));
        }
        foreach ((uint sum, Task<FakeReply> reply) in replies)
        {
            Assert.Equal(sum, BitConverter.ToUInt32((await reply).Data));
        }
    }

    [Fact]
    public async Task ForgetsAreTakenWithoutAReply()
    {
        using var rig = new Rig(workers: 1);
        rig.Kernel.Post(FuseMessages.Build(FuseOpcode.FORGET, 0x1000, 5, new FuseForgetIn { Nlookup = 3 }));
        byte[] forgets = MemoryMarshal.AsBytes<FuseForgetOne>([new() { NodeId = 1, Nlookup = 10 }, new() { NodeId = 2, Nlookup = 20 }]).ToArray();
        rig.Kernel.Post(FuseMessages.Build(FuseOpcode.BATCH_FORGET, 0x1002, 0, new FuseBatchForgetIn { Count = 2 }, forgets));
        await rig.Lookup("after");
        Assert.Equal(33, rig.Recording.Forgotten);
        Assert.Equal(0, rig.Kernel.Stray);
        NothingIsInFlight(rig);
    }

    [Fact]
    public async Task CountersTellOperationsErrorsAndWhatIsInFlight()
    {
        using var rig = new Rig(workers: 1);
        await rig.Lookup("a");
        await rig.Lookup("throws");
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        Assert.Equal(1, rig.Connection.Counters.InFlight);
        FuseInFlightInfo info = Assert.Single(rig.Connection.InFlight());
        Assert.Equal((FuseOpcode.READ, unique, 5UL, 77u), (info.Opcode, info.Unique, info.NodeId, info.Pid));
        kept.ReplyData("x"u8);
        await read;
        NothingIsInFlight(rig);
        FuseOperationCounts lookups = rig.Connection.Counters.Read(FuseOpcodeTable.Find(FuseOpcode.LOOKUP)!);
        Assert.Equal(("LOOKUP", 2L, 1L, 0L), (lookups.Name, lookups.Count, lookups.Errors, lookups.InFlight));
        Assert.True(lookups.TotalNs > 0);
        Assert.Equal(["LOOKUP", "READ"], rig.Connection.Counters.Snapshot().Select(c => c.Name));
    }

    /// <summary>A reply reaches its waiter a moment before it is counted.</summary>
    private static void NothingIsInFlight(Rig rig) =>
        Assert.True(SpinWait.SpinUntil(() => rig.Connection.Counters.InFlight == 0, TimeSpan.FromSeconds(30)));

    [Fact]
    public async Task ReadersRestWhenThereIsNothingToReadAndWakeUp()
    {
        using var rig = new Rig();
        for (int i = 0; i < 2; i++)
        {
            await rig.Lookup("abc");
            Assert.True(SpinWait.SpinUntil(() => rig.Connection.RestingReaders == rig.Options.Workers, TimeSpan.FromSeconds(30)));
        }
    }

    [Fact]
    public async Task OneRequestWakesOneRestingReader()
    {
        using var rig = new Rig(workers: 16);
        for (int i = 0; i < 3; i++)
        {
            Assert.True(SpinWait.SpinUntil(() => rig.Connection.RestingReaders == rig.Options.Workers, TimeSpan.FromSeconds(30)));
            await rig.Lookup("abc");
            Assert.Equal(rig.Options.Workers - 1, rig.Connection.RestingReaders);
        }
    }

    [Fact]
    public async Task SlowOperationsAndIoErrorsAreTold()
    {
        var slow = new ConcurrentBag<FuseFinishedOperation>();
        var failed = new ConcurrentBag<FuseFinishedOperation>();
        using var rig = new Rig(change: o => o with { SlowOperationMs = 20, OnSlow = slow.Add, OnIoError = failed.Add });
        await rig.Lookup("quick");
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        Assert.True(SpinWait.SpinUntil(() => kept.ElapsedMs > 25, 10_000));
        kept.ReplyError(Errno.EIO);
        await read;
        NothingIsInFlight(rig);
        Assert.Contains(slow, s => s.Unique == unique && s.Result == Errno.EIO && s.ElapsedMs >= 20 && s.Opcode == FuseOpcode.READ);
        Assert.Equal([unique], failed.Select(f => f.Unique));
    }

    [Fact]
    public async Task HostileMessagesGetOneAnswerEachAndHurtNobody()
    {
        using var rig = new Rig(handler: new RecordingHandler { AnswerAll = true });
        var random = new Random(11);
        FuseOpcodeRow[] rows = [.. FuseOpcodeTable.All];
        var due = new List<Task<FakeReply>>();
        for (int i = 0; i < 30_000; i++)
        {
            FuseOpcodeRow row = rows[random.Next(rows.Length)];
            ulong unique = rig.Kernel.NextUnique();
            byte[] message = FuseParserTests.Mutate(random, row, unique);
            if (message.Length >= 40)
            {
                // The mutated number would be answered too, but nobody could tell to whom.
                BitConverter.TryWriteBytes(message.AsSpan(8), unique);
            }
            FuseOpcode opcode = message.Length >= 40 ? MemoryMarshal.Read<FuseInHeader>(message).Opcode : 0;
            if (opcode == FuseOpcode.INTERRUPT)
            {
                // As all of its kind: an even number would look like a second answer.
                message[8] |= 1;
            }
            if (message.Length >= 40 && FuseOpcodeTable.Find(opcode) is not { ReplyDue: false })
            {
                due.Add(rig.Kernel.Submit(message));
            }
            else
            {
                rig.Kernel.Post(message);
            }
        }
        await Task.WhenAll(due).WaitAsync(TimeSpan.FromMinutes(2));
        Assert.Equal(Errno.OK, (await rig.Lookup("alive")).Errno);
        Assert.Equal(0, rig.Kernel.Stray);
        Assert.DoesNotContain(rig.Faults, f => f.Exception is not null);
        Assert.True(rig.Connection.Counters.Malformed > 1000);
        Assert.False(rig.Connection.Completion.IsCompleted);
    }

    [Theory]
    [InlineData(Errno.ENODEV, FuseEndReason.Unmounted)]
    [InlineData(Errno.ECONNABORTED, FuseEndReason.Aborted)]
    [InlineData(Errno.EPERM, FuseEndReason.Failed)]
    public async Task TheEndIsToldAndWaitersAreInterrupted(Errno errno, FuseEndReason reason)
    {
        using var rig = new Rig();
        _ = rig.Read(out _);
        FuseRequest kept = rig.TakeKept();
        CancellationToken token = kept.InterruptToken;
        rig.Kernel.End(errno);
        Assert.Equal(new FuseEnd(reason, errno), await rig.Connection.Completion.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.True(token.IsCancellationRequested);
        kept.ReplyError(Errno.EINTR);
    }

    [Fact]
    public async Task StoppingWaitsForAnswersThatCome()
    {
        using var rig = new Rig();
        Task<FakeReply> read = rig.Read(out _);
        FuseRequest kept = rig.TakeKept();
        Task<bool> stop = Task.Run(() => rig.Connection.Stop(TimeSpan.FromSeconds(30)));
        Assert.Equal(FuseEndReason.Stopped, (await rig.Connection.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason);
        kept.ReplyData("late"u8);
        Assert.True(await stop);
        Assert.Equal("late"u8.ToArray(), (await read).Data);
    }

    [Fact]
    public async Task ASuccessorAnswersWhatWasLeft()
    {
        using var rig = new Rig();
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        bool interrupted = false;
        Assert.True(kept.OnInterrupt(_ => interrupted = true, null));
        Assert.False(rig.Connection.Stop(TimeSpan.Zero));
        Assert.True(interrupted);
        // The old one may still try: nothing must reach the kernel.
        kept.ReplyData("old"u8);
        Assert.False(read.IsCompleted);
        // What comes between the two waits in the kernel.
        Task<FakeReply> between = rig.Lookup("between");

        var successor = new RecordingHandler();
        using FuseConnection next = FuseConnection.Resume(successor, rig.Options, rig.Connection.Negotiated, rig.Kernel.Reopen());
        next.Start();
        Assert.True(successor.Resumed);
        Assert.True(successor.Kept.TryTake(out FuseRequest? again, TimeSpan.FromSeconds(30)));
        Assert.True(again!.IsResent);
        Assert.Equal(unique, again.Unique);
        again.ReplyData("new"u8);
        FakeReply reply = await read;
        Assert.Equal("new"u8.ToArray(), reply.Data);
        Assert.Equal(unique | FuseAbi.UniqueResend, reply.Unique);
        Assert.Equal(Errno.OK, (await between).Errno);
        Assert.Equal(0, rig.Kernel.Stray);
    }

    [Fact]
    public void ATakeOverNeedsAKernelThatResends()
    {
        using var rig = new Rig();
        rig.Connection.Stop(TimeSpan.FromSeconds(10));
        FuseNegotiated old = rig.Connection.Negotiated with { Flags = rig.Connection.Negotiated.Flags & ~FuseInitFlags.HAS_RESEND };
        using FuseConnection next = FuseConnection.Resume(new RecordingHandler(), rig.Options, old, rig.Kernel.Reopen());
        Assert.Equal(Errno.EOPNOTSUPP, Assert.Throws<FuseProtocolException>(next.Start).Errno);
    }
}
