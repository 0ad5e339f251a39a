using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>
/// The reference: a private tmpfs, where every check has to pass, because a check that fails there is wrong.
/// </summary>
public sealed class TmpfsTarget : ITestTarget, IDisposable
{
    public TmpfsTarget()
    {
        Path = Directory.CreateTempSubdirectory("ephemeralfs-posix-").FullName;
        Expect.Ok(Native.Chmod(Path, Expect.Octal(755)));
        Errno error = Native.ErrnoOf(Native.Mount("tmpfs", Path, "tmpfs", 0, "size=1g,mode=0755"));
        if (error != Errno.OK)
        {
            Directory.Delete(Path);
            throw new InvalidOperationException($"cannot mount a tmpfs on {Path}: {error}; these checks need root");
        }
    }

    public string Path { get; }

    public void Dispose()
    {
        Expect.Ok(Native.Unmount(Path, Native.MNT_DETACH));
        Directory.Delete(Path);
    }
}
