namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>
/// stress-ng's file-system stressors with --verify, each for a bounded number of operations and seconds. When one fails, it is run on tmpfs
/// too, so that the failure says whether the stressor works on this machine at all. Not "io", which is sync(2): it writes back all disks of the machine.
/// </summary>
[Collection(ProgramsCollection.Name)]
public sealed class StressTests(VolumeFixture volume)
{
    [Theory]
    [InlineData("access", 100)]
    [InlineData("chdir", 500)]
    [InlineData("chmod", 300)]
    [InlineData("chown", 300)]
    [InlineData("copy-file", 200)]
    [InlineData("dentry", 1000)]
    [InlineData("dir", 500)]
    [InlineData("dirdeep", 300)]
    [InlineData("dirmany", 500)]
    [InlineData("dup", 200)]
    [InlineData("fallocate", 30)]
    [InlineData("fcntl", 300)]
    [InlineData("file-ioctl", 200)]
    [InlineData("filename", 300)]
    [InlineData("flock", 1000)]
    [InlineData("fpunch", 20)]
    [InlineData("fsize", 200)]
    [InlineData("fstat", 200)]
    [InlineData("getdent", 200)]
    [InlineData("handle", 300)]
    [InlineData("hdd", 2000, "--hdd-bytes", "16m")]
    [InlineData("inotify", 20)]
    [InlineData("iomix", 500, "--iomix-bytes", "16m")]
    [InlineData("link", 20)]
    [InlineData("locka", 2000)]
    [InlineData("lockf", 2000)]
    [InlineData("lockofd", 2000)]
    [InlineData("mknod", 300)]
    [InlineData("mmap", 10, "--mmap-file", "--mmap-bytes", "8m")]
    [InlineData("open", 1000)]
    [InlineData("readahead", 500, "--readahead-bytes", "16m")]
    [InlineData("rename", 1000)]
    [InlineData("seek", 1000, "--seek-size", "16m")]
    [InlineData("symlink", 20)]
    [InlineData("sync-file", 10, "--sync-file-bytes", "4m")]
    [InlineData("touch", 1000)]
    [InlineData("utime", 500)]
    [InlineData("xattr", 200)]
    public void The_stressor_verifies(string stressor, int operations, params string[] options)
    {
        Tool.Require("stress-ng");
        using var sides = volume.NewSides("stress");
        var onSubject = Run(sides.Subject, stressor, operations, options);
        if (!IsGood(onSubject))
        {
            var onReference = Run(sides.Reference, stressor, operations, options);
            Assert.Fail($"{onSubject.Describe()}\nOn tmpfs it {(IsGood(onReference) ? "passes" : $"fails too:\n{onReference.Describe()}")}");
        }
    }

    /// <summary>Some failures are only printed.</summary>
    private static bool IsGood(CommandResult result) => result.ExitCode == 0 && !result.TimedOut && !result.Output.Contains("fail:", StringComparison.Ordinal);

    private static CommandResult Run(string directory, string stressor, int operations, string[] options) =>
        new Command(directory, 90, "stress-ng", [$"--{stressor}", "2", $"--{stressor}-ops", operations.ToString(null, null), .. options,
            "--verify", "--timeout", "6s", "--temp-path", directory, "--oomable", "--no-rand-seed"]).Run();
}
