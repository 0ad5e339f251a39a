using EphemeralFs.Metadata.Locks;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Locks;

/// <summary>Random operations on the table and on <see cref="LockModel"/> side by side. The seed in a failure's name reproduces it.</summary>
public sealed class LockTableModelTests
{
    private const int Inodes = 3;
    private const int Bytes = 24;
    private const int Steps = 1500;

    [Theory]
    [InlineData(1, 2, 2)]
    [InlineData(2, 2, 2)]
    [InlineData(3, 3, 3)]
    [InlineData(4, 3, 3)]
    [InlineData(5, 4, 2)]
    [InlineData(6, 1, 6)]
    public void TableEqualsModel(int seed, int sessions, int ownersPerSession)
    {
        var random = new Random(seed);
        var table = new LockTable();
        var model = new LockModel(Inodes, Bytes);
        var outcomes = new HashSet<LockOutcome>();
        for (var step = 0; step < Steps; step++)
        {
            var owner = new LockOwner((ulong)random.Next(sessions) + 1, (ulong)random.Next(ownersPerSession));
            var granted = new List<LockTicket>();
            var expected = new List<LockTicket>();
            var kind = random.Next(100);
            if (kind < 88)
            {
                outcomes.Add(SetBoth(random, table, model, owner, granted, expected));
            }
            else if (kind < 94)
            {
                GetBoth(random, table, model, owner);
            }
            else if (kind < 97 && model.Waiters.Count > 0)
            {
                var ticket = model.Waiters[random.Next(model.Waiters.Count)];
                Assert.True(table.Cancel(ticket));
                model.Cancel(ticket);
            }
            else if (kind < 99)
            {
                var dropped = new List<LockTicket>();
                var own = model.Waiters.Where(w => w.Owner.Session == owner.Session).ToArray();
                table.ReleaseSession(owner.Session, granted, dropped);
                model.ReleaseSession(owner.Session, expected);
                Assert.Equal(own, dropped.Select(Shrink));
                // Across inodes only the order within each is the model's.
                Assert.Equal(expected.OrderBy(t => t.Id), granted.Select(Shrink));
                expected.Clear();
                granted.Clear();
            }
            else
            {
                var ino = random.Next(Inodes);
                var dropped = new List<LockTicket>();
                var waiting = model.Waiters.Where(w => w.Ino == (ulong)ino).ToArray();
                table.ReleaseInode((ulong)ino, dropped);
                model.ReleaseInode(ino);
                Assert.Equal(waiting, dropped.Select(Shrink));
            }

            Assert.Equal(expected, granted.Select(Shrink));
            Compare(step, table, model);
        }

        // The run is worth something only if it saw every outcome.
        Assert.Equal([LockOutcome.Granted, LockOutcome.Conflict, LockOutcome.Deadlock, LockOutcome.Queued], outcomes.Order());
    }

    private static LockOutcome SetBoth(
        Random random, LockTable table, LockModel model, LockOwner owner, List<LockTicket> granted, List<LockTicket> expected)
    {
        var ino = random.Next(Inodes);
        var flock = random.Next(5) == 0;
        var wait = random.Next(3) == 0;
        var range = RandomRange(random, (LockType)random.Next(3), flock);
        var outcome = table.Set((ulong)ino, owner, flock, Stretch(range), wait, out var ticket, granted);
        Assert.Equal(outcome == LockOutcome.Queued, ticket.Id != 0);
        Assert.Equal(model.Set(ino, owner, flock, range, wait, ticket with { Range = range }, expected), outcome);
        return outcome;
    }

    private static void GetBoth(Random random, LockTable table, LockModel model, LockOwner owner)
    {
        var ino = random.Next(Inodes);
        var range = RandomRange(random, (LockType)random.Next(2), false);
        var found = table.TryGetConflict((ulong)ino, owner, Stretch(range), out var holder, out var conflict);
        var first = model.First(ino, owner, range);
        Assert.Equal(first, found ? (holder, conflict.Start) : null);
    }

    private static LockRange RandomRange(Random random, LockType type, bool flock)
    {
        var start = random.Next(Bytes);
        var end = random.Next(4) == 0 ? Bytes - 1 : random.Next(start, Bytes);
        return flock ? new LockRange(type, 0, Bytes - 1, 0) : new LockRange(type, (ulong)start, (ulong)end, 0);
    }

    /// <summary>The model's last byte stands for everything up to the end of the file.</summary>
    private static LockRange Stretch(LockRange range) => range.End == Bytes - 1 ? range with { End = LockTable.EndOfFile } : range;

    private static LockRange Shrink(LockRange range) => range.End == LockTable.EndOfFile ? range with { End = Bytes - 1 } : range;

    private static LockTicket Shrink(LockTicket ticket) => ticket with { Range = Shrink(ticket.Range) };

    private static void Compare(int step, LockTable table, LockModel model)
    {
        var held = table.Held().ToArray();
        var actual = held.Select(h => ((int)h.Ino, h.Owner, h.Flock, h.Range.Type, (int)h.Range.Start, (int)Shrink(h.Range).End));
        Assert.True(model.Held().SequenceEqual(actual), $"step {step}: held locks differ");
        Assert.Equal(held.Length, table.HeldCount);
        Assert.Equal(model.Waiters.Count, table.WaiterCount);
        for (var i = 0; i < held.Length; i++)
        {
            for (var j = i + 1; j < held.Length; j++)
            {
                var (a, b) = (held[i], held[j]);
                var conflict = a.Ino == b.Ino && a.Flock == b.Flock && a.Owner != b.Owner
                    && (a.Range.Type == LockType.Write || b.Range.Type == LockType.Write)
                    && a.Range.Start <= b.Range.End && b.Range.Start <= a.Range.End;
                Assert.False(conflict, $"step {step}: {a} and {b} conflict");
            }
        }
    }
}
