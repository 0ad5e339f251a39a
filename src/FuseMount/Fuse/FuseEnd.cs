using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Why a connection ended.</summary>
public enum FuseEndReason
{
    /// <summary>Told to; the mount is still there.</summary>
    Stopped,

    /// <summary>The file system was unmounted.</summary>
    Unmounted,

    /// <summary>The connection was aborted (<c>/sys/fs/fuse/connections/N/abort</c>, umount -f).</summary>
    Aborted,

    /// <summary>The device failed.</summary>
    Failed,
}

/// <summary>How a connection ended.</summary>
public readonly record struct FuseEnd(FuseEndReason Reason, Errno Errno);

/// <summary>INIT did not come or was not agreed on. The message is one line for the user.</summary>
public sealed class FuseProtocolException(Errno errno, string message) : Exception(message)
{
    public Errno Errno { get; } = errno;
}
