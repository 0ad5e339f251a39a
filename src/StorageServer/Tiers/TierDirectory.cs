using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>
/// The directory of a tier, opened and claimed: it exists, can be written, is on a medium of the size, belongs to this server and is used by nobody else.
/// </summary>
/// <remarks>
/// The file <c>tier</c> says whose blocks these are: the block map names servers, so a directory must not come under another name.
/// It is locked (flock) while the server runs.
/// </remarks>
internal sealed class TierDirectory : IDisposable
{
    private const string MarkerName = "tier";
    private const string MarkerHeading = "ephemeralfs tier 1";

    private readonly FileStream _marker;

    private TierDirectory(TierOptions options, int descriptor, FileStream marker)
    {
        Path = options.Path;
        Descriptor = descriptor;
        _marker = marker;
    }

    /// <summary>Absolute path.</summary>
    public string Path { get; }

    /// <summary>For the *at system calls.</summary>
    public int Descriptor { get; }

    /// <summary>Opens and claims the directory; throws <see cref="IOException"/> with one line that says what to do.</summary>
    public static TierDirectory Open(TierOptions options, string server, ILogger log)
    {
        var name = $"{options.Class.ToString().ToLowerInvariant()} tier {options.Path}";
        var errno = BlockFiles.OpenDirectory(options.Path, out var descriptor);
        if (errno != Errno.OK)
        {
            throw new IOException(errno switch
            {
                Errno.ENOENT => $"{name}: the directory does not exist; create it, or correct the path",
                Errno.ENOTDIR => $"{name}: not a directory; correct the path",
                _ => $"{name}: cannot be opened ({errno}); check its permissions",
            });
        }

        FileStream? marker = null;
        try
        {
            CheckSpace(name, options, descriptor, log);
            marker = Claim(name, options, server);
            var trash = BlockFiles.MakeDirectory(descriptor, "trash\0"u8);
            if (trash is not Errno.OK and not Errno.EEXIST)
            {
                throw new IOException($"{name}: cannot be written ({trash}); check its permissions");
            }

            return new TierDirectory(options, descriptor, marker);
        }
        catch
        {
            marker?.Dispose();
            DeviceIo.Close(descriptor);
            throw;
        }
    }

    public void Dispose()
    {
        DeviceIo.Close(Descriptor);
        _marker.Dispose();
    }

    private static void CheckSpace(string name, TierOptions options, int descriptor, ILogger log)
    {
        var errno = BlockFiles.Space(descriptor, out var space);
        if (errno != Errno.OK)
        {
            throw new IOException($"{name}: its file system does not tell its size ({errno})");
        }

        // Some file systems have no size of their own (0 blocks): nothing to compare with.
        if (space.TotalBytes > 0 && options.CapacityBytes > space.TotalBytes)
        {
            throw new IOException(
                $"{name}: {ByteSize.Format(options.CapacityBytes)} is more than the whole file system has "
                + $"({ByteSize.Format(space.TotalBytes)}); lower the capacity, or choose another directory");
        }

        if (options.Class == TierClass.Dram && space.Type is not BlockFiles.TmpfsMagic and not BlockFiles.RamfsMagic)
        {
            log.LogWarning("{Tier} is not on tmpfs: it will be as fast as the medium below it", name);
        }
    }

    private static FileStream Claim(string name, TierOptions options, string server)
    {
        var path = System.IO.Path.Combine(options.Path, MarkerName);
        FileStream marker;
        try
        {
            marker = new FileStream(path, System.IO.FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
        }
        catch (UnauthorizedAccessException)
        {
            throw new IOException($"{name}: cannot be written; check its permissions");
        }
        catch (IOException e) when (e is not FileNotFoundException and not DirectoryNotFoundException)
        {
            throw new IOException($"{name}: in use by another storage server, or not writable ({e.Message}); stop it, or choose another directory", e);
        }

        try
        {
            var expected = $"{MarkerHeading}\nserver {server}\nclass {options.Class.ToString().ToLowerInvariant()}\n";
            var found = new StreamReader(marker, leaveOpen: true).ReadToEnd();
            // A marker that was cut short by a kill at the first start is a beginning of what stands there now.
            if (!expected.StartsWith(found, StringComparison.Ordinal))
            {
                throw new IOException(
                    $"{name}: holds blocks of {found.ReplaceLineEndings(", ").Trim(',', ' ')}; this is server {server}; choose another directory, or empty this one");
            }

            if (found.Length < expected.Length)
            {
                marker.SetLength(0);
                marker.Write(System.Text.Encoding.UTF8.GetBytes(expected));
                marker.Flush();
            }

            return marker;
        }
        catch
        {
            marker.Dispose();
            throw;
        }
    }
}
