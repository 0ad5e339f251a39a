using System.Globalization;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>
/// The product's own leases, sessions, slots, recalls, journal, adapter and memory under a network, clock and kernel that are simulated: random calls of six
/// programs on three nodes, random delays, lost connections, kills and pauses. <c>EPHEMERALFS_LEASE_SEED=N</c> repeats one run and prints it.
/// </summary>
public sealed class LeaseModelTests(ITestOutputHelper output)
{
    /// <summary>So many states are told apart; of a longer run the rest is not counted.</summary>
    private const int StatesMax = 1 << 22;

    private const string SeedVariable = "EPHEMERALFS_LEASE_SEED";

    [Fact]
    public void No_interleaving_breaks_an_invariant()
    {
        if (Environment.GetEnvironmentVariable(SeedVariable) is { } one)
        {
            var report = LeaseModel.Run(ulong.Parse(one, CultureInfo.InvariantCulture));
            output.WriteLine(string.Join('\n', report.Log));
            Assert.True(report.Violation is null, report.Violation);
            return;
        }

        Explore(1, 800, TimeSpan.MaxValue);
    }

    /// <summary>A sixth of the time that <c>EPHEMERALFS_SOAK_SECONDS</c> says, with seeds that no other run had.</summary>
    [Fact]
    [Trait("Category", "Soak")]
    public void No_interleaving_breaks_an_invariant_for_long()
    {
        var seconds = double.Parse(Environment.GetEnvironmentVariable("EPHEMERALFS_SOAK_SECONDS") ?? "3600", CultureInfo.InvariantCulture) / 6;
        Explore((ulong)DateTime.UtcNow.Ticks, long.MaxValue, TimeSpan.FromSeconds(seconds));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    public void A_seed_is_one_run_to_the_bit(ulong seed)
    {
        var (first, second) = (LeaseModel.Run(seed), LeaseModel.Run(seed));
        Assert.Equal((first.Steps, first.Hash, first.Judged), (second.Steps, second.Hash, second.Judged));
        Assert.NotEqual(first.Hash, LeaseModel.Run(seed + 9).Hash);
    }

    [Theory]
    [InlineData(typeof(AnswersBeforeTheAcknowledgement))]
    [InlineData(typeof(SkipsASession))]
    [InlineData(typeof(ForgetsTheFirstNameOnly))]
    [InlineData(typeof(LeavesAnInodeOut))]
    [InlineData(typeof(KernelKeepsNames))]
    [InlineData(typeof(KernelKeepsAttributes))]
    [InlineData(typeof(KernelKeepsPages))]
    [InlineData(typeof(DoesNotWriteBack))]
    [InlineData(typeof(ForgetsNothingAfterARestart))]
    [InlineData(typeof(SuccessorKnowsNothing))]
    [InlineData(typeof(TimeoutsAreTooLong))]
    [InlineData(typeof(SlotsAreNotRemembered))]
    [InlineData(typeof(ResentLooksNew))]
    [InlineData(typeof(JournalLosesARecord))]
    [InlineData(typeof(GrantIsCountedTwice))]
    [InlineData(typeof(LetsInTooEarly))]
    [InlineData(typeof(SuccessorMakesNothing))]
    public void A_seeded_bug_is_caught(Type fault)
    {
        const ulong seeds = 400;
        for (ulong seed = 1; seed <= seeds; seed++)
        {
            if (LeaseModel.Run(seed, (SeededFault)Activator.CreateInstance(fault)!).Violation is { } violation)
            {
                output.WriteLine($"seed {seed}: {violation}");
                return;
            }
        }

        Assert.Fail($"{fault.Name} was not caught in {seeds} runs");
    }

    private void Explore(ulong firstSeed, long runs, TimeSpan time)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        HashSet<ulong> states = [];
        LeaseReport? failed = null;
        long steps = 0, judged = 0, kills = 0, cuts = 0, pauses = 0, recalls = 0, fenced = 0, done = 0;

        // Each run has one thread; runs know nothing of each other.
        Parallel.For(0, runs, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount }, (i, loop) =>
        {
            if (clock.Elapsed > time)
            {
                loop.Stop();
                return;
            }

            var report = LeaseModel.Run(firstSeed + (ulong)i);
            lock (states)
            {
                if (states.Count < StatesMax)
                {
                    states.UnionWith(report.States);
                }

                (steps, judged, kills, cuts) = (steps + report.Steps, judged + report.Judged, kills + report.Kills, cuts + report.Cuts);
                (pauses, recalls, fenced, done) = (pauses + report.Pauses, recalls + report.Recalls, fenced + report.Fenced, done + 1);
                if (report.Violation is not null)
                {
                    failed = report;
                    loop.Stop();
                }
            }
        });

        output.WriteLine(
            $"{done} seeds from {firstSeed}: {steps} steps, {states.Count} distinct states, {judged} observations judged, {recalls} recalls, {kills} kills, {cuts} cut connections, {pauses} pauses, {fenced} sessions ended; {clock.Elapsed.TotalSeconds:0} s");
        if (failed is not null)
        {
            output.WriteLine(string.Join('\n', failed.Log));
            Assert.Fail($"seed {failed.Seed}: {failed.Violation}; again with {SeedVariable}={failed.Seed}");
        }
    }
}
