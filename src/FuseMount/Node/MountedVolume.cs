using System.Globalization;
using System.Text;
using EphemeralFs.Client;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Adapter;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Interop;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Node;

/// <summary>One mount of a node daemon: the kernel's connection, the volume's client and the memory that outlives both.</summary>
internal sealed class MountedVolume : IDisposable
{
    private static readonly TimeSpan FinishDrain = TimeSpan.FromSeconds(5);

    private readonly SharedMemory _memory;
    private readonly FuseConnection _connection;
    private readonly VolumeClient _client;
    private readonly KernelCache _cache;

    private MountedVolume(MountRecord record, SharedMemory memory, FuseConnection connection, VolumeClient client, KernelCache cache)
    {
        Record = record;
        _cache = cache;
        _memory = memory;
        _connection = connection;
        _client = client;
    }

    private static void Report(VolumeClient client, string volume, string directory, ILogger logger)
    {
        client.Fenced += (status, lost) => logger.LogWarning(
            "{Directory}: the metadata server has ended the session of volume {Volume} ({Status}): open files fail with EIO until they are closed, locks are gone, "
            + "and {Files} files lost {Bytes} bytes, which {Lost} lists",
            directory, volume, status, lost.Count, lost.Sum(file => (long)file.Bytes), Path.Combine(directory, ".lost"));
        client.Session.Reopened += status =>
        {
            if (status == Core.Status.OK)
            {
                logger.LogInformation("{Directory}: volume {Volume} has a new session, {Session:x}", directory, volume, client.Session.Id);
            }
            else
            {
                logger.LogError("{Directory}: {Reason}", directory, SessionFailed(volume, client.Session.Endpoint.Text, status));
            }
        };
    }

    /// <summary>What the keeper keeps.</summary>
    public MountRecord Record { get; }

    /// <summary><c>major:minor</c> of the file system, as the mount table has it; empty when it is not mounted any more.</summary>
    public string Device { get; private set; } = "";

    /// <summary>What is wrong with it; empty when it is well.</summary>
    public string Problem => _client.Session.IsFenced ? "its session has ended and the metadata server gives no new one: see 'ephemeralfs status'" : "";

    /// <summary>What is said of the volume from now on, as <see cref="VolumeHints"/> writes it: new blocks go to the tier.</summary>
    public void Follow(string hints) => _client.Placement.Tier = VolumeHints.Parse(hints)?.Tier ?? TierClass.None;

    /// <summary>Completes when the kernel ends the connection (umount, abort).</summary>
    public Task<FuseEnd> Ended => _connection.Completion;

    /// <summary>The descriptors that the keeper keeps: the memory first, then the kernel's.</summary>
    public IReadOnlyList<SafeFileHandle> Descriptors =>
        [_memory.Handle, .. _connection.Descriptors.Select(fd => new SafeFileHandle(fd, ownsHandle: false))];

    /// <summary>As <c>status</c> shows it.</summary>
    public MountStatus Status => new(Record.Volume, Record.Directory, _client.Session.Id, Record.Options);

    /// <summary>Opens the session, mounts and negotiates; <see cref="Start"/> begins to serve.</summary>
    /// <exception cref="MountException">One line that says why.</exception>
    public static async Task<MountedVolume> MountAsync(MountRequest request, string metadataEndpoint, NodeOptions options, NodeStorage storage, ILogger logger)
    {
        var mountOptions = MountOptionsText.Parse(request.Options, request.Volume);
        FuseMounter.CheckMountPoint(request.Directory, mountOptions.NonEmpty);
        FuseMounter.CheckDevice();
        var id = Guid.NewGuid().ToString("N");
        var error = SharedMemory.Create($"ephemeralfs-{request.Volume}", NodeMemory.SizeFor(options.WriteCacheBytes), allocate: false, out var memory);
        if (memory is null)
        {
            throw new MountException(error, $"no memory for the write cache of {options.WriteCacheBytes} bytes: {error}");
        }

        var holder = new KernelCache(TimeProvider.System);
        var client = CreateClient(request.Volume, metadataEndpoint, options, storage, memory, holder);
        FuseMountPoint? mounted = null;
        try
        {
            var status = await client.OpenAsync();
            if (status != Core.Status.OK)
            {
                throw new MountException(status, SessionFailed(request.Volume, metadataEndpoint, status));
            }

            mounted = FuseMounter.Mount(request.Directory, mountOptions);
            var handler = CreateHandler(client, storage, request.Volume, holder);
            var connection = FuseConnection.Open(handler, ConnectionOptions(options, logger, mountOptions.AllowIdmap), mounted.Device);
            holder.Serve(connection, mounted.MountPoint);
            Report(client, request.Volume, mounted.MountPoint, logger);
            var record = new MountRecord(
                id, request.Volume, mounted.MountPoint, request.Options, metadataEndpoint, mounted.ByFusermount, connection.Negotiated);
            return new MountedVolume(record, memory, connection, client, holder);
        }
        catch
        {
            if (mounted is not null)
            {
                FuseMounter.Unmount(mounted.MountPoint, lazy: true);
            }

            await client.CloseAsync(discards: true);
            client.Dispose();
            memory.Dispose();
            throw;
        }
    }

    /// <summary>Takes over a mount that a predecessor served.</summary>
    public static async Task<MountedVolume> ResumeAsync(
        MountRecord record, IReadOnlyList<SafeFileHandle> descriptors, NodeOptions options, NodeStorage storage, ILogger logger)
    {
        var error = SharedMemory.Map(descriptors[0], out var memory);
        if (memory is null)
        {
            throw new MountException(error, $"{record.Directory}: the memory kept for it cannot be mapped: {error}");
        }

        var holder = new KernelCache(TimeProvider.System);
        var client = CreateClient(record.Volume, record.MetadataEndpoint, options, storage, memory, holder);
        FuseConnection connection;
        try
        {
            var handler = CreateHandler(client, storage, record.Volume, holder);
            connection = FuseConnection.Resume(handler, ConnectionOptions(options, logger), record.Negotiated, [.. descriptors.Skip(1)]);
        }
        catch
        {
            client.Dispose();
            memory.Dispose();
            throw;
        }

        holder.Serve(connection, record.Directory);
        Report(client, record.Volume, record.Directory, logger);

        // The metadata server may be away as well: requests wait for it, each with its deadline. If it has ended the session meanwhile, another one is opened.
        var status = await client.OpenAsync();
        if (status is not (Core.Status.OK or Core.Status.UnknownSession or Core.Status.StaleEpoch))
        {
            logger.LogError("{Directory}: {Reason}", record.Directory, SessionFailed(record.Volume, record.MetadataEndpoint, status));
        }

        return new MountedVolume(record, memory, connection, client, holder);
    }

    /// <summary>Gives the root directory to a group, which may write there, and everything that is made below. Not through the mount: a daemon that is killed must not wait for itself.</summary>
    public async Task<Status> GiveToAsync(uint group)
    {
        const uint Rights = Core.FileMode.GroupAll | Core.FileMode.SetGid;
        var found = await _client.Namespace.GetAttrAsync(Ino.Root);
        if (found.Status != Core.Status.OK || (found.Attributes.Gid == group && (found.Attributes.Mode & Rights) == Rights))
        {
            return found.Status;
        }

        var operation = _client.Session.Begin();
        try
        {
            var (status, _) = await _client.Namespace.SetAttrAsync(
                operation, new SetAttrRequest(Ino.Root, SetAttrFields.Gid | SetAttrFields.Mode, (found.Attributes.Mode & Core.FileMode.PermissionMask) | Rights, 0, group, 0, 0, 0));
            if (status == Core.Status.OK)
            {
                await _cache.RecallAttributesAsync(Ino.Root);
            }

            return status;
        }
        finally
        {
            operation.Complete();
        }
    }

    /// <summary>Begins to serve.</summary>
    public void Start()
    {
        Device = MountTable.Find(Record.Directory)?.Device ?? "";
        _connection.Start();
    }

    /// <summary>Stops serving and leaves the mount to a successor.</summary>
    public void Leave(TimeSpan drain)
    {
        _connection.Stop(drain);
        _client.Dispose();
    }

    /// <summary>Completes when everything of the mount is gone, its session too; see <see cref="FinishAsync"/>.</summary>
    public TaskCompletionSource Finished { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>What is unflushed when the mount ends is of no use to anybody.</summary>
    public bool Discards { get; set; }

    /// <summary>The kernel has let go of the mount: commits what is unflushed and ends the session.</summary>
    public async Task FinishAsync()
    {
        await _client.CloseAsync(Discards);

        // Not on the thread that has received the last answer: it may have others for those who are waited for here.
        await Task.Yield();

        // What is still on its way here, as a RELEASE that nobody waited for, ends now that there is no session, and works with the memory until then.
        _connection.Stop(FinishDrain);
        Dispose();
    }

    public void Dispose()
    {
        _connection.Dispose();
        _client.Dispose();
        _memory.Dispose();
    }

    /// <summary>Counters of the mount for <c>/metrics</c>.</summary>
    public IEnumerable<(string Name, string Labels, double Value)> Metrics()
    {
        var labels = $"volume=\"{Record.Volume}\",mount=\"{Record.Directory}\"";
        yield return ("ephemeralfs_node_open_handles", labels, _client.Files.Table.HandleCount);
        yield return ("ephemeralfs_node_slots_in_use", labels, _client.Session.Slots.InUse);
        yield return ("ephemeralfs_node_write_cache_bytes", labels, _client.WriteBackBytes.Used);
        yield return ("ephemeralfs_node_grant_unused_bytes", labels, _client.Grants.UnusedBytes);
        yield return ("ephemeralfs_node_fenced", labels, _client.Session.IsFenced ? 1 : 0);
        yield return ("ephemeralfs_node_fenced_total", labels, _client.Session.Life);
        yield return ("ephemeralfs_node_lost_files_total", labels, _client.Lost.FileCount);
        yield return ("ephemeralfs_node_lost_bytes_total", labels, _client.Lost.ByteCount);
        yield return ("ephemeralfs_node_notifications_total", labels, _connection.Notifier.Sent);
        yield return ("ephemeralfs_node_leases", labels, _client.Leases.Count);
        yield return ("ephemeralfs_node_lease_recalls_total", labels, _client.Leases.Recalls);
        foreach (var row in _connection.Counters.Snapshot())
        {
            var operation = $"{labels},op=\"{row.Name}\"";
            yield return ("ephemeralfs_fuse_requests_total", operation, row.Count);
            yield return ("ephemeralfs_fuse_errors_total", operation, row.Errors);
            yield return ("ephemeralfs_fuse_seconds_total", operation, row.TotalNs / 1e9);
        }
    }

    private static string SessionFailed(string volume, string endpoint, Status status) => status switch
    {
        Core.Status.NoSuchVolume => $"volume '{volume}' does not exist; create it with: ephemeralfs volume create {volume}",
        Core.Status.Unavailable => $"the metadata server of volume '{volume}' at {endpoint} does not answer; see: ephemeralfs status",
        _ => $"the metadata server of volume '{volume}' refuses the session: {status}",
    };

    private static VolumeClient CreateClient(
        string volume, string metadataEndpoint, NodeOptions options, NodeStorage storage, SharedMemory memory, KernelCache holder)
    {
        var client = new VolumeClient(Endpoint.Parse(metadataEndpoint), volume, options.Name, new NodeMemory(memory), storage.Blocks, holder, options.DeadlineMs);
        holder.IsOnItsWay = client.Leases.IsOnItsWay;
        return client;
    }

    private static VolumeFileSystemData CreateHandler(VolumeClient client, NodeStorage storage, string volume, KernelCache holder) =>
        new(client, new VirtualFiles(() => StatsText(client, volume, holder), () => LostText(client)), storage.Servers.Space);

    private static FuseConnectionOptions ConnectionOptions(NodeOptions options, ILogger logger, bool allowIdmap = false)
    {
        var rarely = new Rarely();
        return new FuseConnectionOptions
        {
            // Cached pages are dropped by recalls, not by asking at each read.
            Flags = (FuseConnectionOptions.DefaultFlags & ~FuseInitFlags.AUTO_INVAL_DATA) | (allowIdmap ? FuseInitFlags.ALLOW_IDMAP : 0),
            Workers = options.Workers,
            SlowOperationMs = options.SlowOperationMs,
            OnSlow = slow => logger.LogWarning(
                "slow operation: {Opcode} of inode {Ino} by process {Pid} took {Ms:0} ms: {Result}", slow.Opcode, slow.NodeId, slow.Pid, slow.ElapsedMs, slow.Result),
            OnIoError = failed =>
            {
                if (rarely.MaySay(out var unsaid))
                {
                    logger.LogWarning(
                        "{Opcode} of inode {Ino} by process {Pid} was answered EIO after {Ms:0} ms; {Unsaid} more since the last such line",
                        failed.Opcode, failed.NodeId, failed.Pid, failed.ElapsedMs, unsaid);
                }
            },
            OnFault = fault => logger.LogError(fault.Exception, "fuse: {Opcode} {Unique}: {What}", fault.Opcode, fault.Unique, fault.What),
            Trace = options.TraceFuse ? line => logger.LogInformation("{Line}", line) : null,
        };
    }

    private static string StatsText(VolumeClient client, string volume, KernelCache holder)
    {
        var text = new StringBuilder();
        Line("volume", volume);
        Line("session", client.Session.Id.ToString("x", CultureInfo.InvariantCulture));
        Line("fenced", client.Session.IsFenced);
        Line("sessions_ended", client.Session.Life);
        Line("lost_files", client.Lost.FileCount);
        Line("lost_bytes", client.Lost.ByteCount);
        Line("open_handles", client.Files.Table.HandleCount);
        Line("write_cache_used_bytes", client.WriteBackBytes.Used);
        Line("write_cache_capacity_bytes", client.WriteBackBytes.Capacity);
        Line("grant_unused_bytes", client.Grants.UnusedBytes);
        Line("leases", client.Leases.Count);
        Line("lease_recalls", client.Leases.Recalls);
        foreach (var row in holder.Connection?.Counters.Snapshot() ?? [])
        {
            Line($"op_{row.Name.ToLowerInvariant()}", $"count={row.Count} errors={row.Errors} mean_us={(row.Count == 0 ? 0 : row.TotalNs / row.Count / 1000)}");
        }

        return text.ToString();

        void Line(string name, object value) => text.Append(CultureInfo.InvariantCulture, $"{name}: {value}\n");
    }

    /// <summary>A line for each file, fields separated by tabs; the path last.</summary>
    private static string LostText(VolumeClient client)
    {
        var records = client.Lost.Read();
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# sessions ended: {client.Session.Life}, files: {client.Lost.FileCount}, bytes: {client.Lost.ByteCount}\n");
        if (client.Lost.FileCount > (ulong)records.Count)
        {
            text.Append(CultureInfo.InvariantCulture, $"# the oldest {client.Lost.FileCount - (ulong)records.Count} files are not listed any more\n");
        }

        text.Append("# time\tinode\tbytes\treason\tpath\n");
        foreach (var file in records)
        {
            var reason = file.Reason == LostReason.SessionEnded ? "session-ended" : "write-back-failed";
            var path = file.Path.Length == 0 ? "?" : file.Path.Replace("\n", "\\n", StringComparison.Ordinal);
            text.Append(CultureInfo.InvariantCulture, $"{DateTime.UnixEpoch.AddTicks(file.TimeNs / 100):yyyy-MM-ddTHH:mm:ss.fffZ}\t{file.Ino}\t{file.Bytes}\t{reason}\t{path}\n");
        }

        return text.ToString();
    }
}
