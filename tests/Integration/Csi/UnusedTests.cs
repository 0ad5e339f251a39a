using EphemeralFs.CsiDriver.Volumes;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>When a volume has been of no use for so long that it may be deleted.</summary>
public sealed class UnusedTests
{
    private readonly Clock _clock = new();
    private readonly Unused _unused;

    public UnusedTests() => _unused = new Unused(TimeSpan.FromMinutes(5), _clock);

    [Fact]
    public void A_volume_is_named_when_it_was_unused_each_time_for_so_long()
    {
        for (int minute = 0; minute < 5; minute++)
        {
            Assert.Empty(After(TimeSpan.FromMinutes(1), "a", "b"));
        }

        Assert.Equal(["a", "b"], After(TimeSpan.FromMinutes(1), "a", "b").Order());
    }

    [Fact]
    public void One_that_was_used_in_between_begins_anew()
    {
        for (int minute = 0; minute < 4; minute++)
        {
            Assert.Empty(After(TimeSpan.FromMinutes(1), "a", "b"));
        }

        Assert.Empty(After(TimeSpan.FromMinutes(1), "b"));
        Assert.Equal("b", Assert.Single(After(TimeSpan.FromMinutes(1), "a", "b")));
    }

    [Fact]
    public void The_time_does_not_run_while_nobody_could_have_published()
    {
        for (int minute = 0; minute < 5; minute++)
        {
            Assert.Empty(After(TimeSpan.FromMinutes(1), "a"));
        }

        // The cluster was away, and nobody asked: all of it begins anew.
        Assert.Empty(After(TimeSpan.FromHours(1), "a"));
        for (int minute = 0; minute < 4; minute++)
        {
            Assert.Empty(After(TimeSpan.FromMinutes(1), "a"));
        }

        Assert.Equal("a", Assert.Single(After(TimeSpan.FromMinutes(1), "a")));
    }

    private IReadOnlyList<string> After(TimeSpan time, params string[] names)
    {
        _clock.Now += time;
        return _unused.For(names);
    }

    private sealed class Clock : TimeProvider
    {
        public TimeSpan Now { get; set; } = TimeSpan.FromDays(1);

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
