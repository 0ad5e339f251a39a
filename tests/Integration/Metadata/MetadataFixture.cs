using EphemeralFs.Core;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>A metadata server in this process, on a unix socket, with volume "tmp".</summary>
public abstract class MetadataFixture : IAsyncLifetime
{
    /// <summary>Nothing here takes longer unless it hangs.</summary>
    protected static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("efs-meta-").FullName;
    private readonly List<IDisposable> _nodes = [];

    /// <summary>Changed before the server starts by tests that need other options.</summary>
    protected virtual MetadataOptions Configure(MetadataOptions options) => options;

    protected virtual ulong LimitBytes => 0;

    private protected string StateDirectory => _directory;

    private protected MetadataHost Host { get; private set; } = null!;

    public virtual async Task InitializeAsync()
    {
        Start();
        using var admin = new RpcClient(Host.Endpoint);
        var reply = await admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(1, "tmp", LimitBytes, 0));
        Assert.Equal(Status.OK, reply.Status);
    }

    public Task DisposeAsync()
    {
        _nodes.ForEach(node => node.Dispose());
        Host.Dispose();
        Directory.Delete(_directory, true);
        return Task.CompletedTask;
    }

    private protected async Task<TestNode> NodeAsync(string name = "node") => Track(await TestNode.OpenAsync(Host.Endpoint, "tmp", name));

    private protected T Track<T>(T node)
        where T : IDisposable
    {
        _nodes.Add(node);
        return node;
    }

    /// <summary>Ends the server as a kill does and starts it again on the same state.</summary>
    private protected void Restart(bool clean = false)
    {
        if (clean)
        {
            Host.Dispose();
        }
        else
        {
            Host.Abort();
        }

        Start();
    }

    private protected double Metric(string name) => Host.Metrics().Where(m => m.Name == name).Sum(m => m.Value);

    /// <summary>Waits until something that no event tells has become true.</summary>
    private protected static async Task UntilAsync(Func<bool> condition, string what)
    {
        for (var deadline = Environment.TickCount64 + (long)Patience.TotalMilliseconds; !condition();)
        {
            Assert.True(Environment.TickCount64 < deadline, $"never happened: {what}");
            await Task.Delay(10);
        }
    }

    private void Start()
    {
        Host = new MetadataHost(Configure(new MetadataOptions
        {
            StateDirectory = _directory,
            Endpoint = Endpoint.Unix(Path.Combine(_directory, "socket")),
        }));
        Host.Start();
    }
}
