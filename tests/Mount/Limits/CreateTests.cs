using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>What a new file costs while one node has the volume, and until when the server need not have heard of it.</summary>
[Collection(LimitCollection.Name)]
public sealed class CreateTests : IDisposable
{
    private readonly LimitCluster cluster = new();

    public CreateTests() => Make("first", 0); // its answer says that the next ones may be deferred

    public void Dispose() => cluster.Dispose();

    [Fact]
    public void A_small_file_costs_one_request()
    {
        const int Files = 200;
        var (together, apart) = (Requests("CreateAndCommit"), Requests("Create") + Requests("Commit"));
        for (int i = 0; i < Files; i++)
        {
            Make($"f{i}", 1000);
        }

        // Now and then the server is asked something else meanwhile, the more often the slower all this is: handles that were closed are told by the dozen.
        Assert.InRange(Requests("CreateAndCommit") - together, Files * 3 / 4, Files);
        Assert.InRange(Requests("Create") + Requests("Commit") - apart, 0, Files * 3 / 4);
        Assert.All(Enumerable.Range(0, Files), i => Assert.Equal(1000, new FileInfo(Path.Combine(cluster.First, $"f{i}")).Length));
    }

    [Theory]
    [InlineData("file")]
    [InlineData("directory")]
    public void What_is_synced_the_server_has_heard_of(string what)
    {
        long directory = Expect.Ok(Native.Open(cluster.First, Native.O_DIRECTORY));
        double before = cluster.Metric("metadata", "ephemeralfs_metadata_inodes");
        long file = Expect.Ok(Native.Open(Path.Combine(cluster.First, "f"), Native.O_CREAT | Native.O_WRONLY, 0x180));
        Expect.Ok(Native.Fsync((int)(what == "file" ? file : directory)));
        Assert.Equal(before + 1, cluster.Metric("metadata", "ephemeralfs_metadata_inodes"));
        Native.Close((int)file);
        Native.Close((int)directory);
    }

    private double Requests(string operation) => cluster.Metric("metadata", "ephemeralfs_metadata_requests_total", labels => labels == $"{{op=\"{operation}\"}}");

    private void Make(string name, int bytes)
    {
        long file = Expect.Ok(Native.Open(Path.Combine(cluster.First, name), Native.O_CREAT | Native.O_EXCL | Native.O_WRONLY, 0x180));
        Assert.Equal(bytes, Native.Pwrite((int)file, new byte[bytes], 0));
        Expect.Ok(Native.Close((int)file));
    }
}
