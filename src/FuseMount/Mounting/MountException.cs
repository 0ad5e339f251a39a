using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Mounting;

/// <summary>Something cannot be mounted or unmounted. The message is one line that says what to do.</summary>
public sealed class MountException(Errno errno, string message) : Exception(message)
{
    public Errno Errno { get; } = errno;
}
