using System.Collections.Concurrent;
using EphemeralFs.FuseMount.Fuse;
using static EphemeralFs.Tests.Unit.Fuse.FuseConnectionTests;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseTraceTests
{
    [Fact]
    public async Task LinesNameOperationsFlagsAndResults()
    {
        var lines = new ConcurrentQueue<string>();
        using (var rig = new Rig(workers: 1, change: o => o with { Trace = lines.Enqueue }))
        {
            await rig.Lookup("q\"\u00e4\n");
            await rig.Kernel.Submit(FuseMessages.Build(
                FuseOpcode.CREATE, 100, 3, new FuseCreateIn { Flags = 0x8042, Mode = 0x81a4, Umask = 18 }, FuseMessages.Name("new")));
            await rig.Kernel.Submit(FuseMessages.Build(
                FuseOpcode.SETATTR, 102, 3, new FuseSetattrIn { Valid = FuseSetattrValid.SIZE | FuseSetattrValid.FH, Size = 12 }));
            await rig.Connection.Notifier.InvalidateEntryAsync(1, "x"u8.ToArray(), expireOnly: true);
        }
        Assert.Contains(lines, l => l.StartsWith("INIT 7.45 -> 7.45 ASYNC_READ", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.StartsWith("> LOOKUP #", StringComparison.Ordinal) && l.Contains("""name="q\x22\xc3\xa4\x0a" """.Trim(), StringComparison.Ordinal));
        Assert.Contains(lines, l => l.StartsWith("< LOOKUP #", StringComparison.Ordinal) && l.Contains("OK 144 bytes", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("flags=O_RDWR|O_CREAT|O_LARGEFILE mode=0100644 umask=022", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("< CREATE #100 ENOSYS", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("valid=SIZE, FH", StringComparison.Ordinal) && l.Contains("size=12", StringComparison.Ordinal));
        Assert.Contains("! INVAL_ENTRY parent=1 child=0 flags=EXPIRE_ONLY name=\"x\" OK", lines);
    }

    [Fact]
    public async Task EveryOperationCanBePrinted()
    {
        var lines = new ConcurrentQueue<string>();
        using var rig = new Rig(workers: 1, handler: new RecordingHandler { AnswerAll = true }, change: o => o with { Trace = lines.Enqueue });
        foreach (FuseOpcodeRow row in FuseOpcodeTable.All.Where(r => r.Invoke is not null))
        {
            byte[] message = FuseMessages.Valid(row, rig.Kernel.NextUnique(), count: 1);
            if (row.ReplyDue)
            {
                await rig.Kernel.Submit(message);
            }
            else
            {
                rig.Kernel.Post(message);
            }
        }
        await rig.Lookup("last");
        Assert.All(
            FuseOpcodeTable.All.Where(r => r.Invoke is not null),
            row => Assert.Contains(lines, l => l.StartsWith($"> {row.Name} #", StringComparison.Ordinal)));
        Assert.Empty(rig.Faults);
    }

    [Theory]
    [InlineData("fuse", true)]
    [InlineData("rpc, fuse", true)]
    [InlineData("rpc", false)]
    [InlineData(null, false)]
    public void TheEnvironmentTurnsItOn(string? value, bool on)
    {
        string? before = Environment.GetEnvironmentVariable("EPHEMERALFS_TRACE");
        try
        {
            Environment.SetEnvironmentVariable("EPHEMERALFS_TRACE", value);
            Assert.Equal(on, FuseTrace.FromEnvironment(_ => { }) is not null);
        }
        finally
        {
            Environment.SetEnvironmentVariable("EPHEMERALFS_TRACE", before);
        }
    }
}
