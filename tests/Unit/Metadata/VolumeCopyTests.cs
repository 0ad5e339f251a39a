using System.Globalization;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>A copy of a volume has what can be found by name, refers to the same blocks and is a volume like any other.</summary>
public sealed class VolumeCopyTests : IDisposable
{
    private const uint CopyId = 3;
    private readonly string _directory = Directory.CreateTempSubdirectory("metadata-copy-").FullName;

    public void Dispose() => Directory.Delete(_directory, true);

    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(13)]
    public void A_copy_has_what_has_a_name_and_nothing_of_any_session(int seed)
    {
        using var source = Busy(seed, steps: 1500);
        var unnamed = source.State.Inodes.Sorted().Where(i => i.Attributes.Nlink == 0).ToArray();
        Assert.True(unnamed.Length > 0 && source.State.Locks.HeldCount > 0 && source.State.GrantedBytes > 0, "the seed leaves nothing out");
        var before = Snapshot.Dump(source.State);
        using var copy = source.Copy(Path.Combine(_directory, "copy"), CopyId);
        Assert.Equal(before, Snapshot.Dump(source.State));
        Invariants.Check(copy.State);
        Assert.Equal(Described(source.State), Described(copy.State));
        Assert.Equal(source.State.NextIno, copy.State.NextIno);
        Assert.Equal((0, 0, 0UL, 0), (copy.State.Sessions.Count, copy.State.Locks.HeldCount, copy.State.GrantedBytes, copy.State.Blocks.DeleteQueues.Count));
        Assert.Equal(copy.State.Blocks.Count, copy.State.Blocks.CountOfOthers);
        Assert.True(copy.State.Blocks.Count > 0);
    }

    [Fact]
    public void What_the_journal_gives_again_is_the_copy_at_every_record()
    {
        using var source = Busy(21, steps: 600);
        using var copy = source.Copy(Path.Combine(_directory, "copy"), CopyId);
        List<(long Length, byte[] Dump)> states = [(copy.Store.Journal.Length, Snapshot.Dump(copy.State))];
        var requests = new RandomRequests(new Random(22));
        var session = copy.BeginSession();
        var others = copy.State.Blocks.CountOfOthers;
        for (var step = 0; step < 600; step++)
        {
            var (opcode, head) = requests.Next(copy.State, session);
            copy.Execute(session, opcode, head);
            if (step % 20 == 0)
            {
                Invariants.Check(copy.State);
            }

            if (states[^1].Length != copy.Store.Journal.Length)
            {
                states.Add((copy.Store.Journal.Length, Snapshot.Dump(copy.State)));
            }
        }

        Assert.True(copy.State.Blocks.CountOfOthers < others && copy.State.Blocks.CountOfOthers < copy.State.Blocks.Count, "nothing was replaced");
        var queued = copy.State.Blocks.DeleteQueues.Values.SelectMany(q => q.Ids.ToArray()).ToArray();
        Assert.Contains(queued, id => BlockId.VolumeOf(id) == TestVolume.Id);
        var prefix = Path.Combine(_directory, "prefix");
        copy.CopyTo(prefix);
        var journal = Path.Combine(prefix, Path.GetFileName(copy.JournalPath));
        foreach (var (length, dump) in Enumerable.Reverse(states))
        {
            using (var file = new FileStream(journal, System.IO.FileMode.Open))
            {
                file.SetLength(length);
            }

            using var again = new JournaledVolume(prefix, id: CopyId);
            Assert.Equal(dump, Snapshot.Dump(again.State));
        }
    }

    [Fact]
    public void Blocks_that_are_left_are_those_of_files_and_queues_once_each()
    {
        var volume = new TestVolume();
        var kept = volume.File(Ino.Root, "kept");
        var cut = volume.File(Ino.Root, "cut");
        var (first, second, third) = (volume.Write(kept, 0, 9000, server: 1), volume.Write(kept, 9000, 9000, server: 2), volume.Write(cut, 0, 100, server: 2));
        Assert.Equal(Status.OK, volume.TryClone(kept, 0, cut, 20_000, 4096, out _));
        Assert.Equal(Status.OK, volume.TryFallocate(cut, 0, 100_000, 4096));
        Assert.Equal(Status.OK, volume.TryResize(kept, 9000));
        Assert.Empty(volume.State.BlocksLeft(withOwn: false));
        var left = volume.State.BlocksLeft(withOwn: true);
        Assert.Equal([1U, 2U], left.Keys);
        Assert.Equal([first], left[1].Ids.ToArray());
        Assert.Equal([second, third], left[2].Ids.ToArray().Order());
    }

    /// <summary>A volume after random operations of two sessions.</summary>
    private JournaledVolume Busy(int seed, int steps)
    {
        var volume = new JournaledVolume(Path.Combine(_directory, "source"));
        var requests = new RandomRequests(new Random(seed));
        SessionState[] sessions = [volume.BeginSession(), volume.BeginSession()];
        for (var step = 0; step < steps; step++)
        {
            var session = sessions[step % 2];
            var (opcode, head) = requests.Next(volume.State, session);
            volume.Execute(session, opcode, head, (uint)(step % 8));
        }

        return volume;
    }

    /// <summary>One line for each inode with a name: what programs can see of it, and where its bytes are.</summary>
    private static List<string> Described(VolumeState volume)
    {
        List<string> lines = [];
        foreach (var inode in volume.Inodes.Sorted().Where(i => i.Attributes.Nlink > 0))
        {
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{inode.Attributes} {Content(inode)} {string.Join(',', (inode.Extras?.Xattrs ?? []).Select(
                x => $"{Convert.ToHexString(x.Name)}={Convert.ToHexString(x.Value)}"))}"));
        }

        return lines;
    }

    private static string Content(Inode inode)
    {
        List<string> parts = [];
        switch (inode.Content)
        {
            case DirectoryContent directory:
                parts.Add($"in {directory.Parent}, next {directory.NextCookie}");
                var position = directory.PositionAfter(0);
                while (directory.TryRead(ref position, out var item))
                {
                    parts.Add($"{item.Cookie}:{Convert.ToHexString(item.Name.Span)}={item.Ino}/{item.Type}");
                }

                break;
            case FileContent file:
                parts.Add(Convert.ToHexString(file.Inline));
                for (var at = file.Extents?.Find(0) ?? default; file.Extents is not null && at.IsValid; at.Next())
                {
                    parts.Add(at.Current.ToString());
                }

                break;
            case byte[] target:
                parts.Add(Convert.ToHexString(target));
                break;
        }

        return string.Join(' ', parts);
    }
}
