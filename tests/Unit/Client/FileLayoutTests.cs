using EphemeralFs.Client.Files;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Client;

public sealed class FileLayoutTests
{
    private readonly FileLayout _layout = new();

    [Fact]
    public void The_next_version_is_made_of_the_one_before_and_any_other_is_asked_for()
    {
        _layout.Learn(0, Of(7, 100, new Extent(0, 50, 1, 0, 1)));
        Assert.True(_layout.Advance(8));
        _layout.Replace([new Extent(10, 5, 2, 0, 1)]);
        Assert.Equal((8UL, 3), (_layout.Version, _layout.Extents.Count));

        // Another node's change lies in between: what it was is not known here.
        Assert.False(_layout.Advance(10));
        Assert.Equal((0UL, 0UL, 0), (_layout.Version, _layout.CoveredEnd, _layout.Extents.Count));
    }

    [Fact]
    public void Of_an_answer_that_has_come_twice_nothing_is_built()
    {
        _layout.Learn(0, Of(8, 100));
        Assert.False(_layout.Advance(8));
        Assert.Equal(0UL, _layout.CoveredEnd);
    }

    [Fact]
    public void Parts_of_different_versions_do_not_make_a_layout()
    {
        _layout.Learn(0, Of(7, 100, new Extent(0, 50, 1, 0, 1)));
        _layout.Learn(100, Of(7, 200, new Extent(100, 50, 2, 0, 1)));
        Assert.Equal((200UL, 2), (_layout.CoveredEnd, _layout.Extents.Count));
        _layout.Learn(200, Of(8, 300, new Extent(200, 50, 3, 0, 1)));
        Assert.Equal((0UL, 0), (_layout.CoveredEnd, _layout.Extents.Count));
    }

    [Fact]
    public void Inline_bytes_have_the_version_that_made_them()
    {
        _layout.Learn(0, Of(1, ulong.MaxValue));
        Assert.True(_layout.Advance(2));
        _layout.SetInline(new byte[3]);
        Assert.Equal((2UL, true, 3), (_layout.Version, _layout.IsInline, _layout.Inline.Length));
    }

    private static LayoutReply Of(ulong version, ulong coveredEnd, params Extent[] extents) =>
        new(new InodeAttributes { DataVersion = version }, false, default, extents, coveredEnd);
}
