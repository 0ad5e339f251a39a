using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseOpcodeTableTests
{
    [Fact]
    public void EveryOperationHasItsRowExceptThoseOfDax()
    {
        FuseOpcode[] missing = [.. Enum.GetValues<FuseOpcode>().Where(o => FuseOpcodeTable.Find(o) is null)];
        Assert.Equal([FuseOpcode.SETUPMAPPING, FuseOpcode.REMOVEMAPPING], missing);
        Assert.All(FuseOpcodeTable.All, row => Assert.Equal(row.Opcode.ToString(), row.Name));
        Assert.Equal(FuseOpcodeTable.All.Count(), FuseOpcodeTable.All.Select(r => r.CounterIndex).Distinct().Count());
    }

    [Fact]
    public void NumbersBeyondTheTableAreUnknown()
    {
        Assert.Null(FuseOpcodeTable.Find(0));
        Assert.Null(FuseOpcodeTable.Find((FuseOpcode)FuseOpcodeTable.Size));
        Assert.Null(FuseOpcodeTable.Find((FuseOpcode)uint.MaxValue));
        Assert.Null(FuseOpcodeTable.Find((FuseOpcode)4096));
    }

    [Fact]
    public void ForgetsInterruptsAndRetrievedDataGetNoReply() =>
        Assert.Equal(
            [FuseOpcode.FORGET, FuseOpcode.INTERRUPT, FuseOpcode.NOTIFY_REPLY, FuseOpcode.BATCH_FORGET],
            FuseOpcodeTable.All.Where(r => !r.ReplyDue).Select(r => r.Opcode));

    [Theory]
    [InlineData(FuseOpcode.LOOKUP, 0, 1)]
    [InlineData(FuseOpcode.SYMLINK, 0, 2)]
    [InlineData(FuseOpcode.RENAME, 8, 2)]
    [InlineData(FuseOpcode.RENAME2, 16, 2)]
    [InlineData(FuseOpcode.LINK, 8, 1)]
    [InlineData(FuseOpcode.CREATE, 16, 1)]
    [InlineData(FuseOpcode.SETXATTR, 16, 1)]
    [InlineData(FuseOpcode.GETXATTR, 8, 1)]
    [InlineData(FuseOpcode.LISTXATTR, 8, 0)]
    [InlineData(FuseOpcode.WRITE, 40, 0)]
    [InlineData(FuseOpcode.STATX, 24, 0)]
    public void RowsSayWhatTheKernelSends(FuseOpcode opcode, int inputSize, int names)
    {
        FuseOpcodeRow row = FuseOpcodeTable.Find(opcode)!;
        Assert.Equal((inputSize, names), (row.InputSize, row.Names));
    }
}
