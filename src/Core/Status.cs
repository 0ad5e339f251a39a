namespace EphemeralFs.Core;

/// <summary>The outcome of a request on the wire. Numbers are never reused.</summary>
/// <remarks>0 is success; 1 … 999 are <see cref="Errno"/> values; 1xxx protocol and transport; 2xxx storage; 3xxx control plane.</remarks>
public enum Status
{
    OK = 0,

    /// <summary>The frame or message could not be understood.</summary>
    BadRequest = 1001,

    /// <summary>The sender's epoch is older than the session's: it was fenced.</summary>
    StaleEpoch = 1002,

    /// <summary>The session is not known here (any more).</summary>
    UnknownSession = 1003,

    /// <summary>The peer speaks another protocol version.</summary>
    VersionMismatch = 1004,

    /// <summary>The peer could not be reached, or went away, within the deadline.</summary>
    Unavailable = 1005,

    /// <summary>A checksum over received bytes does not match.</summary>
    ChecksumMismatch = 1006,

    /// <summary>The caller gave up.</summary>
    Canceled = 1007,

    /// <summary>A bug at the peer; its log has the exception.</summary>
    Internal = 1008,

    /// <summary>No such opcode at this role.</summary>
    UnknownOpcode = 1009,

    /// <summary>No tier of the storage server has room for the block.</summary>
    TierFull = 2001,

    /// <summary>The storage server does not hold the block.</summary>
    BlockNotFound = 2002,

    /// <summary>The stored bytes do not match their checksum.</summary>
    BlockCorrupt = 2003,

    /// <summary>The medium failed.</summary>
    TierFailed = 2004,

    NoSuchVolume = 3001,
    VolumeExists = 3002,
    VolumeBusy = 3003,
    NoSuchServer = 3004,
}

/// <summary>The one map from wire status to what a program sees.</summary>
public static class StatusExtensions
{
    /// <summary>Maps to the errno for the program; see <c>docs/protocol.md</c>, "Status".</summary>
    public static Errno ToErrno(this Status status) => status switch
    {
        >= 0 and < (Status)1000 => (Errno)(int)status,
        Status.Canceled => Errno.EINTR,
        Status.TierFull => Errno.ENOSPC,
        Status.NoSuchVolume => Errno.ENODEV,
        Status.VolumeExists => Errno.EEXIST,
        Status.VolumeBusy => Errno.EBUSY,
        _ => Errno.EIO,
    };

    /// <summary>The errno as a wire status.</summary>
    public static Status ToStatus(this Errno errno) => (Status)(int)errno;
}
