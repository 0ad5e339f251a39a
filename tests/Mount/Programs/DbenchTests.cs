namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>dbench plays the file operations of an office server and fails on the first unexpected result.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class DbenchTests(VolumeFixture volume)
{
    private const string LoadFile = "/usr/share/dbench/client.txt";

    [Fact]
    public void Four_clients_see_no_error()
    {
        Tool.Require("dbench");
        using var sides = volume.NewSides("dbench");
        string output = new Command(sides.Subject, 120, "dbench", "-c", LoadFile, "-D", sides.Subject, "-t", "10", "4").Run().MustSucceed();
        // Clients report with their number in front; that there is no System V semaphore to start them together is no fault of the volume.
        Assert.DoesNotMatch(@"ERROR|Child failed|FAILED TO START|(?m)^[\[(]\d+[\])] .*(failed|expected)", output);
        Assert.Matches(@"Throughput [0-9.]*[1-9]", output);
    }
}
