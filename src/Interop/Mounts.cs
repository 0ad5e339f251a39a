using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Flags of mount(2).</summary>
[Flags]
public enum MountFlags : ulong
{
    None = 0,
    ReadOnly = 1,
    NoSuid = 2,
    NoDev = 4,
    NoExec = 8,
    Synchronous = 16,
    NoAtime = 1024,
}

/// <summary>Flags of umount2(2).</summary>
[Flags]
public enum UnmountFlags
{
    None = 0,

    /// <summary>MNT_FORCE: aborts a FUSE connection first.</summary>
    Force = 1,

    /// <summary>MNT_DETACH: out of sight now, gone when the last user is.</summary>
    Detach = 2,

    /// <summary>UMOUNT_NOFOLLOW: a symbolic link is not followed.</summary>
    NoFollow = 8,
}

/// <summary>mount(2), umount2(2), geteuid(2), access(2).</summary>
public static partial class Mounts
{
    public const int R_OK = 4;
    public const int W_OK = 2;

    /// <summary>Effective user id.</summary>
    public static uint EffectiveUserId => geteuid();

    /// <summary>Real user id.</summary>
    public static uint UserId => getuid();

    /// <summary>Real group id.</summary>
    public static uint GroupId => getgid();

    /// <summary>mount(2). Needs CAP_SYS_ADMIN (EPERM).</summary>
    public static Errno Mount(string source, string target, string type, MountFlags flags, string data) =>
        mount(source, target, type, (nuint)(ulong)flags, data) == 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();

    /// <summary>umount2(2).</summary>
    public static Errno Unmount(string target, UnmountFlags flags) =>
        umount2(target, (int)flags) == 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();

    /// <summary>access(2) with the real user's rights.</summary>
    public static Errno Access(string path, int mode) =>
        access(path, mode) == 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mount(string source, string target, string type, nuint flags, string data);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int umount2(string target, int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int access(string path, int mode);

    [LibraryImport("libc")]
    private static partial uint geteuid();

    [LibraryImport("libc")]
    private static partial uint getuid();

    [LibraryImport("libc")]
    private static partial uint getgid();
}
