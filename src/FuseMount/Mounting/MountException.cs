using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Mounting;

/// <summary>Something cannot be mounted or unmounted. The message is one line that says what to do.</summary>
public sealed class MountException(Errno errno, string message) : Exception(message)
{
    /// <param name="status">What a server said, which errnos have no word for.</param>
    /// <param name="message">One line that says why.</param>
    public MountException(Status status, string message)
        : this(status.ToErrno(), message) => Status = status;

    public Errno Errno { get; } = errno;

    public Status Status { get; } = errno.ToStatus();
}
