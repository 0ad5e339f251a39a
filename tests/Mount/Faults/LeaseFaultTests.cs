using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>Processes that hold leases, or know who holds them, are killed: nobody sees anything old, and nobody hears of it.</summary>
[Collection(FaultCollection.Name)]
public sealed class LeaseFaultTests(FaultCluster cluster)
{
    private const int StepsBetween = 100;

    [Theory]
    [InlineData("metadata")]
    [InlineData("node", "node")]
    [InlineData("metadata node", "node metadata")]
    public void NothingOldIsSeenAfterADeath(params string[] deaths)
    {
        string name = cluster.NewName("leases");
        string first = Directory.CreateDirectory(Path.Combine(cluster.First, name)).FullName, second = Path.Combine(cluster.Second, name);
        var check = new StaleCheck(first, second, seed: 7);
        Run();
        foreach (string roles in deaths)
        {
            foreach (string role in roles.Split(' '))
            {
                cluster.Settle(role);
                foreach (var process in cluster.Find(role))
                {
                    process.Kill();
                }
            }
            Run();
        }
        cluster.MustRecover();

        void Run()
        {
            for (int i = 0; i < StepsBetween; i++)
            {
                check.Step();
            }
        }
    }
}
