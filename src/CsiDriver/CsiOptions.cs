using EphemeralFs.Rpc;

namespace EphemeralFs.CsiDriver;

/// <summary>Configuration of a CSI plugin.</summary>
public sealed record CsiOptions
{
    /// <summary>Path of the socket on which CSI is served.</summary>
    public required string Socket { get; init; }

    /// <summary>Name of the node in Kubernetes.</summary>
    public required string Node { get; init; }

    /// <summary>The cluster's controller.</summary>
    public required Endpoint Controller { get; init; }

    /// <summary>The control socket of this node's daemon; null for a plugin without the node service.</summary>
    public Endpoint? NodeDaemon { get; init; }

    /// <summary>Whether the controller services are served.</summary>
    public bool ServesController { get; init; } = true;

    /// <summary>Whether annotations of claims are read, from the Kubernetes API.</summary>
    public bool ReadsClaims { get; init; }

    /// <summary>Kubelet's directory, to register there; empty to be registered by somebody else, or not at all.</summary>
    public string KubeletDirectory { get; init; } = "";

    /// <summary>Zone of the node.</summary>
    public string Zone { get; init; } = "default";

    /// <summary>How long an inline volume may be without a place before it is taken for what a failed publish left: kubelet waits two minutes for a call.</summary>
    public TimeSpan AbandonedAfter { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How long an inline volume may be mounted by no node before its node is taken for gone: longer than a node reboots.</summary>
    public TimeSpan OrphanedAfter { get; init; } = TimeSpan.FromHours(1);
}
