using EphemeralFs.Client.Leases;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>What the kernel is told with a time-out, and how recalls and answers pass each other.</summary>
public sealed class LeaseTableTests : IDisposable
{
    private const ulong Directory = 7;
    private const ulong File = 8;
    private const FrameFlags Sole = FrameFlags.AttributesLeased | FrameFlags.NamesSole;

    private readonly ZeroedMemory _memory = new();
    private readonly LeaseTable _table;

    public LeaseTableTests() => _table = Successor();

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void What_is_leased_is_told_with_a_time_out()
    {
        using (var telling = _table.Tell(_table.Ask().With(Sole)))
        {
            Assert.Equal(Limits.KernelLeaseMs, telling.NameMs(Directory, "a"u8, File));
            Assert.Equal(Limits.KernelLeaseMs, telling.AttributesMs(File));
        }

        using (var telling = _table.Tell(_table.Ask().With(FrameFlags.NamesShared)))
        {
            Assert.Equal(Limits.SharedNamesMs, telling.NameMs(Directory, "b"u8, File));
            Assert.Equal(0, telling.AttributesMs(9));
        }

        using (var telling = _table.Tell(LeaseOffer.None))
        {
            Assert.Equal(0, telling.NameMs(Directory, "c"u8, File));
        }

        Assert.True(_table.MayUse(File) && _table.IsOnItsWay(File));
        Assert.False(_table.MayUse(9) || _table.IsOnItsWay(9));
        Assert.True(_table.NameUntilMs(Directory, "a"u8) > Environment.TickCount64);
        Assert.Equal(0, _table.NameUntilMs(Directory, "c"u8));
    }

    [Fact]
    public void An_answer_that_a_recall_has_overtaken_is_told_without()
    {
        var name = _table.Ask().With(Sole);
        Assert.True(_table.BeginRecall([(Directory, "a"u8.ToArray())], []).IsCompleted);
        var attributes = _table.Ask().With(Sole);
        Assert.True(_table.BeginRecall([], [File]).IsCompleted);
        using (var telling = _table.Tell(name))
        {
            Assert.Equal(0, telling.NameMs(Directory, "a"u8, File));
            Assert.Equal(0, telling.AttributesMs(File));
            Assert.Equal(Limits.KernelLeaseMs, telling.NameMs(Directory + 2, "a"u8, File));
        }

        using (var telling = _table.Tell(attributes))
        {
            Assert.Equal(Limits.KernelLeaseMs, telling.NameMs(Directory, "a"u8, File));
            Assert.Equal(0, telling.AttributesMs(File));
        }

        var old = _table.Ask().With(Sole);
        Assert.True(_table.BeginRecallOfEverything().IsCompleted);
        using (var telling = _table.Tell(old))
        {
            Assert.Equal(0, telling.AttributesMs(12345));
        }
    }

    [Fact]
    public async Task A_recall_waits_for_answers_that_are_being_told_and_for_no_later_ones()
    {
        var before = _table.Tell(_table.Ask().With(Sole));
        var recall = _table.BeginRecall([], [File]);
        var after = _table.Tell(_table.Ask().With(Sole));
        Assert.False(recall.IsCompleted);
        before.Dispose();
        await recall.WaitAsync(TimeSpan.FromSeconds(30));
        after.Dispose();
        Assert.True(_table.BeginRecall([], [File]).IsCompleted);
    }

    [Fact]
    public void An_old_answer_is_told_without()
    {
        var old = _table.Ask().With(Sole) with { AskedMs = Environment.TickCount64 - Limits.LeaseAnswerMs - 1 };
        using var telling = _table.Tell(old);
        Assert.Equal((0, 0), (telling.NameMs(Directory, "a"u8, File), telling.AttributesMs(File)));
    }

    [Fact]
    public void A_name_that_the_kernel_takes_along_counts_as_told()
    {
        using (var telling = _table.Tell(_table.Ask().With(Sole)))
        {
            telling.NameMs(Directory, "a"u8, File);
        }

        var untilMs = _table.NameUntilMs(Directory, "a"u8);
        Assert.True(untilMs > Environment.TickCount64);
        for (var times = 0; times < 3; times++)
        {
            _table.Move(Directory, "a"u8, Directory + 1, "n"u8).Dispose();
            _table.Move(Directory + 1, "n"u8, Directory, "a"u8).Dispose();
        }

        Assert.Equal((untilMs, untilMs), (_table.NameUntilMs(Directory, "a"u8), _table.NameUntilMs(Directory + 1, "n"u8)));
    }

    /// <summary>A look-up of a name that is being renamed may be answered before, and the kernel takes the time-out along to a name that nobody noted.</summary>
    [Fact]
    public void A_name_that_is_being_renamed_is_told_without_a_time_out()
    {
        var asked = _table.Ask().With(Sole);
        using (_table.Move(Directory, "a"u8, Directory, "b"u8))
        {
            using var inBetween = _table.Tell(_table.Ask().With(Sole));
            Assert.Equal((0, 0), (inBetween.NameMs(Directory, "a"u8, File), inBetween.NameMs(Directory, "b"u8, File)));
            using (_table.Move(Directory, "a"u8, Directory, "c"u8))
            {
            }

            Assert.Equal(0, inBetween.NameMs(Directory, "b"u8, File));
        }

        for (var again = 0; again < 3; again++)
        {
            _table.Move(Directory, "a"u8, Directory, "b"u8).Dispose(); // many in one millisecond
        }

        using var late = _table.Tell(asked);
        Assert.Equal((0, 0), (late.NameMs(Directory, "a"u8, File), late.NameMs(Directory, "b"u8, File)));
        Assert.NotEqual(0, late.NameMs(Directory, "d"u8, File));
    }

    [Fact]
    public void A_successor_knows_what_was_told()
    {
        using (var telling = _table.Tell(_table.Ask().With(Sole)))
        {
            telling.NameMs(Directory, "a"u8, File);
            telling.AttributesMs(File);
        }

        var successor = Successor();
        Assert.True(successor.MayUse(File));
        Assert.False(successor.MayUse(File + 1));
        Assert.True(successor.NameUntilMs(Directory, "a"u8) > Environment.TickCount64);
        Assert.Equal(0, successor.NameUntilMs(Directory, "b"u8));
        Assert.Equal("a"u8.ToArray(), Assert.Single(successor.Everything().Names).Name);
        Assert.Equal(0, successor.Everything().UnknownUntilMs);
    }

    [Fact]
    public void A_successor_assumes_that_what_the_log_has_lost_was_told()
    {
        using (var telling = _table.Tell(_table.Ask().With(Sole)))
        {
            // Names of every length, so that the ring ends in a gap of every size.
            for (var i = 0; i < 100_000; i++)
            {
                telling.NameMs(Directory, System.Text.Encoding.ASCII.GetBytes(new string('n', i % 200) + i), File);
            }

            telling.NameMs(Directory, "last"u8, File);
        }

        var successor = Successor();
        var everything = successor.Everything();
        Assert.True(everything.UnknownUntilMs > Environment.TickCount64);
        Assert.True(successor.MayUse(File));
        Assert.Contains(everything.Names, name => name.Name.AsSpan().SequenceEqual("last"u8));
        Assert.All(everything.Names, name => Assert.Equal(Directory, name.Parent));
        Assert.InRange(everything.Names.Count, LeaseLog.Bytes / 256, 100_000);
        Assert.Equal(0, _table.Everything().UnknownUntilMs);
    }

    [Fact]
    public void Everything_is_what_was_told()
    {
        using (var telling = _table.Tell(_table.Ask().With(Sole)))
        {
            telling.NameMs(Directory, "a"u8, File);
            telling.NameMs(Directory, "b"u8, File);
            telling.NameMs(Directory, "a"u8, File);
            telling.AttributesMs(File);
        }

        var everything = _table.Everything();
        Assert.Equal([File], everything.Inodes);
        Assert.Equal(["a", "b"], everything.Names.Select(name => System.Text.Encoding.UTF8.GetString(name.Name)).Order());
        Assert.All(everything.Names, name => Assert.True(name.Parent == Directory && name.UntilMs > Environment.TickCount64));
    }

    [Fact]
    public void What_the_kernel_takes_a_name_for_is_what_it_was_told_last()
    {
        using (var nothing = _table.Move(Directory, "c"u8, Directory, "d"u8))
        {
            Assert.Equal((0UL, 0UL, 0L), (nothing.Believed, nothing.NewBelieved, _table.NameUntilMs(Directory, "d"u8))); // nothing was told
        }

        var offer = _table.Ask().With(FrameFlags.NamesSole);
        using (var telling = _table.Tell(offer))
        {
            telling.NameMs(Directory, "a"u8, File);
        }

        Assert.Equal((File, 0UL), Move());
        Assert.InRange(_table.NameUntilMs(Directory, "b"u8), _table.NameUntilMs(Directory, "a"u8), long.MaxValue);
        using (var telling = _table.Tell(offer))
        {
            telling.NameMs(Directory, "b"u8, File + 1);
        }

        Assert.Equal((File, File + 1), Move());
        _table.Believe(Directory, "b"u8, File);
        _table.Believe(Directory, "a"u8, 0);
        Assert.Equal((0UL, File), Move());
        using (var telling = _table.Tell(LeaseOffer.None))
        {
            Assert.Equal(0, telling.NameMs(Directory, "b"u8, File + 2)); // without a time-out
        }

        Assert.Equal((0UL, File + 2), Move());

        (ulong Believed, ulong NewBelieved) Move()
        {
            using var moving = _table.Move(Directory, "a"u8, Directory, "b"u8);
            return (moving.Believed, moving.NewBelieved);
        }
    }

    [Fact]
    public void A_rename_that_was_refused_waits_until_the_kernel_believes_nothing()
    {
        using (var telling = _table.Tell(_table.Ask().With(Sole)))
        {
            telling.NameMs(Directory, "a"u8, File);
        }

        using (var first = _table.Move(Directory, "a"u8, Directory, "b"u8))
        {
            Assert.Equal((File, 0L), (first.Believed, first.WaitMs));
            first.Refused();
        }

        using var second = _table.Move(Directory, "a"u8, Directory, "b"u8);
        Assert.Equal(0UL, second.Believed);
        Assert.InRange(second.WaitMs, 1, _table.NameUntilMs(Directory, "a"u8) - Environment.TickCount64 + 1000);
        using var other = _table.Move(Directory, "a"u8, Directory, "c"u8);
        Assert.Equal((File, 0L), (other.Believed, other.WaitMs));
    }

    [Fact]
    public void Memory_is_bounded_and_what_does_not_fit_is_told_without()
    {
        using var telling = _table.Tell(_table.Ask().With(Sole));
        var told = 0;
        for (ulong ino = 1; ino <= 300_000; ino++)
        {
            told += telling.AttributesMs(ino) > 0 ? 1 : 0;
            told += telling.NameMs(Directory, BitConverter.GetBytes(ino), ino) > 0 ? 1 : 0;
        }

        Assert.Equal(1 << 19, told);
        Assert.True(_table.Count <= 1 << 19);
    }

    private LeaseTable Successor() => new(new LeaseLog(_memory.Map()), () => Limits.KernelLeaseMs);
}
