using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Unit.Storage;

/// <summary>A tmpfs of a few pages, to see what happens when a medium is really full.</summary>
internal sealed class TinyTmpfs : IDisposable
{
    private TinyTmpfs(string path) => Path = path;

    public string Path { get; }

    public static TinyTmpfs Mount(string path, int bytes)
    {
        Assert.Equal(Errno.OK, Mounts.Mount("tmpfs", path, "tmpfs", MountFlags.None, $"size={bytes}"));
        return new TinyTmpfs(path);
    }

    public void Dispose() => Assert.Equal(Errno.OK, Mounts.Unmount(Path, UnmountFlags.Detach));
}

/// <summary>A test that mounts.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RootFactAttribute : FactAttribute
{
    public RootFactAttribute() => Skip = Mounts.EffectiveUserId == 0 ? null : "needs root, to mount a tmpfs";
}
