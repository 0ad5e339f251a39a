using System.Diagnostics;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Mount.Protocol;

/// <summary>A second connection on the same descriptors carries on where the first one stopped.</summary>
public class TakeOverTests
{
    [Fact]
    public async Task ARequestThatTheOldOneReadIsAnsweredByTheNew()
    {
        var fs = new MemoryFs();
        fs.File("blocked", "answered by the successor");
        var first = new FaultTests.TroubleHandler(fs) { AnswerInterrupts = false };
        var lines = new System.Collections.Concurrent.ConcurrentQueue<string>();
        using var rig = new FuseRig(first, o => o with { Trace = lines.Enqueue });
        FuseConnection old = rig.Connection;
        using Process cat = Program.Start("cat", rig.PathOf("blocked"));
        Assert.True(first.Blocked.TryTake(out FuseRequest? kept, TimeSpan.FromSeconds(30)));
        ulong unique = kept!.Unique;
        Assert.False(old.Stop(TimeSpan.Zero));
        Assert.Equal(FuseEndReason.Stopped, (await old.Completion).Reason);
        old.Dispose();
        // Comes while nobody serves.
        using Process ls = Program.Start("ls", rig.Dir);
        // Too late, and without effect.
        kept.ReplyData("from the dead"u8);

        var second = new MemoryFsHandler(fs);
        rig.Successor(second);
        Assert.Equal((0, "answered by the successor", ""), Program.Finish(cat));
        Assert.Equal((0, "blocked\n", ""), Program.Finish(ls));
        Assert.True(second.SawResent);
        Assert.Contains(lines, l => l.StartsWith($"> READ #{unique} RESENT", StringComparison.Ordinal));
        Assert.Empty(rig.Faults);
    }

    [Fact]
    public void ManyTakeOversUnderLoadLoseNothing()
    {
        var fs = new MemoryFs();
        using var rig = new FuseRig(new MemoryFsHandler(fs));
        using Process load = Program.Start(
            "sh", "-c", $"cd {rig.Dir} && i=0; while [ $i -lt 300 ]; do echo line $i >> log && cp log copy && cmp log copy && rm copy || exit 9; i=$((i+1)); done");
        int takeOvers = 0;
        while (!load.HasExited)
        {
            FuseConnection old = rig.Connection;
            Assert.True(old.Stop(TimeSpan.FromSeconds(30)));
            old.Dispose();
            rig.Successor(new MemoryFsHandler(fs));
            takeOvers++;
            Assert.InRange(takeOvers, 0, 100_000);
        }
        Assert.Equal((0, "", ""), Program.Finish(load));
        string expected = string.Concat(Enumerable.Range(0, 300).Select(i => $"line {i}\n"));
        Assert.Equal(expected, Program.Output("cat", rig.PathOf("log")));
        Assert.True(takeOvers > 5, $"only {takeOvers} take-overs");
        Assert.Empty(rig.Faults);
    }

    [Fact]
    public void OpenFilesAndLocksSurvive()
    {
        var fs = new MemoryFs();
        fs.File("f", "0123456789");
        using var rig = new FuseRig(new MemoryFsHandler(fs));
        using FileStream open = new(rig.PathOf("f"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        Assert.Equal('0', open.ReadByte());
        FuseConnection old = rig.Connection;
        Assert.True(old.Stop(TimeSpan.FromSeconds(30)));
        old.Dispose();
        rig.Successor(new MemoryFsHandler(fs));
        open.Position = 5;
        open.Write("XY"u8);
        open.Flush();
        Assert.Equal("01234XY789", Program.Output("cat", rig.PathOf("f")));
    }
}
