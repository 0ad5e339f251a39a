using EphemeralFs.Controller.Journaling;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Controller;

public sealed class ControlJournalTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("efs-journal").FullName;

    private string File => Path.Combine(_directory, ControlJournal.FileName);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void What_was_appended_is_read_again()
    {
        ControlRecord[] records =
        [
            new(ControlRecordKind.Server, 1, ServerRole.Storage, "storage-1", "unix:/x.sock"),
            new(ControlRecordKind.Volume, 7, Name: "tmp", Server: "metadata-1", LimitBytes: ulong.MaxValue, LimitInodes: 3),
            new(ControlRecordKind.VolumeRemoved, 7),
        ];
        using (var journal = ControlJournal.Open(_directory))
        {
            journal.Append(records[0]);
            journal.Append(records[1..]);
        }

        using var again = ControlJournal.Open(_directory);
        Assert.Equal(records, again.Records);
        Assert.Equal(0, again.CutBytes);
    }

    [Fact]
    public void A_file_cut_at_any_byte_keeps_all_whole_records_and_can_be_appended_to()
    {
        var ends = new List<long>();
        using (var journal = ControlJournal.Open(_directory))
        {
            ends.Add(new FileInfo(File).Length);
            for (uint i = 1; i <= 3; i++)
            {
                journal.Append(new ControlRecord(ControlRecordKind.Volume, i, Name: $"volume-{i}"));
                ends.Add(new FileInfo(File).Length);
            }
        }

        var whole = System.IO.File.ReadAllBytes(File);
        for (var length = 0; length <= whole.Length; length++)
        {
            System.IO.File.WriteAllBytes(File, whole[..length]);
            var expected = Math.Max(0, ends.Count(end => end <= length) - 1);
            using (var cut = ControlJournal.Open(_directory))
            {
                Assert.Equal(expected, cut.Records.Count);
                cut.Append(new ControlRecord(ControlRecordKind.Volume, 99, Name: "after"));
            }

            using var after = ControlJournal.Open(_directory);
            Assert.Equal(expected + 1, after.Records.Count);
            Assert.Equal("after", after.Records[^1].Name);
            Assert.Equal(0, after.CutBytes);
        }
    }

    [Fact]
    public void A_flipped_bit_ends_the_journal_there()
    {
        using (var journal = ControlJournal.Open(_directory))
        {
            journal.Append(new ControlRecord(ControlRecordKind.Volume, 1, Name: "first"));
            journal.Append(new ControlRecord(ControlRecordKind.Volume, 2, Name: "second"));
        }

        var bytes = System.IO.File.ReadAllBytes(File);
        bytes[^3] ^= 1;
        System.IO.File.WriteAllBytes(File, bytes);
        using var damaged = ControlJournal.Open(_directory);
        Assert.Equal(["first"], damaged.Records.Select(r => r.Name));
        Assert.NotEqual(0, damaged.CutBytes);
    }

    [Fact]
    public void Another_file_is_refused_and_left_alone()
    {
        System.IO.File.WriteAllText(File, "a diary, not a journal");
        Assert.Throws<InvalidDataException>(() => ControlJournal.Open(_directory));
        Assert.Equal("a diary, not a journal", System.IO.File.ReadAllText(File));
    }

    [Fact]
    public void A_second_user_is_refused()
    {
        using var first = ControlJournal.Open(_directory);
        Assert.ThrowsAny<IOException>(() => ControlJournal.Open(_directory));
    }

    [Fact]
    public void Rewriting_replaces_everything()
    {
        using (var journal = ControlJournal.Open(_directory))
        {
            journal.Append(new ControlRecord(ControlRecordKind.Volume, 1, Name: "old"));
        }

        ControlJournal.Rewrite(_directory, [new ControlRecord(ControlRecordKind.LastVolumeId, 1)]);
        using var again = ControlJournal.Open(_directory);
        Assert.Equal(new ControlRecord(ControlRecordKind.LastVolumeId, 1), Assert.Single(again.Records));
        Assert.Equal([File], Directory.GetFiles(_directory));
    }
}
