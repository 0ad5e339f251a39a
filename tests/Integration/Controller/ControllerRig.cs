using EphemeralFs.Controller;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging.Abstractions;

namespace EphemeralFs.Tests.Integration.Controller;

/// <summary>A controller and metadata servers in this process, over unix sockets, with their real heartbeats. Each can end and start again, with its state or without.</summary>
public abstract class ControllerRig : IAsyncLifetime
{
    private readonly string _directory = Directory.CreateTempSubdirectory("efs-ctl-").FullName;
    private readonly Dictionary<string, (MetadataHost Host, HeartbeatLoop Heartbeat)> _metadata = [];
    private ControllerHost? _controller;

    private protected RpcClient Client { get; private set; } = null!;

    private Endpoint ControllerEndpoint => Endpoint.Unix(Path.Combine(_directory, "c.sock"));

    private string ControllerState => Path.Combine(_directory, "controller");

    public Task InitializeAsync()
    {
        StartController();
        Client = new RpcClient(ControllerEndpoint);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        foreach (var name in _metadata.Keys.ToArray())
        {
            await StopMetadataAsync(name);
        }

        Client.Dispose();
        await StopControllerAsync();
        Directory.Delete(_directory, true);
    }

    private protected void StartController()
    {
        Directory.CreateDirectory(ControllerState);
        _controller = new ControllerHost(new ControllerOptions { Listen = ControllerEndpoint, StateDirectory = ControllerState }, NullLogger.Instance);
        _controller.Start();
    }

    private protected async Task StopControllerAsync()
    {
        if (_controller is not null)
        {
            await _controller.DisposeAsync();
            _controller = null;
        }
    }

    /// <summary>The controller ends, and its directory is lost.</summary>
    private protected async Task LoseControllerAsync()
    {
        await StopControllerAsync();
        Directory.Delete(ControllerState, true);
    }

    /// <summary>A metadata server starts, on the state that it left; returns when the controller has its heartbeat.</summary>
    private protected async Task<MetadataHost> StartMetadataAsync(string name = "m1")
    {
        var host = new MetadataHost(new MetadataOptions
        {
            StateDirectory = Directory.CreateDirectory(Path.Combine(_directory, name)).FullName,
            Endpoint = MetadataEndpoint(name),
        });
        host.Start();
        _metadata.Add(name, (host, StartHeartbeat(ServerRole.Metadata, name, host.Endpoint, host)));
        await RegisteredAsync(name);
        return host;
    }

    /// <summary>A metadata server and its heartbeat end.</summary>
    private protected async Task StopMetadataAsync(string name = "m1")
    {
        _metadata.Remove(name, out var metadata);
        await metadata.Heartbeat.DisposeAsync();
        metadata.Host.Dispose();
    }

    /// <summary>Completes when a metadata server, which lives, is known to the controller as it is now.</summary>
    private protected async Task RegisteredAsync(string name = "m1")
    {
        // The loop tells of its first registration only; a controller that has forgotten it hears of the next.
        var (host, heartbeat) = _metadata[name];
        await heartbeat.DisposeAsync();
        heartbeat = StartHeartbeat(ServerRole.Metadata, name, host.Endpoint, host);
        _metadata[name] = (host, heartbeat);
        await heartbeat.Registered.WaitAsync(TimeSpan.FromSeconds(60));
    }

    /// <summary>One heartbeat of a server that is none.</summary>
    private protected async Task<RpcResult<RegisterReply>> RegisterAsync(ServerRole role, string name, params MountStatus[] mounts) =>
        await Client.CallAsync<RegisterRequest, RegisterReply>(new(role, name, $"unix:/nowhere/{name}", "", 1, [], mounts, StartedNs: 1));

    private protected RpcClient Metadata(string name = "m1") => new(MetadataEndpoint(name));

    private protected async Task<RpcResult<VolumeStatus>> AddAsync(string name, string source = "", Label[]? labels = null) =>
        await Client.CallAsync<AddVolumeRequest, VolumeStatus>(new(name, 0, 0, Labels: labels, Source: source));

    private protected async Task<RpcResult<Empty>> RemoveAsync(string name) => await Client.CallAsync<RemoveVolumeRequest, Empty>(new(name, false));

    private protected async Task<RpcResult<GetVolumesReply>> GetAsync(string name = "") =>
        name.Length == 0 ? await Client.ListVolumesAsync() : await Client.CallAsync<GetVolumesRequest, GetVolumesReply>(new(name));

    private protected async Task<string[]> NamesAsync()
    {
        var listed = await GetAsync();
        Assert.Equal(Status.OK, listed.Status);
        return [.. listed.Value.Volumes.Select(v => v.Name)];
    }

    private Endpoint MetadataEndpoint(string name) => Endpoint.Unix(Path.Combine(_directory, $"{name}.sock"));

    private HeartbeatLoop StartHeartbeat(ServerRole role, string name, Endpoint endpoint, MetadataHost host)
    {
        var heartbeat = new HeartbeatLoop(ControllerEndpoint, () => new RegisterRequest(role, name, endpoint.Text, "", 1, [], []), NullLogger.Instance);
        heartbeat.ViewChanged += host.UpdateServers;
        heartbeat.Start();
        return heartbeat;
    }
}
