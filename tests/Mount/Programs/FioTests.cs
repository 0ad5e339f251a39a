namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>fio writes blocks with checksums of themselves and reads them back, by different system calls and orders.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class FioTests(VolumeFixture volume)
{
    [Theory]
    [InlineData("write", "sync", "--bs=64k")]
    [InlineData("write", "psync", "--bs=4k")]
    [InlineData("randwrite", "psync", "--bs=4k")]
    [InlineData("randwrite", "psync", "--bsrange=512-64k --bs_unaligned=1 --norandommap=0")]
    [InlineData("randwrite", "psync", "--bs=8k --fsync=16")]
    [InlineData("randwrite", "psync", "--bs=4k --direct=1")]
    [InlineData("write", "psync", "--bs=1m --direct=1")]
    [InlineData("write", "pvsync2", "--bs=128k")]
    [InlineData("write", "mmap", "--bs=16k")]
    [InlineData("randwrite", "mmap", "--bs=4k")]
    [InlineData("write", "libaio", "--bs=32k --iodepth=8")]
    [InlineData("randwrite", "libaio", "--bs=4k --iodepth=16")]
    [InlineData("randwrite", "libaio", "--bs=4k --iodepth=16 --direct=1")]
    [InlineData("randrw", "psync", "--bs=4k")]
    public void What_was_written_is_read(string order, string engine, string options)
    {
        Tool.Require("fio");
        using var sides = volume.NewSides("fio");
        // Two jobs, each with its own file; fallocate=none, so that files grow as programs let them grow.
        string[] common = ["--name=job", "--numjobs=2", "--size=24m", $"--rw={order}", $"--ioengine={engine}", .. options.Split(' '), "--verify=crc32c",
            "--verify_fatal=1", "--verify_dump=1", "--fallocate=none", "--randseed=20260101", "--group_reporting"];
        new Command(sides.Subject, 200, "fio", [.. common, "--do_verify=1"]).Run().MustSucceed();
        // Again by another process and by plain reads, so that nothing comes from the writer's memory or mapping.
        // (fio cannot repeat random sizes in a run that only verifies.)
        if (order != "randrw" && !options.Contains("bsrange", StringComparison.Ordinal))
        {
            string[] reading = [.. common.Where(option => !option.StartsWith("--ioengine", StringComparison.Ordinal) && option != "--direct=1"), "--ioengine=psync", "--verify_only=1"];
            new Command(sides.Subject, 200, "fio", reading).Run().MustSucceed();
        }
    }
}
