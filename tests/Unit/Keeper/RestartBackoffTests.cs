using EphemeralFs.FuseMount.Keeper;

namespace EphemeralFs.Tests.Unit.Keeper;

public sealed class RestartBackoffTests
{
    [Fact]
    public void Delays_start_at_nothing_double_and_end_at_the_long_one()
    {
        var backoff = new RestartBackoff
        {
            ImmediateRestarts = 2,
            InitialDelayMs = 100,
            MaxDelayMs = 500,
            FailuresBeforeLongDelay = 8,
            LongDelayMs = 9_000,
        };
        int[] expected = [0, 0, 0, 100, 200, 400, 500, 500, 9_000, 9_000];
        Assert.Equal(expected, Enumerable.Range(0, expected.Length).Select(backoff.DelayMs));
        Assert.Equal(9_000, backoff.DelayMs(int.MaxValue));
    }

    [Fact]
    public void No_number_of_failures_overflows()
    {
        var backoff = new RestartBackoff { InitialDelayMs = int.MaxValue, MaxDelayMs = int.MaxValue, FailuresBeforeLongDelay = 1_000 };
        Assert.All(Enumerable.Range(4, 900), failures => Assert.Equal(int.MaxValue, backoff.DelayMs(failures)));
    }

    [Fact]
    public void Numbers_that_contradict_each_other_are_refused()
    {
        Assert.Null(new RestartBackoff().Validate());
        Assert.NotNull(new RestartBackoff { InitialDelayMs = -1 }.Validate());
        Assert.NotNull(new RestartBackoff { MaxDelayMs = 1 }.Validate());
        Assert.NotNull(new RestartBackoff { FailuresBeforeLongDelay = 1 }.Validate());
        Assert.NotNull(new KeeperOptions { SocketPath = "k", RestartBackoff = new RestartBackoff { LongDelayMs = -1 } }.Validate());
        Assert.NotNull(new KeeperOptions { SocketPath = " " }.Validate());
        Assert.Null(new KeeperOptions { SocketPath = "k" }.Validate());
    }
}
