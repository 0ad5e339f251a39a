using EphemeralFs.Tests.Integration.Csi;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers.Kubernetes;

[CollectionDefinition(Name)]
public sealed class KubernetesCollection : ICollectionFixture<KubernetesCluster>
{
    public const string Name = "kubernetes";
}

/// <summary>EphemeralFs as on a Kubernetes cluster of two nodes: each with a daemon, a plugin and a kubelet. The first node's plugin serves the controller too.</summary>
public sealed class KubernetesCluster : IAsyncLifetime
{
    /// <summary>Room for what the tests write at a time, the largest of them in the soak.</summary>
    private const string Capacity = "6G";

    private TestCluster? cluster;
    private ClusterNode? first, second;

    internal TestCluster Cluster => cluster!;

    internal ClusterNode First => first!;

    internal ClusterNode Second => second!;

    internal Provisioner Provisioner => new(new CsiClient(First.Socket));

    /// <summary>Where containers get their directories.</summary>
    public string Home => Cluster.Home;

    public async Task InitializeAsync()
    {
        try
        {
            cluster = new TestCluster("efk", null, "--capacity", Capacity);
            cluster.Mount(cluster.MakeDirectory("b"), "node-2");
            first = new ClusterNode(cluster, "node-1");
            second = new ClusterNode(cluster, "node-2", "--node-only");
            await Task.WhenAll(first.StartAsync(), second.StartAsync());
        }
        catch
        {
            await DisposeAsync();
            throw;
        }
    }

    /// <summary>Names of all volumes of the cluster.</summary>
    internal IReadOnlyList<string> Volumes() => Cluster.Volumes();

    public async Task DisposeAsync()
    {
        try
        {
            foreach (var node in new[] { first, second })
            {
                if (node is not null)
                {
                    await node.DisposeAsync();
                }
            }
        }
        finally
        {
            cluster?.Dispose();
        }
    }
}
