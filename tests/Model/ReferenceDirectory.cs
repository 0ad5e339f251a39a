using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Model;

/// <summary>A new directory on tmpfs, removed at the end. <c>EPHEMERALFS_TEST_REFERENCE</c> names another parent than <c>/dev/shm</c>.</summary>
public sealed class ReferenceDirectory : IDisposable
{
    private static int counter;

    /// <param name="within">The parent; null for the default.</param>
    public ReferenceDirectory(string? within = null)
    {
        string parent = within ?? Environment.GetEnvironmentVariable("EPHEMERALFS_TEST_REFERENCE") ?? "/dev/shm";
        Location = Path.Combine(parent, $"ephemeralfs-reference-{Environment.ProcessId}-{Interlocked.Increment(ref counter)}");
        Directory.CreateDirectory(Location);
    }

    /// <summary>Its path, ordinary text.</summary>
    public string Location { get; }

    public void Dispose() => Scratch.Remove(Location);
}
