using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>A volume of a cluster that is started for these checks; <c>EPHEMERALFS_TEST_DIR</c> names a directory that is judged instead.</summary>
public sealed class MountTarget : ITestTarget, IDisposable
{
    private readonly VolumeFixture? volume;

    public MountTarget()
    {
        if (Environment.GetEnvironmentVariable("EPHEMERALFS_TEST_DIR") is { Length: > 0 } given)
        {
            Path = System.IO.Path.GetFullPath(given).TrimEnd('/');
            return;
        }
        volume = new VolumeFixture();
        Path = volume.First;
    }

    public string Path { get; }

    public void Dispose() => volume?.Dispose();
}

/// <summary>All checks on one mount, one class after the other.</summary>
[CollectionDefinition(Name)]
public sealed class MountCollection : ICollectionFixture<MountTarget>
{
    public const string Name = "POSIX on a mount";
}
