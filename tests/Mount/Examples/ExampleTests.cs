using EphemeralFs.Tests.Mount.Cli;

namespace EphemeralFs.Tests.Mount.Examples;

/// <summary>Every example runs by its one command and leaves nothing behind.</summary>
public sealed class ExampleTests
{
    /// <summary>Seconds for one example, on a loaded machine.</summary>
    private const int Patience = 240;

    public static TheoryData<string> All => [.. Directory.EnumerateFiles(Folder, "*.sh").Select(path => Path.GetFileName(path)).Order()];

    private static string Folder => Path.Combine(Path.GetDirectoryName(CliHome.Launcher)!, "examples");

    [Theory]
    [MemberData(nameof(All))]
    public void It_runs(string name)
    {
        string scratch = Directory.CreateTempSubdirectory("efsex").FullName;
        CommandResult result = new Command(scratch, Patience, Path.Combine(Folder, name))
            .With("EPHEMERALFS", CliHome.Program).With("TMPDIR", scratch).Run();
        result.MustSucceed();
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        Directory.Delete(scratch);
    }
}
