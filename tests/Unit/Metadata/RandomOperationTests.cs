using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>Random operations of several sessions: the invariants hold after each, refused ones change nothing, and the journal gives the same state again.</summary>
public sealed class RandomOperationTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("metadata-random-").FullName;

    public void Dispose() => Directory.Delete(_directory, true);

    [Theory]
    [InlineData(1, 0UL, 0UL)]
    [InlineData(2, 100UL, 0UL)]
    [InlineData(3, 40UL, 20UL)]
    [InlineData(4, 0UL, 8UL)]
    [InlineData(5, 300UL, 0UL)]
    public async Task State_is_sound_and_comes_back(int seed, ulong limitPages, ulong limitInodes)
    {
        var random = new Random(seed);
        var requests = new RandomRequests(random);
        using var volume = new JournaledVolume(
            Path.Combine(_directory, "v"), limitPages * Limits.PageSizeBytes, limitInodes, snapshotAfterBytes: 20_000);
        List<SessionState> sessions = [volume.BeginSession(), volume.BeginSession()];
        var succeeded = new Dictionary<Opcode, int>();
        for (var step = 0; step < 4000; step++)
        {
            var session = sessions[random.Next(sessions.Count)];
            switch (random.Next(200))
            {
                case 0 when sessions.Count > 1:
                    volume.EndSession(session);
                    sessions.Remove(session);
                    break;
                case 1:
                    sessions.Add(volume.BeginSession());
                    break;
                case 2 when volume.State.Blocks.DeleteQueues.Count > 0:
                    var (server, queue) = volume.State.Blocks.DeleteQueues.First();
                    volume.DeleteBlocks(server, random.Next(queue.Count) + 1);
                    break;
                default:
                    var (opcode, head) = requests.Next(volume.State, session);
                    var before = step % 10 == 0 && opcode != Opcode.SetLock ? Snapshot.Dump(volume.State) : null;
                    var status = volume.Execute(session, opcode, head, (uint)random.Next(20));
                    if (status == Status.OK)
                    {
                        succeeded[opcode] = succeeded.GetValueOrDefault(opcode) + 1;
                    }
                    else if (before is not null)
                    {
                        Assert.Equal(before, Snapshot.Dump(volume.State));
                    }

                    break;
            }

            if (step % 5 == 0)
            {
                Invariants.Check(volume.State);
            }

            if (step % 500 == 499)
            {
                await volume.Store.CompactionAsync();
                Assert.Equal(Snapshot.Dump(volume.State), volume.Replayed());
            }
        }

        // Every kind of operation must have taken part, or the sequence proves nothing.
        foreach (var row in OperationTable.Rows.Where(r => r.Mutates))
        {
            Assert.True(succeeded.GetValueOrDefault(row.Opcode) > 0, $"{row.Opcode} never succeeded");
        }

        Assert.True(volume.Store.Journal.Number > 2, "no snapshot was made");
        volume.Store.Checkpoint(volume.State);
        Assert.Single(Directory.GetFiles(volume.DirectoryPath));
        Assert.Equal(Snapshot.Dump(volume.State), volume.Replayed());
    }

    [Fact]
    public void Hostile_messages_are_refused_and_change_nothing()
    {
        var random = new Random(99);
        var requests = new RandomRequests(random);
        using var volume = new JournaledVolume(Path.Combine(_directory, "v"));
        var session = volume.BeginSession();
        for (var i = 0; i < 300; i++)
        {
            var (opcode, head) = requests.Next(volume.State, session);
            volume.Execute(session, opcode, head);
        }

        foreach (var row in OperationTable.Rows)
        {
            for (var i = 0; i < 400; i++)
            {
                byte[] head;
                if (i % 2 == 0)
                {
                    head = new byte[random.Next(200)];
                    random.NextBytes(head);
                }
                else
                {
                    // A good request of any kind with some bytes changed, or cut.
                    head = requests.Next(volume.State, session).Head;
                    for (var n = random.Next(4); n >= 0 && head.Length > 0; n--)
                    {
                        head[random.Next(head.Length)] = (byte)(random.Next(3) == 0 ? 0xFF : random.Next(256));
                    }

                    head = head[..random.Next(head.Length + 1)];
                }

                volume.Execute(session, row.Opcode, head);
            }

            Invariants.Check(volume.State);
        }

        Assert.Equal(Snapshot.Dump(volume.State), volume.Replayed());
    }
}
