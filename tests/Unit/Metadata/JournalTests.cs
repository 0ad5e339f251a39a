using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using FileMode = System.IO.FileMode;

namespace EphemeralFs.Tests.Unit.Metadata;

public sealed class JournalTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("metadata-journal-").FullName;

    private string VolumePath => Path.Combine(_directory, "v");

    public void Dispose() => Directory.Delete(_directory, true);

    [Fact]
    public void A_tail_torn_at_any_byte_costs_only_the_record_it_tears()
    {
        List<(long Length, byte[] Dump)> states = [];
        string journal;
        using (var volume = new JournaledVolume(VolumePath))
        {
            journal = volume.JournalPath;
            var session = volume.BeginSession();
            Make(volume, session, "first");
            states.Add((volume.Store.Journal.Length, Snapshot.Dump(volume.State)));
            Make(volume, session, "second");
            states.Add((volume.Store.Journal.Length, Snapshot.Dump(volume.State)));
            Make(volume, session, "third");
            states.Add((volume.Store.Journal.Length, Snapshot.Dump(volume.State)));
        }

        var whole = File.ReadAllBytes(journal);
        for (var length = states[0].Length; length <= whole.Length; length++)
        {
            File.WriteAllBytes(journal, whole[..(int)length]);
            using (var volume = new JournaledVolume(VolumePath))
            {
                var expected = states.Last(s => s.Length <= length);
                Assert.Equal(expected.Dump, Snapshot.Dump(volume.State));

                // What follows goes behind the last whole record.
                Assert.Equal(expected.Length, volume.Store.Journal.Length);
                Make(volume, volume.State.Sessions.Values.Single(), "after");
                Assert.Equal(Snapshot.Dump(volume.State), volume.Replayed());
            }
        }
    }

    [Fact]
    public void A_damaged_byte_in_the_middle_refuses_the_start()
    {
        string journal;
        long end;
        using (var volume = new JournaledVolume(VolumePath))
        {
            journal = volume.JournalPath;
            var session = volume.BeginSession();
            Make(volume, session, "first");
            end = volume.Store.Journal.Length;
            Make(volume, session, "second");
        }

        var whole = File.ReadAllBytes(journal);
        for (var i = 0; i < end; i++)
        {
            var damaged = (byte[])whole.Clone();
            damaged[i] ^= 0x41;
            File.WriteAllBytes(journal, damaged);
            var error = Assert.Throws<DamagedStateException>(() => new JournaledVolume(VolumePath));
            Assert.Contains(journal, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Zeros_and_rubbish_behind_the_last_record_are_cut_off()
    {
        string journal;
        byte[] dump;
        using (var volume = new JournaledVolume(VolumePath))
        {
            journal = volume.JournalPath;
            Make(volume, volume.BeginSession(), "first");
            dump = Snapshot.Dump(volume.State);
        }

        var whole = File.ReadAllBytes(journal);
        var rubbish = new byte[3000];
        new Random(3).NextBytes(rubbish);
        foreach (var tail in new[] { new byte[5000], rubbish })
        {
            File.WriteAllBytes(journal, [.. whole, .. tail]);
            using var volume = new JournaledVolume(VolumePath);
            Assert.Equal(dump, Snapshot.Dump(volume.State));
            Assert.Equal(whole.Length, new FileInfo(journal).Length);
        }
    }

    [Fact]
    public void A_damaged_snapshot_refuses_the_start_when_nothing_can_replace_it()
    {
        using (var volume = new JournaledVolume(VolumePath))
        {
            Make(volume, volume.BeginSession(), "first");
            volume.Store.Checkpoint(volume.State);
        }

        var snapshot = Assert.Single(Directory.GetFiles(VolumePath));
        var whole = File.ReadAllBytes(snapshot);
        for (var i = 0; i < whole.Length; i += 7)
        {
            var damaged = (byte[])whole.Clone();
            damaged[i] ^= 1;
            File.WriteAllBytes(snapshot, damaged);
            Assert.Throws<DamagedStateException>(() => new JournaledVolume(VolumePath));
        }

        File.WriteAllBytes(snapshot, whole[..^1]);
        Assert.Throws<DamagedStateException>(() => new JournaledVolume(VolumePath));
        File.WriteAllBytes(snapshot, whole);
        using var again = new JournaledVolume(VolumePath);
        Assert.Equal(1UL, again.State.UsedInodes);
    }

    [Fact]
    public void A_snapshot_that_was_not_finished_is_as_if_it_was_not_begun()
    {
        using var volume = new JournaledVolume(VolumePath);
        Make(volume, volume.BeginSession(), "first");
        File.WriteAllBytes(Path.Combine(VolumePath, "snapshot-0000000000000002.tmp"), [1, 2, 3]);
        Assert.Equal(Snapshot.Dump(volume.State), volume.Replayed());

        // Renamed, but the old files were not deleted yet.
        var copy = Path.Combine(_directory, "w");
        volume.CopyTo(copy);
        Snapshot.WriteFile(Path.Combine(copy, "snapshot-0000000000000002"), volume.State, 2, volume.Store.Journal.NextRecord);
        using var again = new JournaledVolume(copy);
        Assert.Equal(Snapshot.Dump(volume.State), Snapshot.Dump(again.State));
        Make(again, again.State.Sessions.Values.Single(), "second");
        Assert.Equal(Snapshot.Dump(again.State), again.Replayed());
    }

    [Fact]
    public async Task A_missing_segment_refuses_the_start()
    {
        using (var volume = new JournaledVolume(VolumePath, snapshotAfterBytes: 1))
        {
            var session = volume.BeginSession();
            Make(volume, session, "first");
            await volume.Store.CompactionAsync();
            Make(volume, session, "second");
            await volume.Store.CompactionAsync();
        }

        var newest = Directory.GetFiles(VolumePath, "journal-*").Max()!;
        File.Move(newest, newest[..^1] + "9");
        Assert.Throws<DamagedStateException>(() => new JournaledVolume(VolumePath));
    }

    [Fact]
    public void Another_format_is_refused_by_name()
    {
        using (new JournaledVolume(VolumePath))
        {
        }

        var journal = Assert.Single(Directory.GetFiles(VolumePath, "journal-*"));
        using (var file = new FileStream(journal, FileMode.Open))
        {
            var header = new byte[40];
            file.ReadExactly(header);
            header[4] = 9;
            BitConverter.TryWriteBytes(header.AsSpan(36), Crc32C.Compute(header.AsSpan(0, 36)));
            file.Position = 0;
            file.Write(header);
        }

        Assert.Contains("format 9", Assert.Throws<DamagedStateException>(() => new JournaledVolume(VolumePath)).Message, StringComparison.Ordinal);
    }

    private static void Make(JournaledVolume volume, SessionState session, string name)
    {
        if (session.Inodes.Ranges.Count == 0)
        {
            var (opcode, grant) = RandomRequests.Encode<AcquireGrantRequest, AcquireGrantReply>(new(0, 100, 0));
            Assert.Equal(Status.OK, volume.Execute(session, opcode, grant));
        }

        var range = session.Inodes.Ranges[0];
        var ino = Enumerable.Range(0, (int)range.Count).Select(i => range.First + (ulong)i).First(range.Has);
        var (mknod, head) = RandomRequests.Encode<MknodRequest, NameReply>(
            new(Ino.Root, ino, TestVolume.Name(name), TestVolume.FileBits, 0, 0, 0, default));
        Assert.Equal(Status.OK, volume.Execute(session, mknod, head));
        Assert.Equal(Opcode.Mknod, mknod);
    }
}
