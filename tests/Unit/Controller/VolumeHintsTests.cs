using EphemeralFs.Core;

namespace EphemeralFs.Tests.Unit.Controller;

public sealed class VolumeHintsTests
{
    [Fact]
    public void The_text_form_is_read_back()
    {
        var hints = new VolumeHints { Tier = TierClass.Nvme, Concurrency = 1000, Throughput = 1 << 30, LatencySensitive = true, LifetimeSeconds = 900, Copies = 2 };
        Assert.Equal("tier=nvme,concurrency=1000,throughput=1073741824,latencySensitive=true,lifetime=900,copies=2", hints.ToString());
        Assert.Equal(hints, VolumeHints.Parse(hints.ToString()));
        Assert.Equal("", VolumeHints.None.ToString());
        Assert.Equal(VolumeHints.None, VolumeHints.Parse(""));
        Assert.True(hints.ToString().Length <= VolumeHints.TextMaxBytes);
    }

    [Theory]
    [InlineData("tier")]
    [InlineData("tier=tape")]
    [InlineData("speed=high")]
    [InlineData("copies=0")]
    [InlineData("lifetime=99999999999d")]
    public void What_is_no_hint_is_refused(string text) => Assert.Null(VolumeHints.Parse(text));

    [Fact]
    public void A_wish_is_read_from_pairs_and_later_ones_count_more()
    {
        Assert.Null(VolumeWish.TryAdd(VolumeWish.None, [new("size", "10Gi"), new("inodes", "5"), new("lifetime", "2h"), new("tier", "ssd")], out var wish));
        Assert.Equal((10UL << 30, 5UL, 7200U, TierClass.Ssd), (wish.LimitBytes, wish.LimitInodes, wish.Hints.LifetimeSeconds, wish.Hints.Tier));
        Assert.Null(VolumeWish.TryAdd(wish, [new("tier", "any")], out wish));
        Assert.Equal((10UL << 30, TierClass.None), (wish.LimitBytes, wish.Hints.Tier));
    }

    [Theory]
    [InlineData("size", "0")]
    [InlineData("size", "-1")]
    [InlineData("size", "10 apples")]
    [InlineData("inodes", "many")]
    [InlineData("tier", "tape")]
    [InlineData("copies", "4")]
    [InlineData("latencySensitive", "yes")]
    [InlineData("throughput", "fast")]
    [InlineData("sise", "1G")]
    public void What_is_wrong_names_the_key(string key, string value) =>
        Assert.Contains(key, VolumeWish.TryAdd(VolumeWish.None, [new(key, value)], out _), StringComparison.Ordinal);
}
