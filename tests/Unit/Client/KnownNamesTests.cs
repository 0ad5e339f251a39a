using EphemeralFs.Client.Leases;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>That a name is not there is said only while the node knows every name of the directory.</summary>
public sealed class KnownNamesTests : IDisposable
{
    private const ulong Directory = 7;
    private const FrameFlags Leased = FrameFlags.AttributesLeased | FrameFlags.NamesSole;

    private readonly ZeroedMemory _memory = new();
    private readonly ManualTime _time = new();
    private readonly LeaseTable _leases;
    private readonly KnownNames _names;

    public KnownNamesTests()
    {
        _leases = new LeaseTable(new LeaseLog(_memory.Map()), static () => Limits.LeaseMs, _time);
        _names = new KnownNames(_leases, static () => Limits.LeaseMs, _time);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_directory_made_here_is_empty_until_a_name_is_made()
    {
        Assert.False(IsAbsent("a"));
        _names.Made(Directory, _leases.Ask(), Leased);
        Assert.True(IsAbsent("a"));
        _names.MayExist(Directory, "a"u8);
        Assert.False(IsAbsent("a"));
        Assert.True(IsAbsent("b"));
        _names.Removed(Directory, "a"u8, _leases.Ask());
        Assert.True(IsAbsent("a"));
    }

    [Fact]
    public void A_listing_is_known_when_it_was_seen_to_its_end()
    {
        List(0, 5, isEnd: false, "a", "b");
        Assert.False(IsAbsent("x"));
        _names.MayExist(Directory, "made-meanwhile"u8);
        List(4, 9, isEnd: true, "not the next part");
        Assert.False(IsAbsent("x"));
        List(5, 9, isEnd: true, "c");
        Assert.True(IsAbsent("x"));
        Assert.False(IsAbsent("a") || IsAbsent("c") || IsAbsent("made-meanwhile"));
    }

    [Fact]
    public void What_another_node_made_while_a_name_was_removed_stays()
    {
        _names.Made(Directory, _leases.Ask(), Leased);
        _names.MayExist(Directory, "a"u8);
        var asked = _leases.Ask();
        _leases.BeginRecall([(Directory, "a"u8.ToArray())], []);
        _names.MayExist(Directory, "a"u8);
        _names.Removed(Directory, "a"u8, asked);
        Assert.False(IsAbsent("a"));
    }

    [Fact]
    public void A_directory_that_another_node_has_changed_before_it_was_known_here_is_not_known()
    {
        var asked = _leases.Ask();
        _leases.BeginRecall([(Directory, "a"u8.ToArray())], []);
        _names.MayExist(Directory, "a"u8);
        _names.Made(Directory, asked, Leased);
        Assert.False(IsAbsent("a"));
    }

    [Fact]
    public void A_lease_that_has_ended_does_not_go_on()
    {
        _names.Made(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 1);
        _names.Extend(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 1);
        Assert.True(IsAbsent("a"));

        // Others may have made names while nobody told this node of them.
        _time.Advance(2);
        Assert.False(IsAbsent("a"));
        _names.Extend(Directory, _leases.Ask(), Leased);
        Assert.False(IsAbsent("a"));
    }

    [Fact]
    public void An_answer_that_took_long_extends_nothing()
    {
        _names.Made(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 1);
        var asked = _leases.Ask();
        _time.Advance(Limits.LeaseAnswerMs + 1);
        _names.Extend(Directory, asked, Leased);
        Assert.False(IsAbsent("a"));
    }

    [Fact]
    public void The_kernel_is_told_for_the_rest_of_the_lease_only()
    {
        _names.Made(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 100);
        Assert.True(_names.IsAbsent(Directory, "a"u8, out var lease));
        using var telling = _leases.Tell(lease);
        Assert.Equal(100, telling.NameMs(Directory, "a"u8));
    }

    private bool IsAbsent(string name) => _names.IsAbsent(Directory, Bytes(name), out _);

    private void List(ulong from, ulong to, bool isEnd, params string[] names) =>
        _names.Listed(Directory, _leases.Ask(), Leased, from, to, isEnd, names.Select(name => (ReadOnlyMemory<byte>)Bytes(name)));

    private static byte[] Bytes(string name) => System.Text.Encoding.UTF8.GetBytes(name);

    private sealed class ManualTime : TimeProvider
    {
        private long _nowMs = 1_000_000;

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => _nowMs;

        public void Advance(long milliseconds) => _nowMs += milliseconds;
    }
}
