using EphemeralFs.Tests.Model;
using EphemeralFs.Tests.Model.Trees;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>A tree of 8,000 files on tmpfs, made once.</summary>
public sealed class SourceTree : IDisposable
{
    public const int FileCount = 8_000;

    private readonly ReferenceDirectory directory = new();

    public SourceTree() => GeneratedTree.Create(Location, FileCount, seed: 20_260_101);

    public string Location => Path.Combine(directory.Location, "tree");

    /// <summary>A path beside the tree, for archives of it.</summary>
    public string Beside(string name) => Path.Combine(directory.Location, name);

    public void Dispose() => directory.Dispose();
}

/// <summary>Programs that move whole trees with all their attributes. What arrives is compared with the tree on tmpfs, to the nanosecond.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class ArchiveTests(VolumeFixture volume, SourceTree source) : IClassFixture<SourceTree>
{
    private static readonly TreeOptions Everything = new() { FileTimes = TimeRule.Exact, DirectoryTimes = TimeRule.Exact };

    [Fact]
    public void Tar_extracts_and_reads_8000_files()
    {
        Tool.Require("tar");
        using var sides = volume.NewSides("tar");
        string archive = source.Beside("tree.tar"), again = source.Beside("again.tar");
        new Command(source.Location, 120, "tar", "--sort=name", "--xattrs", "--xattrs-include=*", "-S", "-cf", archive, ".").Run().MustSucceed();
        new Command(sides.Subject, 300, "tar", "--xattrs", "--xattrs-include=*", "-S", "--numeric-owner", "-xpf", archive).Run().MustSucceed();
        Sides.MustBeEqual(source.Location, sides.Subject, Everything);
        // And back: an archive made from the volume is compared by tar itself with the tree on tmpfs.
        new Command(sides.Subject, 300, "tar", "--sort=name", "--xattrs", "--xattrs-include=*", "-cf", again, ".").Run().MustSucceed();
        new Command(source.Location, 300, "tar", "--xattrs", "--compare", "-f", again).Run().MustSucceed();
        File.Delete(archive);
        File.Delete(again);
    }

    [Fact]
    public void Cp_copies_8000_files_there_and_within()
    {
        Tool.Require("cp");
        using var sides = volume.NewSides("cp");
        new Command(sides.Subject, 300, "cp", "-a", source.Location, "there").Run().MustSucceed();
        Sides.MustBeEqual(source.Location, Path.Combine(sides.Subject, "there"), Everything);
        // Within the volume cp uses copy_file_range and SEEK_DATA. The directory copied into keeps no time of its own, so it gets one.
        string within = "cp -a \"$from/d0001\" \"$from/sparse\" \"$from/odd names\" . && touch -d @1000000000 .";
        Command.Script(sides.Subject, 300, $"from=there; {within}").MustSucceed();
        Command.Script(sides.Reference, 300, $"mkdir there; from='{source.Location}'; {within}").MustSucceed();
        Sides.MustBeEqual(sides.Reference, sides.Subject, Everything with { Skip = path => path == "there" });
    }

    [Fact]
    public void Rsync_transfers_8000_files_and_then_nothing()
    {
        Tool.Require("rsync");
        using var sides = volume.NewSides("rsync");
        string[] arguments = ["-aHXS", "--numeric-ids", $"{source.Location}/", "tree/"];
        new Command(sides.Subject, 400, "rsync", arguments).Run().MustSucceed();
        Sides.MustBeEqual(source.Location, Path.Combine(sides.Subject, "tree"), Everything);
        // A second run finds nothing to do: sizes, times, owners, links and xattrs read back as they were set.
        Assert.Equal("", new Command(sides.Subject, 200, "rsync", ["-ni", .. arguments]).Run().MustSucceed());
    }
}
