using System.Collections.Concurrent;
using System.Text.Json;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Node;

/// <summary>The node daemon: all mounts of a node. It can be killed at any moment; its successor carries on from what the keeper holds.</summary>
public sealed class NodeHost : IRpcHandler, IAsyncDisposable
{
    private const string MountKeyPrefix = "mount:";

    /// <summary>How long a clean handover waits for requests in flight; what is left is answered by the successor.</summary>
    private static readonly TimeSpan HandoverDrain = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan KeeperPatience = TimeSpan.FromSeconds(1);

    /// <summary>How long whoever publishes waits for the keeper, and for the metadata server once the volume is mounted: as long as one takes to start. Who would unmount waits behind him.</summary>
    private static readonly TimeSpan PublishPatience = TimeSpan.FromSeconds(10);

    /// <summary>How long whoever unmounts lazily waits for the end of the session: servers that are away are not waited for.</summary>
    private static readonly TimeSpan LazyPatience = TimeSpan.FromSeconds(20);

    private readonly NodeOptions _options;
    private readonly ILogger _logger;
    private readonly NodeStorage _storage;
    private readonly HeartbeatLoop _heartbeat;
    private readonly RpcClient _controller;
    private readonly Publications _publications;
    private readonly ConcurrentDictionary<string, MountedVolume> _mounts = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, UnservedMount> _unserved = new(StringComparer.Ordinal); // by directory, as above
    private readonly NamedLocks _directories = new();
    private readonly TaskCompletionSource<bool> _stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private KeeperClient? _keeper;
    private RpcServer? _server;
    private bool _leaving;

    /// <summary>Prepares the daemon; <see cref="StartAsync"/> begins to serve.</summary>
    public NodeHost(NodeOptions options, ILogger logger)
    {
        _options = options;
        _logger = logger;
        _storage = new NodeStorage(options);
        _controller = new RpcClient(options.ControllerEndpoint);
        _heartbeat = new HeartbeatLoop(options.ControllerEndpoint, Describe, logger);
        _heartbeat.ViewChanged += _storage.Servers.Update;
        _heartbeat.HintsTold += Follow;
        _publications = new Publications(options.VolumesDirectory, this, logger);
    }

    /// <summary>Completes when the daemon is asked to end: true = for good (unmount), false = a successor takes over.</summary>
    public Task<bool> StopRequested => _stop.Task;

    /// <summary>How long the controller is waited for, milliseconds: whoever starts or mounts has less patience than a program that waits for a server.</summary>
    private int ControllerMs => Math.Min(_options.DeadlineMs, Limits.RequestDeadlineMs);

    /// <summary>How often a daemon was started on this keeper.</summary>
    public ulong Incarnation => _keeper?.Incarnation ?? 1;

    /// <summary>What is wrong with the daemon, for probes; null when it is well.</summary>
    public string? Problem => _unserved.Values.FirstOrDefault(mount => mount.IsForeign) is { } foreign
        ? $"{_unserved.Values.Count(mount => mount.IsForeign)} mounts cannot be taken over, as {foreign.Problem}"
        : null;

    /// <summary>Takes over what the keeper holds and opens the control socket.</summary>
    public async Task StartAsync(CancellationToken cancellation = default)
    {
        // What can fail for a reason that the user has to mend comes first, before there is anything to log.
        if (_options.KeeperSocketPath.Length > 0)
        {
            _keeper = KeeperClient.Attach(new KeeperClientOptions
            {
                SocketPath = _options.KeeperSocketPath,
                Log = line => _logger.LogInformation("keeper: {Line}", line),
            });
        }

        _server = new RpcServer(_options.ControlEndpoint, this);
        _heartbeat.Start();
        var resuming = _keeper is null ? Task.CompletedTask : ResumeAll(_keeper);
        _server.Start();
        await resuming;
        await _publications.CleanUpAsync();
        await _heartbeat.WaitForRegistrationAsync(TimeSpan.FromMilliseconds(ControllerMs), cancellation);
    }

    /// <summary>Ends the daemon: for good (everything is committed and unmounted) or for a successor (mounts stay).</summary>
    public async Task StopAsync(bool unmount)
    {
        _leaving = true;
        _server?.Dispose();
        if (unmount)
        {
            foreach (var directory in _mounts.Keys.Concat(_unserved.Keys))
            {
                var status = await UnmountAsync(new UnmountRequest(directory, Lazy: true));
                if (status != Status.OK)
                {
                    _logger.LogError("{Directory}: unmount failed: {Status}", directory, status);
                }
            }
        }
        else
        {
            foreach (var mount in _mounts.Values)
            {
                mount.Leave(HandoverDrain);
            }
        }

        await _heartbeat.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _server?.Dispose();
        _keeper?.Dispose();
        await _heartbeat.DisposeAsync();
        _controller.Dispose();
        _storage.Dispose();
    }

    /// <summary>Counters for <c>/metrics</c>.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        var blocks = _storage.Blocks;
        yield return ("ephemeralfs_node_mounts", "", _mounts.Count);
        yield return ("ephemeralfs_node_unserved_mounts", "", _unserved.Count);
        yield return ("ephemeralfs_node_incarnation", "", Incarnation);
        yield return ("ephemeralfs_node_read_cache_bytes", "", _storage.Cache.Bytes);
        yield return ("ephemeralfs_node_blocks_written_total", "", blocks.BlocksWritten);
        yield return ("ephemeralfs_node_bytes_written_total", "", blocks.BytesWritten);
        yield return ("ephemeralfs_node_block_reads_total", "", blocks.BlocksRead);
        yield return ("ephemeralfs_node_bytes_read_total", "", blocks.BytesRead);
        yield return ("ephemeralfs_node_checksum_errors_total", "", blocks.ChecksumErrors);
        foreach (var mount in _mounts.Values)
        {
            foreach (var metric in mount.Metrics())
            {
                yield return metric;
            }
        }
    }

    /// <inheritdoc/>
    public void OnRequest(in RpcCall call, ReadOnlyMemory<byte> head, PooledBuffer? body)
    {
        body?.Dispose();
        switch (call.Header.Opcode)
        {
            case Opcode.Mount when RpcCall.TryRead<MountRequest>(head, out var mount):
                Serve(call, () => MountAsync(mount));
                return;
            case Opcode.Unmount when RpcCall.TryRead<UnmountRequest>(head, out var unmount):
                Serve(call, async () => (await UnmountAsync(unmount), default(Empty), ""));
                return;
            case Opcode.Publish when RpcCall.TryRead<PublishRequest>(head, out var publish):
                Serve(call, async () => With(await _publications.PublishAsync(publish)));
                return;
            case Opcode.Unpublish when RpcCall.TryRead<UnpublishRequest>(head, out var unpublish):
                Serve(call, async () => With(await _publications.UnpublishAsync(unpublish)));
                return;
            case Opcode.GetPublished when RpcCall.TryRead<GetPublishedRequest>(head, out var published):
                Serve(call, () => Task.FromResult((Status.OK, new GetPublishedReply(_publications.All(published.Volume, published.Root)), "")));
                return;
            case Opcode.NodeStatus when RpcCall.TryRead<NodeStatusRequest>(head, out _):
                call.Reply(new NodeStatusReply(_options.Name, (uint)Incarnation, MountStatuses()));
                return;
            case Opcode.Shutdown when RpcCall.TryRead<ShutdownRequest>(head, out _):
                call.Reply(default(Empty));
                _stop.TrySetResult(true);
                return;
            default:
                call.Fail(Status.UnknownOpcode);
                return;
        }
    }

    /// <inheritdoc/>
    public void OnDisconnected(RpcPeer peer)
    {
    }

    /// <summary>Mounts a volume; on failure the text says why and what to do.</summary>
    /// <param name="request">What and where.</param>
    /// <param name="metadataEndpoint">Where the volume is, for who knows; else the controller is asked.</param>
    /// <param name="hints">The hints of the volume, for who knows where it is.</param>
    public async Task<(Status Status, MountStatus Reply, string Error)> MountAsync(MountRequest request, string metadataEndpoint = "", string hints = "")
    {
        using var held = await _directories.LockAsync(request.Directory);
        try
        {
            if (metadataEndpoint.Length == 0)
            {
                var volumes = await _controller.CallAsync<GetVolumesRequest, GetVolumesReply>(new(request.Volume), timeoutMs: ControllerMs);
                if (!volumes.IsOk || volumes.Value.Volumes is not [var volume])
                {
                    var status = volumes.IsOk ? Status.NoSuchVolume : volumes.Status;
                    return (status, default, status == Status.NoSuchVolume
                        ? $"volume '{request.Volume}' does not exist; create it with: ephemeralfs volume create {request.Volume}"
                        : $"the controller at {_options.ControllerEndpoint} does not answer: {status}");
                }

                (metadataEndpoint, hints) = (volume.MetadataEndpoint, volume.Hints);
            }

            var mount = await MountedVolume.MountAsync(request, metadataEndpoint, _options, _storage, _logger);
            mount.Follow(hints);
            try
            {
                if (_keeper is not null)
                {
                    await DepositAsync(_keeper, mount.Record, mount.Descriptors);
                }
            }
            catch
            {
                // It would not outlive this daemon.
                FuseMounter.Unmount(mount.Record.Directory, lazy: true);
                mount.Discards = true;
                await mount.FinishAsync();
                throw;
            }

            Serve(mount);
            return (Status.OK, mount.Status, "");
        }
        catch (Exception e) when (e is MountException or Fuse.FuseProtocolException or KeeperException or InvalidDataException)
        {
            var status = e switch
            {
                MountException { Status: var said } => said,
                KeeperException { Error: Errno.ETIMEDOUT } => Status.Unavailable,
                KeeperException { Error: var errno } => errno.ToStatus(),
                _ => Errno.EIO.ToStatus(),
            };
            return (status, default, e.Message);
        }
    }

    /// <summary>Whether this daemon serves a mount there.</summary>
    internal bool IsMounted(string directory) => _mounts.ContainsKey(directory);

    /// <summary>Whether this daemon serves a file system, <c>major:minor</c>.</summary>
    internal bool Serves(string device) => _mounts.Values.Any(mount => mount.Device == device);

    /// <summary>Whether a file system, <c>major:minor</c>, is the one that this daemon serves at a directory, or would serve if it could.</summary>
    internal bool IsMountOf(string device, string directory) =>
        _mounts.TryGetValue(directory, out var mount) ? mount.Device == device : _unserved.TryGetValue(directory, out var unserved) && unserved.Device == device;

    /// <summary>Why the mount at a directory, which the keeper holds, is not served, or not yet; null for every other directory.</summary>
    internal string? WhyUnserved(string directory) => _unserved.TryGetValue(directory, out var unserved) ? unserved.Problem : null;

    /// <summary>What is wrong with the mount at a directory; empty when it is well.</summary>
    internal string ProblemOf(string directory) =>
        _mounts.TryGetValue(directory, out var mount) ? mount.Problem : WhyUnserved(directory) ?? "it is not mounted any more";

    /// <summary>Gives the root of the mount at a directory to a group, as kubelet would do it for fsGroup; everything below gets the group from there.</summary>
    internal async Task<Status> GiveToAsync(string directory, uint group)
    {
        if (!_mounts.TryGetValue(directory, out var mount))
        {
            return Errno.ENOENT.ToStatus();
        }

        var given = mount.GiveToAsync(group);
        return await Task.WhenAny(given, Task.Delay(PublishPatience)) == given ? await given : Status.Unavailable;
    }

    /// <summary>Unmounts; a lazy one does not wait for those who still use the mount, nor longer than a while for servers that do not answer.</summary>
    /// <param name="request">What.</param>
    /// <param name="discards">What has not been committed is of no use to anybody.</param>
    internal async Task<Status> UnmountAsync(UnmountRequest request, bool discards = false)
    {
        if (_unserved.TryGetValue(request.Directory, out var unserved))
        {
            await unserved.Resumed;
        }

        if (!_mounts.TryGetValue(request.Directory, out var mount))
        {
            return unserved is null ? Errno.EINVAL.ToStatus() : await AbandonAsync(unserved);
        }

        mount.Discards = discards;
        try
        {
            // Blocking: the kernel may write back dirty pages first, which other threads serve.
            await Task.Run(() => FuseMounter.Unmount(request.Directory, request.Lazy));
        }
        catch (MountException e)
        {
            mount.Discards = false;
            _logger.LogWarning("{Error}", e.Message);
            return e.Errno.ToStatus();
        }

        if (!request.Lazy)
        {
            await mount.Ended;
            await FinishAsync(mount);
            return Status.OK;
        }

        var finished = FinishAsync(mount);
        if (await Task.WhenAny(finished, Task.Delay(LazyPatience)) == finished)
        {
            await finished;
        }
        else
        {
            _logger.LogWarning("{Directory} is unmounted; its session ends when the servers answer, or without them", request.Directory);
            Abort(mount);
        }

        return Status.OK;
    }

    /// <summary>Who still waits in a mount that nobody sees any more gets an error now, and what was written is committed when the servers answer.</summary>
    private void Abort(MountedVolume mount)
    {
        // A connection that has ended has given its number back, and another mount may have it.
        if (!mount.Ended.IsCompleted && MountTable.Read().All(entry => entry.Device != mount.Device))
        {
            var errno = Fuse.FuseControl.Abort(mount.Device);
            _logger.LogWarning("{Directory}: programs still use it, and its connection is aborted: {Result}", mount.Record.Directory, errno);
        }
    }

    /// <summary>Takes away a mount that this daemon cannot serve, with what was not committed there.</summary>
    private async Task<Status> AbandonAsync(UnservedMount mount)
    {
        try
        {
            FuseMounter.Unmount(mount.Directory, lazy: true, abort: true);
        }
        catch (MountException e) when (e.Errno != Errno.EINVAL)
        {
            _logger.LogWarning("{Error}", e.Message);
            return e.Errno.ToStatus();
        }
        catch (MountException)
        {
            // Not mounted any more.
        }

        if (_unserved.TryRemove(new KeyValuePair<string, UnservedMount>(mount.Directory, mount)))
        {
            await ForgetAsync(mount.Key, mount.Directory);
        }

        return Status.OK;
    }

    private static async Task DepositAsync(KeeperClient keeper, MountRecord record, IReadOnlyList<SafeFileHandle> descriptors)
    {
        string key = MountKeyPrefix + record.Id;
        var put = keeper.PutAsync(key, record.Serialize(), descriptors);
        if (await Task.WhenAny(put, Task.Delay(PublishPatience)) != put)
        {
            // The keeper that comes back hears of both, or of neither.
            _ = keeper.RemoveAsync(key);
            throw new KeeperException(Errno.ETIMEDOUT, "the keeper does not answer, and without it the mount would not outlive this daemon: is it running? Try again");
        }

        await put;
    }

    private void Serve(MountedVolume mount)
    {
        mount.Start();
        _mounts[mount.Record.Directory] = mount;
        _heartbeat.Hurry();
        _logger.LogInformation("volume {Volume} is mounted at {Directory}", mount.Record.Volume, mount.Record.Directory);
        _ = mount.Ended.ContinueWith(
            async _ =>
            {
                if (!_leaving)
                {
                    await FinishAsync(mount);
                }
            },
            CancellationToken.None,
            TaskContinuationOptions.None,
            TaskScheduler.Default);
    }

    /// <summary>Once per mount, whoever unmounted it; everybody waits for the end of it.</summary>
    private Task FinishAsync(MountedVolume mount)
    {
        if (_mounts.TryRemove(new KeyValuePair<string, MountedVolume>(mount.Record.Directory, mount)))
        {
            _ = FinishOnceAsync(mount);
        }

        return mount.Finished.Task;
    }

    private async Task FinishOnceAsync(MountedVolume mount)
    {
        try
        {
            await mount.FinishAsync();
            await ForgetAsync(MountKeyPrefix + mount.Record.Id, mount.Record.Directory);
            _heartbeat.Hurry();
            _logger.LogInformation("{Directory} is unmounted", mount.Record.Directory);
            mount.Finished.SetResult();
        }
        catch (Exception e)
        {
            _logger.LogError(e, "{Directory}: what is left of the mount cannot be taken away", mount.Record.Directory);
            mount.Finished.SetException(e);
        }
    }

    /// <summary>Has the keeper let go of a mount. While it is dead nobody who unmounts waits for it: it hears of this when it is back.</summary>
    private async Task ForgetAsync(string key, string directory)
    {
        if (_keeper is null)
        {
            return;
        }

        var removed = _keeper.RemoveAsync(key);
        if (await Task.WhenAny(removed, Task.Delay(KeeperPatience)) == removed && removed.Exception is { } error)
        {
            _logger.LogWarning("{Directory}: the keeper did not let go: {Error}", directory, error.GetBaseException().Message);
        }
    }

    /// <summary>Takes over all mounts that the keeper holds. When it returns they are known; the task completes when each is served, or cannot be.</summary>
    private Task ResumeAll(KeeperClient keeper)
    {
        _ = ObeyKeeperAsync(keeper);
        var mounts = new List<(UnservedMount Mount, MountRecord Record, KeeperEntry Entry)>();
        foreach (var entry in keeper.Inherited.Where(e => e.Key.StartsWith(MountKeyPrefix, StringComparison.Ordinal)))
        {
            try
            {
                var record = MountRecord.Deserialize(entry.Payload);
                var mount = new UnservedMount(entry.Key, record.Directory, MountTable.Find(record.Directory)?.Device ?? "");
                _unserved[record.Directory] = mount;
                mounts.Add((mount, record, entry));
            }
            catch (JsonException e)
            {
                var mount = _unserved[entry.Key] = new UnservedMount(entry.Key, entry.Key, "");
                _logger.LogError("{Problem}", mount.Fail(e.Message));
            }
        }

        // Beside each other: each waits for its metadata server, which may be away as well.
        return Task.WhenAll(mounts.Select(mount => Task.Run(() => ResumeAsync(mount.Mount, mount.Record, mount.Entry))));
    }

    private async Task ResumeAsync(UnservedMount unserved, MountRecord record, KeeperEntry entry)
    {
        try
        {
            KillPoint.Hit("node.during-takeover");
            Serve(await MountedVolume.ResumeAsync(record, entry.Fds, _options, _storage, _logger));
            _unserved.TryRemove(record.Directory, out _);
        }
        catch (Exception e) when (e is MountException or InvalidDataException or Fuse.FuseProtocolException)
        {
            _logger.LogError("{Problem}", unserved.Fail(e.Message));
            if (unserved.Device.Length == 0)
            {
                await AbandonAsync(unserved); // there is no mount any more
            }

            // Else the keeper goes on holding it: a daemon that can serve it may come.
        }
        finally
        {
            unserved.EndResume();
        }
    }

    private async Task ObeyKeeperAsync(KeeperClient keeper)
    {
        if (await keeper.StopRequested == KeeperStopReason.Superseded)
        {
            // Another daemon serves the mounts: anything more from this one would be one too many.
            _logger.LogCritical("another daemon has taken over; exiting");
            Environment.Exit(1);
        }

        _stop.TrySetResult(false);
    }

    private void Serve<TReply>(RpcCall call, Func<Task<(Status Status, TReply Reply, string Error)>> work)
        where TReply : struct, IWireMessage<TReply> => _ = Task.Run(async () =>
        {
            try
            {
                var (status, reply, error) = await work();
                if (status == Status.OK)
                {
                    call.Reply(reply);
                }
                else
                {
                    call.Fail(status, error);
                }
            }
            catch (Exception e)
            {
                _logger.LogError(e, "{Opcode} failed", call.Header.Opcode);
                call.Fail(Status.Internal);
            }
        });

    private static (Status Status, Empty Reply, string Error) With((Status Status, string Error) result) => (result.Status, default, result.Error);

    /// <summary>What is said of volumes may have changed.</summary>
    private void Follow(Label[] hints)
    {
        foreach (var (volume, text) in hints)
        {
            foreach (var mount in _mounts.Values.Where(mount => mount.Record.Volume == volume))
            {
                mount.Follow(text);
            }
        }
    }

    private MountStatus[] MountStatuses() => [.. _mounts.Values.Select(m => m.Status)];

    private RegisterRequest Describe() => new(
        ServerRole.Node, _options.Name, _options.ControlEndpoint.Text, _options.MetricsEndpointSource?.Invoke() ?? _options.MetricsEndpoint, (uint)Environment.ProcessId, [], MountStatuses());
}
