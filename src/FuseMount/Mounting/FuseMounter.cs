using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Mounting;

/// <summary>A descriptor that the kernel has tied to a mount point. INIT has not been answered yet.</summary>
/// <param name="Device">Owned by whoever got this record.</param>
/// <param name="MountPoint">Absolute path, without symbolic links.</param>
/// <param name="ByFusermount">Whether fusermount3 did it, and must undo it.</param>
public sealed record FuseMountPoint(SafeFileHandle Device, string MountPoint, bool ByFusermount);

/// <summary>Mounts and unmounts: by mount(2) with the right to, by the set-user-id program <c>fusermount3</c> otherwise.</summary>
public static class FuseMounter
{
    private const string DevicePath = "/dev/fuse";

    private const string HelperConfiguration = "/etc/fuse.conf";

    /// <summary>Where fusermount3 is looked for beside PATH.</summary>
    private static readonly string[] HelperDirectories = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];

    /// <summary>How long fusermount3 may take, ms.</summary>
    private const int HelperTimeoutMs = 20_000;

    /// <summary>Checks a directory before anything is started for it.</summary>
    /// <returns>Its absolute path without symbolic links.</returns>
    /// <exception cref="MountException">Missing, not a directory, mounted already, or not empty.</exception>
    public static string CheckMountPoint(string directory, bool nonEmpty)
    {
        string path = MountPaths.Resolve(directory);
        // A mount whose daemon has died cannot even be looked at: the table must be asked first.
        if (MountTable.Find(path) is { } mounted)
        {
            throw new MountException(
                Errno.EBUSY, $"{directory}: already a mount point ({mounted.Type}, {mounted.Source}); unmount it first: ephemeralfs umount {directory}");
        }
        if (File.Exists(path))
        {
            throw new MountException(Errno.ENOTDIR, $"{directory}: not a directory");
        }
        if (!Directory.Exists(path))
        {
            throw new MountException(Errno.ENOENT, $"{directory}: no such directory; make it first: mkdir -p {directory}");
        }
        if (!nonEmpty && !IsEmpty(directory, path))
        {
            throw new MountException(
                Errno.ENOTEMPTY, $"{directory}: not empty; choose an empty directory, or allow hiding what is in it with the mount option nonempty");
        }
        return path;
    }

    /// <summary>Checks that this machine has FUSE.</summary>
    /// <exception cref="MountException">It has not.</exception>
    public static void CheckDevice()
    {
        if (!File.Exists(DevicePath))
        {
            throw new MountException(
                Errno.ENOENT, $"{DevicePath} is missing; load the module (modprobe fuse), or give the container the device (--device {DevicePath})");
        }
    }

    /// <summary>Mounts.</summary>
    /// <exception cref="MountException">One line that says why, and what to do.</exception>
    public static FuseMountPoint Mount(string directory, FuseMountOptions options)
    {
        CheckText(options.FsName);
        CheckText(options.Subtype);
        string path = CheckMountPoint(directory, options.NonEmpty);
        CheckDevice();
        if (options.ForceFusermount)
        {
            return MountByHelper(directory, path, options);
        }
        Errno errno = MountDirectly(path, options, out SafeFileHandle? device);
        if (errno == Errno.OK)
        {
            return new FuseMountPoint(device!, path, ByFusermount: false);
        }
        if (errno is Errno.EPERM or Errno.EACCES)
        {
            return MountByHelper(directory, path, options);
        }
        throw new MountException(errno, $"{directory}: mount failed: {errno}");
    }

    /// <summary>Unmounts.</summary>
    /// <param name="directory">The mount point.</param>
    /// <param name="lazy">Takes it out of sight at once, also while in use.</param>
    /// <param name="abort">Ends the connection first: programs that wait for an answer get an error instead.</param>
    /// <exception cref="MountException">Not mounted, busy, or not allowed.</exception>
    public static void Unmount(string directory, bool lazy, bool abort = false)
    {
        string path = MountPaths.Resolve(directory);
        if (MountTable.Find(path) is null)
        {
            throw new MountException(Errno.EINVAL, $"{directory}: not a mount point");
        }
        Errno errno = Mounts.Unmount(
            path, UnmountFlags.NoFollow | (lazy ? UnmountFlags.Detach : UnmountFlags.None) | (abort ? UnmountFlags.Force : UnmountFlags.None));
        switch (errno)
        {
            case Errno.OK:
                return;
            case Errno.EPERM:
                UnmountByHelper(directory, path, lazy);
                return;
            case Errno.EBUSY:
                throw new MountException(errno, $"{directory}: in use; see who with: fuser -vm {directory}, or unmount lazily with --lazy");
            default:
                throw new MountException(errno, $"{directory}: unmount failed: {errno}");
        }
    }

    private static bool IsEmpty(string directory, string path)
    {
        try
        {
            return !Directory.EnumerateFileSystemEntries(path).Any();
        }
        catch (UnauthorizedAccessException)
        {
            throw new MountException(Errno.EACCES, $"{directory}: permission denied");
        }
        catch (IOException e)
        {
            throw new MountException(Errno.EIO, $"{directory}: cannot be read: {e.Message}");
        }
    }

    private static Errno MountDirectly(string path, FuseMountOptions options, out SafeFileHandle? device)
    {
        device = null;
        Errno errno = DeviceIo.Open(DevicePath, DeviceIo.O_RDWR, out int fd);
        if (errno != Errno.OK)
        {
            return errno;
        }
        var handle = new SafeFileHandle(fd, ownsHandle: true);
        MountFlags flags = (options.ReadOnly ? MountFlags.ReadOnly : 0)
            | (options.NoSuid ? MountFlags.NoSuid : 0)
            | (options.NoDev ? MountFlags.NoDev : 0)
            | (options.NoExec ? MountFlags.NoExec : 0)
            | (options.NoAtime ? MountFlags.NoAtime : 0);
        // rootmode: the kernel only wants to know that it is a directory.
        string data = string.Create(
            CultureInfo.InvariantCulture, $"fd={fd},rootmode=40000,user_id={Mounts.UserId},group_id={Mounts.GroupId}")
            + (options.AllowOther ? ",allow_other" : "")
            + (options.DefaultPermissions ? ",default_permissions" : "")
            + (options.MaxReadBytes > 0 ? string.Create(CultureInfo.InvariantCulture, $",max_read={options.MaxReadBytes}") : "");
        errno = Mounts.Mount(options.FsName, path, "fuse." + options.Subtype, flags, data);
        if (errno != Errno.OK)
        {
            handle.Dispose();
            return errno;
        }
        device = handle;
        return Errno.OK;
    }

    private static FuseMountPoint MountByHelper(string directory, string path, FuseMountOptions options)
    {
        string helper = FindHelper()
            ?? throw new MountException(
                Errno.EPERM, $"{directory}: no privilege to mount, and fusermount3 is missing; install it (apt-get install fuse3) or run as root");
        if (Mounts.Access(DevicePath, Mounts.R_OK | Mounts.W_OK) is var access && access != Errno.OK)
        {
            // fusermount3 opens the device with the user's rights, not its own.
            throw new MountException(
                access, $"{directory}: no permission on {DevicePath}; run as root, or let users mount: chmod 666 {DevicePath}");
        }
        if (options.AllowOther && !UserMayAllowOther())
        {
            if (options.RequireAllowOther)
            {
                throw new MountException(
                    Errno.EPERM, $"{directory}: users may not mount with allow_other; write user_allow_other into {HelperConfiguration}, or leave allow_other out");
            }
            options = options with { AllowOther = false };
        }
        string arguments = string.Join(',', HelperOptions(options));
        Errno errno = DescriptorSockets.Pair(out int kept, out int inherited);
        if (errno != Errno.OK)
        {
            throw new MountException(errno, $"{directory}: socketpair failed: {errno}");
        }
        using var receiving = new SafeFileHandle(kept, ownsHandle: true);
        var sending = new SafeFileHandle(inherited, ownsHandle: true);
        try
        {
            var start = new ProcessStartInfo(helper) { RedirectStandardError = true, UseShellExecute = false };
            start.ArgumentList.Add("-o");
            start.ArgumentList.Add(arguments);
            start.ArgumentList.Add("--");
            start.ArgumentList.Add(path);
            start.Environment["_FUSE_COMMFD"] = inherited.ToString(CultureInfo.InvariantCulture);
            using Process process = Start(start, directory);
            // Ours must be closed, or the end of a helper that sends nothing would not be seen.
            sending.Dispose();
            errno = DescriptorSockets.ReceiveDescriptor(kept, out int fd);
            string said = Finish(process, helper);
            if (errno != Errno.OK || process.ExitCode != 0)
            {
                if (errno == Errno.OK)
                {
                    DeviceIo.Close(fd);
                }
                throw new MountException(Errno.EPERM, $"{directory}: {helper} failed: {said}");
            }
            return new FuseMountPoint(new SafeFileHandle(fd, ownsHandle: true), path, ByFusermount: true);
        }
        finally
        {
            sending.Dispose();
        }
    }

    private static void UnmountByHelper(string directory, string path, bool lazy)
    {
        string helper = FindHelper()
            ?? throw new MountException(Errno.EPERM, $"{directory}: no privilege to unmount, and fusermount3 is missing");
        var start = new ProcessStartInfo(helper) { RedirectStandardError = true, UseShellExecute = false };
        start.ArgumentList.Add("-u");
        if (lazy)
        {
            start.ArgumentList.Add("-z");
        }
        start.ArgumentList.Add("--");
        start.ArgumentList.Add(path);
        using Process process = Start(start, directory);
        string said = Finish(process, helper);
        if (process.ExitCode != 0)
        {
            throw new MountException(Errno.EPERM, $"{directory}: {helper} failed: {said}");
        }
    }

    private static Process Start(ProcessStartInfo start, string directory)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new MountException((Errno)e.NativeErrorCode, $"{directory}: {start.FileName} cannot be run: {e.Message}");
        }
    }

    private static string Finish(Process process, string helper)
    {
        Task<string> said = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(HelperTimeoutMs))
        {
            process.Kill();
            throw new MountException(Errno.ETIMEDOUT, $"{helper} did not end within {HelperTimeoutMs / 1000} s");
        }
        return said.GetAwaiter().GetResult().Trim().ReplaceLineEndings("; ");
    }

    private static IEnumerable<string> HelperOptions(FuseMountOptions options)
    {
        yield return "fsname=" + options.FsName;
        yield return "subtype=" + options.Subtype;
        yield return options.ReadOnly ? "ro" : "rw";
        if (options.NoSuid)
        {
            yield return "nosuid";
        }
        if (options.NoDev)
        {
            yield return "nodev";
        }
        if (options.NoExec)
        {
            yield return "noexec";
        }
        if (options.NoAtime)
        {
            yield return "noatime";
        }
        if (options.AllowOther)
        {
            yield return "allow_other";
        }
        if (options.DefaultPermissions)
        {
            yield return "default_permissions";
        }
        if (options.MaxReadBytes > 0)
        {
            yield return string.Create(CultureInfo.InvariantCulture, $"max_read={options.MaxReadBytes}");
        }
    }

    /// <summary>Whether fusermount3 accepts allow_other from a user, fusermount3(1).</summary>
    private static bool UserMayAllowOther()
    {
        if (Mounts.UserId == 0)
        {
            return true;
        }
        try
        {
            return File.ReadLines(HelperConfiguration).Any(line => line.Trim() == "user_allow_other");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string? FindHelper()
    {
        IEnumerable<string> path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        return path.Concat(HelperDirectories).Select(d => Path.Combine(d, "fusermount3")).FirstOrDefault(File.Exists);
    }

    /// <summary>Names go into option lists, where a comma or backslash would start another option.</summary>
    private static void CheckText(string text)
    {
        if (text.Length == 0 || text.AsSpan().IndexOfAny(",\\\n\0") >= 0)
        {
            throw new MountException(Errno.EINVAL, $"'{text}': a mount's name has no comma, backslash or line end, and is not empty");
        }
    }
}
