using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.FuseMount.Node;

/// <summary>Configuration of a node daemon.</summary>
public sealed record NodeOptions
{
    /// <summary>Unique in the cluster.</summary>
    public required string Name { get; init; }

    /// <summary>Where mount requests are taken.</summary>
    public required Endpoint ControlEndpoint { get; init; }

    /// <summary>Where the controller is.</summary>
    public required Endpoint ControllerEndpoint { get; init; }

    /// <summary>The keeper's socket; empty = no keeper, the mounts die with the daemon.</summary>
    public string KeeperSocketPath { get; init; } = "";

    /// <summary>Where volumes are mounted that are published at other places; made when missing.</summary>
    public required string VolumesDirectory { get; init; }

    /// <summary>Bytes of verified blocks kept for reading, for all mounts together.</summary>
    public long ReadCacheBytes { get; init; } = 256L << 20;

    /// <summary>Bytes of unflushed writes per mount.</summary>
    public long WriteCacheBytes { get; init; } = 128L << 20;

    /// <summary>Threads that read requests, per mount.</summary>
    public int Workers { get; init; } = 2;

    /// <summary>How long a request waits for a server that is gone, milliseconds.</summary>
    public int DeadlineMs { get; init; } = Limits.RequestDeadlineMs;

    /// <summary>Requests slower than this get a log line, milliseconds; 0 = none.</summary>
    public int SlowOperationMs { get; init; } = 5000;

    /// <summary>Prints requests with flag names (EPHEMERALFS_TRACE=fuse).</summary>
    public bool TraceFuse { get; init; } =
        Environment.GetEnvironmentVariable("EPHEMERALFS_TRACE")?.Split(',').Contains("fuse", StringComparer.Ordinal) == true;

    /// <summary>Where <c>/metrics</c> is served, told to the controller.</summary>
    public string MetricsEndpoint { get; init; } = "";

    /// <summary>The same, asked before each heartbeat: the web server starts beside the daemon, not before it. Null: <see cref="MetricsEndpoint"/>.</summary>
    public Func<string>? MetricsEndpointSource { get; init; }
}
