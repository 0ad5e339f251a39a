using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>The kernel's control file system of FUSE connections (Documentation/filesystems/fuse/fuse.rst, "Control filesystem").</summary>
internal static class FuseControl
{
    private const string Directory = "/sys/fs/fuse/connections";

    /// <summary>Ends a connection, wherever its mounts are: whoever waits for an answer gets ECONNABORTED. OK also when there is none.</summary>
    /// <param name="device"><c>major:minor</c> of the file system.</param>
    public static Errno Abort(string device)
    {
        // In a container sysfs is there without what the host has mounted in it.
        if (!System.IO.Directory.EnumerateFileSystemEntries(Directory).Any() && Mounts.Mount("fusectl", Directory, "fusectl", MountFlags.None, "") is not (Errno.OK or Errno.EBUSY) and var errno)
        {
            return errno;
        }

        try
        {
            File.WriteAllText(Path.Combine(Directory, device[(device.IndexOf(':') + 1)..], "abort"), "1");
            return Errno.OK;
        }
        catch (Exception e) when (e is DirectoryNotFoundException or FileNotFoundException)
        {
            return Errno.OK; // it has ended
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Errno.EACCES;
        }
    }
}
