using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Mount.Protocol;

/// <summary>What goes wrong in a handler, or in the program that waits for it, stays there.</summary>
public class FaultTests
{
    /// <summary>READ of "blocked" waits for the test or a signal; some names throw.</summary>
    internal sealed class TroubleHandler(MemoryFs fs) : MemoryFsHandler(fs)
    {
        /// <summary>Reads that wait.</summary>
        public BlockingCollection<FuseRequest> Blocked { get; } = [];

        public int Interrupts;

        /// <summary>Whether READ bypasses the page cache. If not, it is read-ahead, which the kernel does not interrupt.</summary>
        public bool Direct { get; init; } = true;

        /// <summary>Whether waiting reads answer EINTR to a signal.</summary>
        public bool AnswerInterrupts { get; init; } = true;

        public override void Lookup(FuseRequest request)
        {
            switch (Encoding.UTF8.GetString(request.Name))
            {
                case "throws":
                    throw new InvalidOperationException("on purpose");
                case "throws-later":
                    request.Run(this, static async (_, _) =>
                    {
                        await Task.Yield();
                        throw new InvalidOperationException("on purpose, later");
                    });
                    break;
                default:
                    base.Lookup(request);
                    break;
            }
        }

        public override void Open(FuseRequest request) =>
            request.ReplyOpen(request.NodeId, Direct ? FuseOpenFlags.DIRECT_IO : FuseOpenFlags.None);

        public override void Read(FuseRequest request)
        {
            bool blocks;
            lock (Fs.Gate)
            {
                blocks = Fs.Root.Child("blocked")?.Id == request.NodeId;
            }
            if (!blocks)
            {
                base.Read(request);
                return;
            }
            int answered = 0;
            bool hooked = request.OnInterrupt(
                _ =>
                {
                    Interlocked.Increment(ref Interrupts);
                    if (AnswerInterrupts && Interlocked.Exchange(ref answered, 1) == 0)
                    {
                        request.ReplyError(Errno.EINTR);
                    }
                },
                null);
            if (hooked)
            {
                Blocked.Add(request);
            }
            else
            {
                request.ReplyError(Errno.EINTR);
            }
        }
    }

    [Theory]
    [InlineData("throws")]
    [InlineData("throws-later")]
    public void AnExceptionIsEioForThatCallOnly(string name)
    {
        var fs = new MemoryFs();
        fs.File("fine", "still here");
        using var rig = new FuseRig(new TroubleHandler(fs));
        (int exit, _, string error) = Program.Run("cat", rig.PathOf(name));
        Assert.Equal(1, exit);
        Assert.Contains("Input/output error", error, StringComparison.Ordinal);
        Assert.Equal("still here", Program.Output("cat", rig.PathOf("fine")));
        Assert.Contains(rig.Faults, f => f.Opcode == FuseOpcode.LOOKUP && f.Exception is InvalidOperationException);
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("KILL")]
    public void ASignalEndsAProgramThatWaits(string signal)
    {
        var fs = new MemoryFs();
        fs.File("blocked", "never read");
        fs.File("fine", "ok");
        var handler = new TroubleHandler(fs);
        using var rig = new FuseRig(handler);
        using Process cat = Program.Start("cat", rig.PathOf("blocked"));
        Assert.True(handler.Blocked.TryTake(out _, TimeSpan.FromSeconds(30)));
        Program.Output("kill", "-" + signal, cat.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        Assert.NotEqual(0, Program.Finish(cat).Exit);
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref handler.Interrupts) > 0, TimeSpan.FromSeconds(30)));
        Assert.Equal("ok", Program.Output("cat", rig.PathOf("fine")));
        Assert.Empty(rig.Faults);
        Assert.True(SpinWait.SpinUntil(() => rig.Connection.Counters.InFlight == 0, TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void AKilledProgramDiesEvenWhileItsPagesAreRead()
    {
        var fs = new MemoryFs();
        fs.File("blocked", "never read");
        var handler = new TroubleHandler(fs) { Direct = false };
        using var rig = new FuseRig(handler);
        using Process cat = Program.Start("cat", rig.PathOf("blocked"));
        Assert.True(handler.Blocked.TryTake(out FuseRequest? waiting, TimeSpan.FromSeconds(30)));
        Program.Output("kill", "-KILL", cat.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        Assert.NotEqual(0, Program.Finish(cat).Exit);
        // What the program's end sent (FLUSH, RELEASE) is counted until the worker is back from its reply, which the program does not wait for.
        Assert.True(SpinWait.SpinUntil(() => rig.Connection.Counters.InFlight == 1, TimeSpan.FromSeconds(30)));
        // Nobody waits, and nobody was told: the answer is still taken.
        FuseInFlightInfo left = Assert.Single(rig.Connection.InFlight());
        Assert.Equal((FuseOpcode.READ, waiting!.Unique), (left.Opcode, left.Unique));
        Assert.Equal(0, handler.Interrupts);
        waiting.ReplyError(Errno.EIO);
        Assert.True(SpinWait.SpinUntil(() => rig.Connection.Counters.InFlight == 0, TimeSpan.FromSeconds(30)));
        Assert.Empty(rig.Faults);
    }

    [Fact]
    public void UnmountingLazilyInterruptsWhoWaits()
    {
        var fs = new MemoryFs();
        fs.File("blocked", "never read");
        var handler = new TroubleHandler(fs) { AnswerInterrupts = false };
        var rig = new FuseRig(handler);
        using Process cat = Program.Start("cat", rig.PathOf("blocked"));
        Assert.True(handler.Blocked.TryTake(out FuseRequest? waiting, TimeSpan.FromSeconds(30)));
        rig.Connection.Stop(TimeSpan.Zero);
        Assert.Equal(1, handler.Interrupts);
        waiting!.ReplyError(Errno.EINTR);
        // The last descriptors close: what nobody can answer any more is ended by the kernel.
        rig.Dispose();
        Assert.NotEqual(0, Program.Finish(cat).Exit);
    }
}
