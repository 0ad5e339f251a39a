using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.Tests.Integration.Csi;

namespace EphemeralFs.Tests.Containers.Kubernetes;

/// <summary>A CSI driver that registered.</summary>
/// <param name="Name">The driver's.</param>
/// <param name="Endpoint">Socket on which it serves CSI.</param>
/// <param name="NodeId">What it calls this node.</param>
/// <param name="Topology">Labels that the node gets.</param>
public sealed record RegisteredDriver(string Name, string Endpoint, string NodeId, IReadOnlyDictionary<string, string> Topology);

/// <summary>
/// Kubelet's plugin manager: sockets in <c>plugins_registry</c> are drivers. Each is asked who it is, its node service who the node is, and then it is told what
/// became of that; a socket that goes takes its driver with it (kubelet: pkg/kubelet/pluginmanager, pkg/volume/csi/csi_plugin.go).
/// </summary>
internal sealed class PluginWatcher : IAsyncDisposable
{
    private const string PluginType = "CSIPlugin";

    /// <summary>Longest id of a node that the API server takes.</summary>
    private const int NodeIdMaxBytes = 256;

    private const int CallMs = 10_000;

    private readonly string directory;
    private readonly int retryBaseMs;
    private readonly FileSystemWatcher watcher;
    private readonly Channel<Event> events = Channel.CreateUnbounded<Event>();
    private readonly ConcurrentDictionary<string, RegisteredDriver> drivers = new(); // by socket; written by the loop alone
    private readonly ConcurrentQueue<string> problems = new();
    private readonly CancellationTokenSource stop = new();
    private readonly Task loop;

    /// <param name="directory"><c>plugins_registry</c>.</param>
    /// <param name="retryBaseMs">Before the first repetition of a registration that failed; doubled each time.</param>
    public PluginWatcher(string directory, int retryBaseMs)
    {
        this.directory = directory;
        this.retryBaseMs = retryBaseMs;
        watcher = new FileSystemWatcher(directory);
        watcher.Created += (_, e) => events.Writer.TryWrite(new(e.FullPath, IsThere: true));
        watcher.Renamed += (_, e) => events.Writer.TryWrite(new(e.FullPath, IsThere: true));
        watcher.Deleted += (_, e) => events.Writer.TryWrite(new(e.FullPath, IsThere: false));
        watcher.EnableRaisingEvents = true;
        foreach (string found in Directory.EnumerateFileSystemEntries(directory))
        {
            events.Writer.TryWrite(new(found, IsThere: true));
        }
        loop = Task.Run(RunAsync);
    }

    /// <summary>The driver of this name; null unless it is registered.</summary>
    public RegisteredDriver? Find(string name) => drivers.Values.FirstOrDefault(driver => driver.Name == name);

    /// <summary>Why registrations failed, for failed tests.</summary>
    public string Problems => string.Join('\n', problems);

    public async ValueTask DisposeAsync()
    {
        watcher.Dispose();
        await stop.CancelAsync();
        await loop;
        stop.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            await foreach (var (socket, isThere, failures) in events.Reader.ReadAllAsync(stop.Token))
            {
                // Gone, or made anew: in both cases what was registered there is no more. Only a repetition finds nothing new.
                if (failures == 0)
                {
                    drivers.TryRemove(socket, out _);
                }
                if (!isThere || !File.Exists(socket) || Path.GetFileName(socket).StartsWith('.') || drivers.ContainsKey(socket))
                {
                    continue;
                }
                if (await RegisterAsync(socket) is { } problem)
                {
                    problems.Enqueue($"{socket}: {problem}");
                    _ = RepeatAsync(socket, failures + 1);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Kubelet ends.
        }
    }

    private async Task RepeatAsync(string socket, int failures)
    {
        await Task.Delay(retryBaseMs << Math.Min(failures - 1, 8));
        events.Writer.TryWrite(new(socket, IsThere: true, failures));
    }

    /// <summary>Null when it is registered, else what is wrong.</summary>
    private async Task<string?> RegisterAsync(string socket)
    {
        var registration = new CsiClient(socket);
        var info = await registration.CallAsync("pluginregistration.Registration", "GetInfo", deadlineMs: CallMs);
        if (info.Response is not { } plugin)
        {
            return $"GetInfo: {info.Code} {info.Message}";
        }
        var (driver, problem) = await CheckAsync(socket, plugin);
        var told = await registration.CallAsync(
            "pluginregistration.Registration",
            "NotifyRegistrationStatus",
            new JsonObject { ["plugin_registered"] = problem is null, ["error"] = problem ?? "" }.ToJsonString(),
            deadlineMs: CallMs);
        if (problem is null && told.Code == GrpcStatusCode.OK)
        {
            drivers[socket] = driver!;
            return null;
        }
        return problem ?? $"NotifyRegistrationStatus: {told.Code} {told.Message}";
    }

    private static async Task<(RegisteredDriver? Driver, string? Problem)> CheckAsync(string socket, JsonObject plugin)
    {
        string type = (string?)plugin["type"] ?? "", name = (string?)plugin["name"] ?? "", endpoint = (string?)plugin["endpoint"] ?? "";
        if (type != PluginType)
        {
            return (null, $"'{type}' is no type of plugin that this kubelet knows");
        }
        if (name.Length == 0 || plugin["supported_versions"]?.AsArray().Any(version => Version.TryParse((string?)version, out var v) && v.Major == 1) != true)
        {
            return (null, $"without a name, or with none of the versions that this kubelet speaks: {plugin}");
        }
        endpoint = endpoint.Length > 0 ? endpoint : socket;
        var answer = await new CsiClient(endpoint).CallAsync("Node", "NodeGetInfo", deadlineMs: CallMs);
        if (answer.Response is not { } node)
        {
            return (null, $"NodeGetInfo: {answer.Code} {answer.Message}");
        }
        string id = (string?)node["node_id"] ?? "";
        if (id.Length == 0 || System.Text.Encoding.UTF8.GetByteCount(id) > NodeIdMaxBytes)
        {
            return (null, $"NodeGetInfo: '{id}' is no id of a node");
        }
        var topology = node["accessible_topology"]?["segments"]?.AsObject().ToDictionary(pair => pair.Key, pair => (string)pair.Value!) ?? [];
        return (new RegisteredDriver(name, endpoint, id, topology), null);
    }

    /// <param name="Socket">Path.</param>
    /// <param name="IsThere">False when it has gone.</param>
    /// <param name="Failures">How often it could not be registered since it appeared.</param>
    private sealed record Event(string Socket, bool IsThere, int Failures = 0);
}
