using EphemeralFs.Client.Leases;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>Attributes are answered from the cache only while they are leased and nobody, here or elsewhere, has changed them since they were asked for.</summary>
public sealed class AttributeCacheTests : IDisposable
{
    private const ulong File = 8;
    private const FrameFlags Leased = FrameFlags.AttributesLeased;

    private readonly ZeroedMemory _memory = new();
    private readonly LeaseTable _leases;
    private readonly AttributeCache _cache;

    public AttributeCacheTests()
    {
        _leases = new LeaseTable(new LeaseLog(_memory.Map()), static () => Limits.KernelLeaseMs, TimeProvider.System);
        _cache = new AttributeCache(_leases, static () => Limits.LeaseMs);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void What_is_leased_is_kept_until_it_is_called_back()
    {
        _cache.Learn(_cache.Ask(), Of(1), FrameFlags.NamesSole);
        Assert.Equal(0UL, Known());
        _cache.Learn(_cache.Ask(), Of(1), Leased);
        Assert.Equal(1UL, Known());
        _leases.BeginRecall([], [File]);
        _cache.Forget([File]);
        Assert.Equal(0UL, Known());
    }

    [Fact]
    public void An_answer_that_a_recall_has_overtaken_is_not_kept()
    {
        var question = _cache.Ask();
        _leases.BeginRecall([], [File]);
        _cache.Forget([File]);
        _cache.Learn(question, Of(1), Leased);
        Assert.Equal(0UL, Known());
    }

    [Fact]
    public void A_directory_in_which_a_file_was_deferred_has_the_later_times()
    {
        _cache.Touch(File, 7);
        Assert.Equal(0UL, Known()); // it is not known
        var before = _cache.Ask();
        _cache.Learn(_cache.Ask(), Of(1) with { MtimeNs = 3, CtimeNs = 5 }, Leased);
        _cache.Touch(File, 4);
        Assert.Equal((3, 5), Times());
        _cache.Touch(File, 7);
        Assert.Equal((7, 7), Times());
        Assert.False(_cache.Learn(before, Of(1), Leased)); // of before
        Assert.Equal(0UL, Known());

        _cache.Learn(_cache.Ask(), Of(1), Leased);
        var change = _cache.Begin(File);
        _cache.Touch(File, 8);
        _cache.Learn(_cache.End(change), Of(2), Leased); // nobody knows which was first
        Assert.Equal(0UL, Known());

        (long, long) Times() => _cache.TryGet(File, out var attributes, out _) ? (attributes.MtimeNs, attributes.CtimeNs) : default;
    }

    [Fact]
    public void What_was_asked_before_a_change_of_this_node_ended_is_not_kept()
    {
        var before = _cache.Ask();
        var change = _cache.Begin(File);
        var during = _cache.Ask();
        _cache.Learn(during, Of(1), Leased);
        Assert.Equal(0UL, Known());
        var question = _cache.End(change);
        _cache.Learn(question, Of(2), Leased);
        Assert.Equal(2UL, Known());
        _cache.Learn(before, Of(1), Leased);
        Assert.Equal(0UL, Known());
        _cache.Learn(during, Of(1), Leased);
        Assert.Equal(0UL, Known());
    }

    [Fact]
    public void Of_two_changes_at_the_same_time_neither_answer_is_kept()
    {
        var first = _cache.Begin(File);
        var second = _cache.Begin(File);
        _cache.Learn(_cache.End(second), Of(2), Leased);
        Assert.Equal(0UL, Known());
        _cache.Learn(_cache.End(first), Of(1), Leased);
        Assert.Equal(0UL, Known());
        _cache.Learn(_cache.Ask(), Of(3), Leased);
        Assert.Equal(3UL, Known());
    }

    private ulong Known() => _cache.TryGet(File, out var attributes, out _) ? attributes.Size : 0;

    private static InodeAttributes Of(ulong size) => new() { Ino = File, Size = size };
}
