using System.Collections.Concurrent;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using static EphemeralFs.Tests.Unit.Fuse.FuseConnectionTests;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseInterruptTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task ACallbackIsCalledOnceAndTheTokenCancelled()
    {
        using var rig = new Rig();
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        CancellationToken token = kept.InterruptToken;
        int calls = 0;
        Assert.True(kept.OnInterrupt(state =>
        {
            Interlocked.Increment(ref calls);
            ((FuseRequest)state!).ReplyError(Errno.EINTR);
        }, kept));
        rig.Kernel.Interrupt(unique);
        Assert.Equal(Errno.EINTR, (await read.WaitAsync(Limit)).Errno);
        rig.Kernel.Interrupt(unique);
        await rig.Lookup("after");
        Assert.True(SpinWait.SpinUntil(() => token.IsCancellationRequested, Limit));
        Assert.Equal(1, calls);
        Assert.Empty(rig.Faults);
    }

    [Fact]
    public async Task WhoAsksAfterTheInterruptIsToldAtOnce()
    {
        using var rig = new Rig(workers: 1);
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        rig.Kernel.Interrupt(unique);
        await rig.Lookup("after");
        Assert.True(kept.IsInterrupted);
        Assert.False(kept.OnInterrupt(_ => Assert.Fail("must not be called"), null));
        Assert.True(kept.InterruptToken.IsCancellationRequested);
        kept.ReplyError(Errno.EINTR);
        Assert.Equal(Errno.EINTR, (await read).Errno);
    }

    [Fact]
    public async Task AnInterruptOfAnAnsweredRequestIsIgnored()
    {
        using var rig = new Rig(workers: 1, change: o => o with { DetectMisuse = false });
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        int calls = 0;
        kept.OnInterrupt(_ => calls++, null);
        kept.ReplyData("x"u8);
        await read;
        rig.Kernel.Interrupt(unique);
        await rig.Lookup("after");
        // The object serves another request now: the old interrupt and callback must not reach it.
        Task<FakeReply> second = rig.Read(out ulong other);
        FuseRequest reused = rig.TakeKept();
        Assert.Same(kept, reused);
        rig.Kernel.Interrupt(unique);
        await rig.Lookup("after that");
        Assert.False(reused.IsInterrupted);
        rig.Kernel.Interrupt(other);
        await rig.Lookup("at last");
        Assert.True(reused.IsInterrupted);
        Assert.Equal(0, calls);
        Assert.Equal(0, rig.Kernel.Requeued);
        reused.ReplyError(Errno.EINTR);
        await second;
    }

    [Fact]
    public async Task AnExceptionInACallbackHurtsNobody()
    {
        using var rig = new Rig(workers: 1);
        Task<FakeReply> read = rig.Read(out ulong unique);
        FuseRequest kept = rig.TakeKept();
        kept.OnInterrupt(_ => throw new InvalidOperationException("on purpose"), null);
        rig.Kernel.Interrupt(unique);
        Assert.Equal(Errno.OK, (await rig.Lookup("after")).Errno);
        Assert.Single(rig.Faults);
        kept.ReplyError(Errno.EINTR);
        await read;
    }

    /// <summary>Requests, replies from other threads and interrupts at random: each request is answered once, whatever comes first.</summary>
    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    public async Task RacesBetweenReplyAndInterruptLoseNothing(int seed)
    {
        using var rig = new Rig(workers: 3, change: o => o with { DetectMisuse = seed % 2 == 0 });
        var random = new Random(seed);
        var reads = new List<Task<FakeReply>>();
        using var answering = new CancellationTokenSource();
        Task[] answerers = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() => Answer(rig, answering.Token)))];
        for (int i = 0; i < 3000; i++)
        {
            reads.Add(rig.Read(out ulong unique));
            // Interrupts come before, while and after the request is served, some of them twice.
            for (int n = random.Next(3); n > 0; n--)
            {
                rig.Kernel.Interrupt(unique);
            }
            if (random.Next(8) == 0)
            {
                rig.Kernel.Interrupt(unique - (ulong)(2 * random.Next(1, 20)));
            }
        }
        FakeReply[] replies = await Task.WhenAll(reads).WaitAsync(TimeSpan.FromMinutes(1));
        await answering.CancelAsync();
        await Task.WhenAll(answerers);
        Assert.All(replies, r => Assert.True(r.Errno is Errno.OK or Errno.EINTR));
        Assert.Contains(replies, r => r.Errno == Errno.EINTR);
        Assert.Equal(0, rig.Kernel.Stray);
        Assert.Empty(rig.Faults);
        Assert.Equal(Errno.OK, (await rig.Lookup("alive").WaitAsync(Limit)).Errno);
        Assert.True(SpinWait.SpinUntil(() => rig.Connection.Counters.InFlight == 0, Limit));
    }

    private static void Answer(Rig rig, CancellationToken stop)
    {
        try
        {
            while (true)
            {
                FuseRequest request = rig.Recording.Kept.Take(stop);
                int answered = 0;
                // As a handler must do it: whoever comes first, reply or interrupt, answers.
                var claim = new Func<bool>(() => Interlocked.Exchange(ref answered, 1) == 0);
                bool hooked = request.OnInterrupt(_ =>
                {
                    if (claim())
                    {
                        request.ReplyError(Errno.EINTR);
                    }
                }, null);
                Thread.Yield();
                if (claim())
                {
                    request.ReplyError(hooked ? Errno.OK : Errno.EINTR);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The test is over.
        }
    }
}
