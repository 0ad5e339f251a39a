using EphemeralFs.Client.Leases;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>What a name is, the node says only while it knows; that there is none, of every name only while it knows the whole directory.</summary>
public sealed class KnownNamesTests : IDisposable
{
    private const ulong Directory = 7;
    private const string Unknown = "unknown", Absent = "absent";
    private const FrameFlags Leased = FrameFlags.AttributesLeased | FrameFlags.NamesSole;

    private readonly ZeroedMemory _memory = new();
    private readonly ManualTime _time = new();
    private readonly LeaseTable _leases;
    private readonly KnownNames _names;

    public KnownNamesTests()
    {
        _leases = new LeaseTable(new LeaseLog(_memory.Map()), static () => Limits.KernelLeaseMs, _time);
        _names = new KnownNames(_leases, static () => Limits.LeaseMs, _time);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_directory_made_here_is_empty_until_a_name_is_made()
    {
        Assert.Equal(Unknown, Find("a"));
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        Assert.Equal(Absent, Find("a"));
        _names.MayChange(Directory, "a"u8);
        Assert.Equal(Unknown, Find("a"));
        Assert.Equal(Absent, Find("b"));
        _names.Made(Directory, "a"u8, 12, _leases.Ask(), Leased);
        Assert.Equal("12", Find("a"));
        _names.Removed(Directory, "a"u8, _leases.Ask());
        Assert.Equal(Absent, Find("a"));
    }

    [Fact]
    public void Answers_about_its_names_keep_a_directory_known()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        for (var i = 0; i < 5; i++)
        {
            _time.Advance(Limits.LeaseMs * 2 / 3);
            Assert.Equal(Absent, Find("a"));
            _names.Answered(Directory, _leases.Ask(), Leased);
        }

        _time.Advance(Limits.LeaseMs + 1);
        Assert.Equal(Unknown, Find("a"));
        _names.Answered(Directory, _leases.Ask(), Leased);
        Assert.Equal(Unknown, Find("a"));
    }

    [Fact]
    public void A_listing_is_known_when_it_was_seen_to_its_end()
    {
        List(0, 5, isEnd: false, ("a", 1), ("b", 2));
        Assert.Equal(Unknown, Find("x"));
        Assert.Equal("1", Find("a"));
        _names.MayChange(Directory, "made-meanwhile"u8);
        List(4, 9, isEnd: true, ("not the next part", 3));
        Assert.Equal(Unknown, Find("x"));
        List(5, 9, isEnd: true, ("c", 4));
        Assert.Equal(Absent, Find("x"));
        Assert.Equal(("2", "4", Unknown), (Find("b"), Find("c"), Find("made-meanwhile")));
    }

    [Fact]
    public void An_answer_is_known_and_a_recall_makes_it_unknown()
    {
        Learn("a", 5);
        Learn("b", Ino.None);
        Assert.Equal(("5", Absent, Unknown), (Find("a"), Find("b"), Find("c")));
        _leases.BeginRecall([(Directory, "a"u8.ToArray())], []);
        _names.MayChange(Directory, "a"u8);
        Assert.Equal((Unknown, Absent), (Find("a"), Find("b")));
        Learn("a", 6);
        Assert.Equal("6", Find("a"));
    }

    [Fact]
    public void What_was_asked_before_a_change_is_not_learned_after_it()
    {
        Learn("x", 1);
        var asked = _names.Ask();
        _names.MayChange(Directory, "a"u8);
        _names.Learn(Directory, "a"u8, 5, asked, Leased);
        Assert.Equal(Unknown, Find("a"));

        asked = _names.Ask();
        _names.Removed(Directory, "a"u8, _leases.Ask());
        _names.Learn(Directory, "a"u8, 5, asked, Leased);
        Assert.Equal(Absent, Find("a"));

        asked = _names.Ask();
        _names.Made(Directory, "a"u8, 7, _leases.Ask(), Leased);
        _names.Learn(Directory, "a"u8, Ino.None, asked, Leased);
        Assert.Equal("7", Find("a"));

        asked = _names.Ask();
        _leases.BeginRecall([(Directory, "b"u8.ToArray())], []);
        _names.Learn(Directory, "a"u8, 8, asked, Leased);
        Assert.Equal("7", Find("a"));
    }

    [Fact]
    public void A_listing_that_a_change_has_overtaken_is_not_learned()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs + 1);
        var asked = _names.Ask();
        _names.Made(Directory, "new"u8, 3, _leases.Ask(), Leased);
        _names.Listed(Directory, asked, Leased, 0, 1, isEnd: true, [(Bytes("old"), 2)]);
        Assert.Equal((Unknown, Unknown), (Find("new"), Find("old")));

        // Of its second part the names are perhaps there.
        List(0, 5, isEnd: false, ("a", 1));
        asked = _names.Ask();
        _names.Removed(Directory, "b"u8, _leases.Ask());
        _names.Listed(Directory, asked, Leased, 5, 9, isEnd: true, [(Bytes("b"), 2), (Bytes("c"), 3)]);
        Assert.Equal(("1", Absent, Unknown, Absent), (Find("a"), Find("b"), Find("c"), Find("d")));
    }

    [Fact]
    public void An_answer_that_may_not_be_kept_is_not_kept()
    {
        _names.Learn(Directory, "a"u8, 5, _names.Ask(), FrameFlags.AttributesLeased);
        Assert.Equal(Unknown, Find("a"));
        Learn("b", 6);
        _names.Learn(Directory, "a"u8, 5, _names.Ask(), FrameFlags.AttributesLeased);
        Assert.Equal((Unknown, "6"), (Find("a"), Find("b")));
    }

    [Fact]
    public void What_another_node_made_while_a_name_was_removed_or_made_here_is_asked_for()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        _names.MayChange(Directory, "a"u8);
        var asked = _leases.Ask();
        _leases.BeginRecall([(Directory, "a"u8.ToArray())], []);
        _names.MayChange(Directory, "a"u8);
        _names.Removed(Directory, "a"u8, asked);
        Assert.Equal(Unknown, Find("a"));
        _names.Made(Directory, "a"u8, 5, asked, Leased);
        Assert.Equal(Unknown, Find("a"));
    }

    [Fact]
    public void What_a_predecessor_had_asked_tells_nothing_of_now()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        _names.Removed(Directory, "a"u8, LeaseOffer.Old);
        Assert.Equal(Unknown, Find("a"));
        _names.Made(Directory, "b"u8, 5, LeaseOffer.Old, FrameFlags.None);
        Assert.Equal(Unknown, Find("b"));
        Assert.Equal(Absent, Find("c"));
    }

    [Fact]
    public void A_directory_that_another_node_has_changed_before_it_was_known_here_is_not_known()
    {
        var asked = _leases.Ask();
        _leases.BeginRecall([(Directory, "a"u8.ToArray())], []);
        _names.MayChange(Directory, "a"u8);
        _names.MadeDirectory(Directory, asked, Leased);
        Assert.Equal(Unknown, Find("a"));
    }

    [Fact]
    public void A_lease_that_has_ended_does_not_go_on()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 1);
        Learn("x", 1);
        _time.Advance(Limits.LeaseMs - 1);
        Assert.Equal((Absent, "1"), (Find("a"), Find("x")));

        // Others may have made names while nobody told this node of them.
        _time.Advance(2);
        Assert.Equal((Unknown, Unknown), (Find("a"), Find("x")));
        Learn("y", 2);
        Assert.Equal((Unknown, Unknown, "2"), (Find("a"), Find("x"), Find("y")));
    }

    [Fact]
    public void An_answer_that_took_long_extends_nothing()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 1);
        var asked = _names.Ask();
        _time.Advance(Limits.LeaseAnswerMs + 1);
        _names.Learn(Directory, "x"u8, 1, asked, Leased);
        Assert.Equal((Unknown, Unknown), (Find("a"), Find("x")));
    }

    [Fact]
    public void The_kernel_is_told_for_the_rest_of_the_lease_only()
    {
        _names.MadeDirectory(Directory, _leases.Ask(), Leased);
        _time.Advance(Limits.LeaseMs - 100);
        Assert.True(_names.TryFind(Directory, "a"u8, out _, out var lease));
        using var telling = _leases.Tell(lease);
        Assert.Equal(100, telling.NameMs(Directory, "a"u8, 100));
    }

    private string Find(string name) => !_names.TryFind(Directory, Bytes(name), out var ino, out _) ? Unknown
        : ino == Ino.None ? Absent : ino.ToString(System.Globalization.CultureInfo.InvariantCulture);

    private void Learn(string name, ulong ino) => _names.Learn(Directory, Bytes(name), ino, _names.Ask(), Leased);

    private void List(ulong from, ulong to, bool isEnd, params (string Name, ulong Ino)[] names) =>
        _names.Listed(Directory, _names.Ask(), Leased, from, to, isEnd, names.Select(entry => ((ReadOnlyMemory<byte>)Bytes(entry.Name), entry.Ino)));

    private static byte[] Bytes(string name) => System.Text.Encoding.UTF8.GetBytes(name);
}
