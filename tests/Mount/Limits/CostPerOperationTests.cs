using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Tests.Mount.Faults;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>What an operation costs must not depend on how many files there are: requests of the kernel and requests to the metadata server are counted.</summary>
[Collection(LimitCollection.Name)]
public sealed class CostPerOperationTests(ITestOutputHelper output)
{
    private const int Few = 1000;

    /// <summary>Operations of each kind that are counted.</summary>
    private const int Counted = 200;

    /// <summary>Told by the kernel when it needs memory, or by time: not what an operation costs.</summary>
    private static readonly string[] NotCounted = ["op=\"FORGET\"", "op=\"BATCH_FORGET\"", "op=\"INTERRUPT\"", "op=\"RenewSession\"", "op=\"OpenSession\"", "op=\"CloseSession\""];

    [Theory]
    [InlineData("directory", 8_000)]
    [InlineData("tree", 8_000)]
    public void The_same_for_thousands_of_files(string shape, int many) => Compare(shape, many);

    [Theory]
    [Trait("Category", "Soak")]
    [InlineData("directory", 1_000_000)]
    [InlineData("tree", 1_000_000)]
    public void The_same_for_a_million_files(string shape, int many) => Compare(shape, many);

    private void Compare(string shape, int many)
    {
        using var cluster = new LimitCluster();
        Files(cluster, shape, program => program.Do($"make(0, {Few})"));
        var few = Measure(cluster, shape, Few);
        Files(cluster, shape, program => program.Do($"make({Few}, {many})"));
        var before = ProcessCost.Of(cluster.Process("metadata"));
        var lots = Measure(cluster, shape, many);
        output.WriteLine($"metadata server with {many} files: {before.Bytes / ProcessCost.MiB} MiB");
        Files(cluster, shape, program => program.Do($"remove(0, {many})"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(cluster.First));
        foreach (var (kind, cost) in lots)
        {
            output.WriteLine($"{kind}: {few[kind]} with {Few} files, {cost} with {many}");
            Assert.True(cost.Requests <= (few[kind].Requests * 1.05) + 0.05, $"{kind} costs {few[kind].Requests} requests of the kernel with {Few} files and {cost.Requests} with {many}");
            Assert.True(cost.Calls <= (few[kind].Calls * 1.05) + 0.05, $"{kind} costs {few[kind].Calls} requests to the metadata server with {Few} files and {cost.Calls} with {many}");
        }
    }

    /// <summary>What each kind of operation costs with so many files; afterwards they are as before.</summary>
    private static Dictionary<string, Cost> Measure(LimitCluster cluster, string shape, int files)
    {
        var costs = new Dictionary<string, Cost>();
        // Each with a kernel that has seen nothing yet, so that what was cached by chance plays no part.
        foreach (var (kind, call, operations) in new[]
        {
            ("create", $"create({files}, {Counted})", Counted),
            ("look up", $"look_up({files}, {Counted})", Counted),
            ("write and read", $"rewrite({files}, {Counted})", Counted),
            ("rename", $"rename({files}, {Counted})", Counted),
            ("unlink", $"unlink({files}, {Counted})", Counted),
            ("list", $"list_all({files})", files),
        })
        {
            Files(cluster, shape, program =>
            {
                var (requests, calls) = Counters(cluster, program.Directory);
                using var instructions = Instructions.Of(cluster.Process("node").Pid, cluster.Process("metadata").Pid);
                var clock = Stopwatch.StartNew();
                program.Do(call);
                clock.Stop();
                long? executed = instructions.Stop();
                var (requestsAfter, callsAfter) = Counters(cluster, program.Directory);
                costs[kind] = new(
                    (requestsAfter - requests) / operations, (callsAfter - calls) / operations, clock.Elapsed.TotalMicroseconds / operations, executed / (double)operations);
            });
        }
        return costs;
    }

    private static (double Requests, double Calls) Counters(LimitCluster cluster, string mount) => (
        cluster.Metric("node", "ephemeralfs_fuse_requests_total", labels => labels.Contains($"mount=\"{mount}\"", StringComparison.Ordinal) && IsCounted(labels)),
        cluster.Metric("metadata", "ephemeralfs_metadata_requests_total", IsCounted));

    private static bool IsCounted(string labels) => !NotCounted.Any(op => labels.Contains(op, StringComparison.Ordinal));

    /// <summary>Works with the files through a mount that is made for it.</summary>
    private static void Files(LimitCluster cluster, string shape, Action<FilesProgram> work)
    {
        string mount = cluster.Mount();
        using (var program = new FilesProgram(mount, shape))
        {
            work(program);
        }
        cluster.Unmount(mount);
    }

    /// <summary>What one operation costs.</summary>
    private sealed record Cost(double Requests, double Calls, double Microseconds, double? Instructions)
    {
        public override string ToString() => string.Create(
            CultureInfo.InvariantCulture,
            $"{Requests:0.000} requests, {Calls:0.000} calls, {Microseconds:0} us{(Instructions is { } count ? $", {count:0} instructions of node and metadata server" : "")}");
    }
}
