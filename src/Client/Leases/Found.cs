using EphemeralFs.Core;

namespace EphemeralFs.Client.Leases;

/// <summary>What a name or an inode number led to.</summary>
/// <param name="Status">The outcome; that there is no such name may be cached as well.</param>
/// <param name="Attributes">As a program on this node sees them.</param>
/// <param name="Lease">What of it may be cached.</param>
public readonly record struct Found(Status Status, InodeAttributes Attributes, LeaseOffer Lease);
