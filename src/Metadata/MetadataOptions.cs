using EphemeralFs.Core;
using EphemeralFs.Rpc;

namespace EphemeralFs.Metadata;

/// <summary>How a metadata server runs.</summary>
public sealed record MetadataOptions
{
    /// <summary>Directory for its state; <c>metadata/</c> is made below it.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>Where it serves.</summary>
    public required Endpoint Endpoint { get; init; }

    /// <summary>A session that was not heard of for this long is ended (and a margin, because the node counts from when it sent).</summary>
    public int SessionTimeoutMs { get; init; } = Limits.SessionTimeoutMs;

    /// <summary>Added to the time-out at the server's side.</summary>
    public int SessionMarginMs { get; init; } = 2_000;

    /// <summary>How long a session may take to give unused grant back before the others go without it.</summary>
    public int GrantRecallTimeoutMs { get; init; } = 5_000;

    /// <summary>How long a node may take to forget the name of a directory that another one has moved, before the mover is answered, milliseconds.</summary>
    public int ForgetNameTimeoutMs { get; init; } = 1_000;

    /// <summary>A snapshot is made when the journal has grown by this much (and by as much as the last snapshot has).</summary>
    public long SnapshotAfterBytes { get; init; } = 64 << 20;

    /// <summary>The clock of sessions and leases.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Connects to a storage server; null for the usual client. Tests put their own in.</summary>
    public Func<Endpoint, RpcClient>? ConnectToStorage { get; init; }
}
