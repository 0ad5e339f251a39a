using EphemeralFs.Core;

namespace EphemeralFs.Tests.Unit.Rpc;

public class RarelyTests
{
    [Fact]
    public void What_is_not_said_is_counted()
    {
        var rarely = new Rarely(quietMs: 200);
        Assert.True(rarely.MaySay(out var unsaid));
        Assert.Equal(0, unsaid);
        var times = 0;
        while (!rarely.MaySay(out unsaid))
        {
            times++;
        }

        Assert.InRange(times, 1, int.MaxValue);
        Assert.Equal(times, unsaid);
    }
}
