using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>
/// System calls as the checks use them: the result is what the kernel returned, a negative value being <c>-errno</c>. Nothing is retried
/// and nothing throws.
/// </summary>
internal static unsafe partial class Native
{
    /// <summary>The error in a result, <see cref="Errno.OK"/> for a success.</summary>
    public static Errno ErrnoOf(long result) => result < 0 ? (Errno)(-result) : Errno.OK;

    private static long Result(long returned) => returned == -1 ? -Marshal.GetLastPInvokeError() : returned;

    // ---- mount(2), credentials, namespaces: for fixtures ----

    public const int MNT_DETACH = 2;
    public const ulong MS_RDONLY = 1, MS_REMOUNT = 32, MS_NOATIME = 1024, MS_BIND = 4096;

    [LibraryImport("libc", EntryPoint = "mount", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int MountCall(string source, string target, string type, ulong flags, string? data);

    public static long Mount(string source, string target, string type, ulong flags, string? data) =>
        Result(MountCall(source, target, type, flags, data));

    [LibraryImport("libc", EntryPoint = "umount2", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int UnmountCall(string target, int flags);

    public static long Unmount(string target, int flags) => Result(UnmountCall(target, flags));

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SystemCall(long number, nint a, nint b, nint c);

    private static readonly bool Arm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

    /// <summary>Sets user, group and supplementary groups of the calling thread only: glibc's wrappers would change every thread.</summary>
    /// <remarks>The saved user id stays 0, which keeps the permitted capabilities but clears the effective ones, <c>capabilities(7)</c>.</remarks>
    public static long SetThreadCredentials(uint user, uint group, ReadOnlySpan<uint> groups)
    {
        fixed (uint* list = groups)
        {
            long result = Result(SystemCall(Arm ? 159 : 116, groups.Length, (nint)list, 0)); // setgroups
            if (result < 0)
            {
                return result;
            }
        }
        long changed = Result(SystemCall(Arm ? 149 : 119, (nint)group, (nint)group, (nint)group)); // setresgid
        return changed < 0 ? changed : Result(SystemCall(Arm ? 147 : 117, (nint)user, (nint)user, 0)); // setresuid
    }

    public const int CLONE_FS = 0x200, CLONE_FILES = 0x400;

    [LibraryImport("libc", EntryPoint = "unshare", SetLastError = true)]
    private static partial int UnshareCall(int flags);

    public static long Unshare(int flags) => Result(UnshareCall(flags));

    [LibraryImport("libc", EntryPoint = "umask")]
    public static partial uint Umask(uint mask);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

    [LibraryImport("libc", EntryPoint = "gettid")]
    public static partial int ThreadId();

    [LibraryImport("libc", EntryPoint = "chdir", SetLastError = true, StringMarshallingCustomType = typeof(BytePathMarshaller))]
    private static partial int ChdirCall(string path);

    public static long Chdir(string path) => Result(ChdirCall(path));

    [LibraryImport("libc", EntryPoint = "getcwd", SetLastError = true)]
    private static partial nint GetcwdCall(byte* buffer, nuint size);

    /// <summary>The working directory of the calling thread, or an empty string when it has none any more.</summary>
    public static string Getcwd()
    {
        byte* buffer = stackalloc byte[4096];
        return GetcwdCall(buffer, 4096) == 0 ? "" : Marshal.PtrToStringAnsi((nint)buffer)!;
    }

    // ---- clocks ----

    [LibraryImport("libc", EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int ClockCall(int clock, out Timespec time);

    /// <summary>The clock that stamps files on most file systems, <c>CLOCK_REALTIME_COARSE</c>, in nanoseconds since 1970.</summary>
    public static long CoarseNow()
    {
        _ = ClockCall(5, out Timespec now);
        return now.Nanoseconds;
    }
}
