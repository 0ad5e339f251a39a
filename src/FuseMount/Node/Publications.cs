using EphemeralFs.Core;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.Hosting;
using EphemeralFs.Interop;
using EphemeralFs.Rpc.Messages;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.FuseMount.Node;

/// <summary>
/// Volumes at the directories of pods, as CSI publishes them: each volume is mounted once on a node, in a directory of the daemon's, and appears at every target
/// as one more place of that mount. The kernel's table is the only record of it, so nothing has to be remembered over restarts and reboots.
/// </summary>
/// <remarks>
/// What is published read-only has a mount of its own that takes no writes. That a place of a mount is read-only is not enough: whoever makes one more place of it for a
/// container may say otherwise, and container runtimes do (runc 1.3 clears what a pod does not ask for).
/// </remarks>
/// <param name="directory">Where the mounts themselves are, each in a directory with the volume's name, and <see cref="ReadOnlySuffix"/> for the one that takes no writes.</param>
/// <param name="node">Mounts and unmounts them.</param>
/// <param name="logger">For what is cleaned up.</param>
internal sealed class Publications(string directory, NodeHost node, ILogger logger)
{
    /// <summary>No name of a volume has it.</summary>
    private const string ReadOnlySuffix = "+ro";

    private const string NotServed = "nobody serves this mount any more: the node's daemon and its keeper ended together, or its connection was aborted; the pod needs a new one";

    private readonly string _directory = MountPaths.Resolve(directory); // as the mount table has it

    /// <summary>One call for a volume at a time.</summary>
    private readonly NamedLocks _locks = new();

    /// <summary>Publishes; see <see cref="PublishRequest"/>. The text says what is wrong.</summary>
    public async Task<(Status Status, string Error)> PublishAsync(PublishRequest request)
    {
        if (Check(request.Target, request.Root, out var target) is { } wrong)
        {
            return (Errno.EINVAL.ToStatus(), wrong);
        }

        if (!VolumeName.IsValid(request.Volume))
        {
            return (Errno.EINVAL.ToStatus(), $"'{request.Volume}' is no name of a volume");
        }

        FuseMountOptions options;
        try
        {
            options = MountOptionsText.Parse(request.Options, request.Volume);
        }
        catch (MountException e)
        {
            return (e.Errno.ToStatus(), e.Message);
        }

        using var held = await _locks.LockAsync(request.Volume);
        if (MountPointsOf(request.Volume).Select(node.WhyUnserved).FirstOrDefault(static why => why is not null) is { } unserved)
        {
            return (Status.Unavailable, unserved);
        }

        var present = MountTable.Find(target);
        if (present is not null && IsOf(present, request.Volume))
        {
            if (!node.Serves(present.Device))
            {
                // With what kubelet made of it for the containers of pods (subPath): it finds that there and does not make it anew.
                foreach (var place in MountTable.Find(MountTable.FileSystemType, request.Volume).Where(entry => entry.Device == present.Device && entry.Root != "/"))
                {
                    Detach(place.MountPoint);
                }

                Detach(target);
            }
            else
            {
                return AttributesOf(present) == Attributes(options)
                    ? (Status.OK, "")
                    : (Errno.EEXIST.ToStatus(), $"volume {request.Volume} is at {target} already, with the options {present.Options}");
            }
        }
        else if (present is not null)
        {
            return (Errno.EBUSY.ToStatus(), $"{target} is a mount point of {present.Source} ({present.Type})");
        }

        if (!Directory.Exists(Path.GetDirectoryName(target)))
        {
            return (Errno.ENOENT.ToStatus(), $"the directory {Path.GetDirectoryName(target)} does not exist");
        }

        var (status, error) = await MountAsync(request.Volume, options.ReadOnly, request.MetadataEndpoint, request.Hints);
        if (status != Status.OK)
        {
            return (status, error);
        }

        // As kubelet has it: who only reads changes no owner.
        var source = MountPointOf(request.Volume, options.ReadOnly);
        var failure = request.Group < 0 || options.ReadOnly ? Status.OK : await node.GiveToAsync(source, (uint)request.Group);
        var made = !Directory.Exists(target);
        try
        {
            Directory.CreateDirectory(target);
            failure = failure == Status.OK ? BindMounts.Bind(source, target, Attributes(options)).ToStatus() : failure;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What .NET throws for a call of the system carries the errno.
            var errno = File.Exists(target) ? Errno.EEXIST : e is UnauthorizedAccessException ? Errno.EACCES : (Errno)(e.HResult & 0xFFFF);
            (failure, error) = (errno.ToStatus(), e.Message);
        }

        if (failure == Status.OK)
        {
            logger.LogInformation("volume {Volume} is published at {Target}", request.Volume, target);
            return (Status.OK, "");
        }

        if (made)
        {
            _ = RemoveDirectory(target);
        }

        await UnmountUnusedAsync(request.Volume);
        return (failure, error.Length > 0 ? error : $"volume {request.Volume} cannot be published at {target}: {failure}");
    }

    /// <summary>Takes it away; see <see cref="UnpublishRequest"/>. Never waits for the file system itself.</summary>
    public async Task<(Status Status, string Error)> UnpublishAsync(UnpublishRequest request)
    {
        if (Check(request.Target, request.Root, out var target) is { } wrong)
        {
            return (Errno.EINVAL.ToStatus(), wrong);
        }

        using var held = await _locks.LockAsync(request.Volume);
        while (MountTable.Find(target) is { } present)
        {
            if (!IsOf(present, request.Volume))
            {
                // Another volume has come to the place since: that is not this one's to take away.
                return (Status.OK, "");
            }

            if (Mounts.Unmount(target, UnmountFlags.Detach | UnmountFlags.NoFollow) is var errno && errno != Errno.OK)
            {
                return (errno.ToStatus(), $"{target}: unmount failed: {errno}");
            }
        }

        var left = RemoveDirectory(target);
        await UnmountUnusedAsync(request.Volume, request.Discards);
        if (left.Length > 0)
        {
            return (Errno.ENOTEMPTY.ToStatus(), left);
        }

        logger.LogInformation("volume {Volume} is no longer published at {Target}", request.Volume, target);
        return (Status.OK, "");
    }

    /// <summary>Where volumes are published, and what is wrong there.</summary>
    /// <param name="volume">Only this one, or empty for all.</param>
    /// <param name="root">See <see cref="GetPublishedRequest.Root"/>.</param>
    public PublishedVolume[] All(string volume, string root)
    {
        var real = root.Length > 0 ? MountPaths.Resolve(root) : "";
        return
        [
            .. (volume.Length == 0 ? MountTable.Read().Where(static entry => entry.Type == MountTable.FileSystemType) : MountTable.Find(MountTable.FileSystemType, volume))
                // Kubelet makes places of subdirectories for the containers of a pod: that is its affair.
                .Where(entry => entry.Root == "/")
                .Select(entry => (Entry: entry, Source: SourceOf(entry)))
                .Where(place => place.Source is null ? IsDead(place.Entry) : place.Entry.MountPoint != place.Source)
                .Select(place => new PublishedVolume(place.Entry.Source, As(place.Entry.MountPoint), place.Source is null ? NotServed : node.ProblemOf(place.Source))),
        ];

        // Kubelet's directory belongs to one node: what is there and not this daemon's is nobody's.
        bool IsDead(MountEntry entry) => real.Length > 0 && entry.MountPoint.StartsWith(real + "/", StringComparison.Ordinal) && !node.Serves(entry.Device);

        string As(string target) => root.Length > 0 && target.StartsWith(real + "/", StringComparison.Ordinal)
            ? Path.TrimEndingDirectorySeparator(root) + target[real.Length..]
            : target;
    }

    /// <summary>Takes away mounts that no target uses any more: a daemon may have been killed between the two, or with its keeper.</summary>
    public Task CleanUpAsync() => Task.WhenAll(
        MountTable.Read()
            .Where(entry => entry.Type == MountTable.FileSystemType && MountPointsOf(entry.Source).Contains(entry.MountPoint))
            .Select(entry => entry.Source)
            .Distinct()
            .Select(async volume =>
            {
                using var held = await _locks.LockAsync(volume);
                await UnmountUnusedAsync(volume);
            }));

    private static bool IsOf(MountEntry entry, string volume) => entry.Type == MountTable.FileSystemType && entry.Source == volume;

    private static MountAttributes AttributesOf(MountEntry entry) => entry.Options.Split(',').Aggregate((MountAttributes)0, static (sum, option) => sum | option switch
    {
        "ro" => MountAttributes.ReadOnly,
        "nosuid" => MountAttributes.NoSuid,
        "nodev" => MountAttributes.NoDev,
        "noexec" => MountAttributes.NoExec,
        "noatime" => MountAttributes.NoAtime,
        _ => 0,
    });

    private static MountAttributes Attributes(FuseMountOptions options) =>
        (options.ReadOnly ? MountAttributes.ReadOnly : 0) | (options.NoSuid ? MountAttributes.NoSuid : 0) | (options.NoDev ? MountAttributes.NoDev : 0)
        | (options.NoExec ? MountAttributes.NoExec : 0) | (options.NoAtime ? MountAttributes.NoAtime : 0);

    /// <summary>What is wrong with a target; null when it may be used, with its path as the mount table has it.</summary>
    private static string? Check(string target, string root, out string resolved)
    {
        resolved = "";
        if (!target.StartsWith('/') || target.Contains('\0', StringComparison.Ordinal) || Path.TrimEndingDirectorySeparator(Path.GetFullPath(target)) != Path.TrimEndingDirectorySeparator(target)
            || Path.GetDirectoryName(target) is null)
        {
            return $"'{target}' is no absolute path without '.', '..' and '//'";
        }

        target = Path.TrimEndingDirectorySeparator(target);
        try
        {
            return CheckLinks(target, root, out resolved);
        }
        catch (MountException e)
        {
            return e.Message; // links in a circle
        }
    }

    private static string? CheckLinks(string target, string root, out string resolved)
    {
        var isBelow = root.Length > 0 && target.StartsWith(Path.TrimEndingDirectorySeparator(root) + "/", StringComparison.Ordinal);
        resolved = isBelow ? MountPaths.Resolve(root) + target[Path.TrimEndingDirectorySeparator(root).Length..] : target;
        return MountPaths.Resolve(target) == resolved ? null : $"'{target}' leads through a symbolic link to {MountPaths.Resolve(target)}";
    }

    private string MountPointOf(string volume, bool isReadOnly) => Path.Combine(_directory, isReadOnly ? volume + ReadOnlySuffix : volume);

    private string[] MountPointsOf(string volume) => [MountPointOf(volume, isReadOnly: false), MountPointOf(volume, isReadOnly: true)];

    /// <summary>Where the mount is of which this is a place; null when this daemon serves none such.</summary>
    private string? SourceOf(MountEntry entry) => Array.Find(MountPointsOf(entry.Source), mountPoint => node.IsMountOf(entry.Device, mountPoint));

    private async Task<(Status Status, string Error)> MountAsync(string volume, bool isReadOnly, string metadataEndpoint, string hints)
    {
        var mountPoint = MountPointOf(volume, isReadOnly);
        if (node.IsMounted(mountPoint))
        {
            return (Status.OK, "");
        }

        if (MountTable.Find(mountPoint) is not null)
        {
            // Of a daemon whose keeper died with it: nobody can serve it any more.
            Detach(mountPoint);
        }

        try
        {
            Directory.CreateDirectory(mountPoint, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (Errno.EIO.ToStatus(), $"{mountPoint} cannot be made: {e.Message}");
        }

        // What a target must not have is said of the target. Pods with user namespaces map it.
        var (status, _, error) = await node.MountAsync(new MountRequest(volume, mountPoint, $"{(isReadOnly ? "ro" : "rw")},suid,dev,exec,allow_other,idmap,nonempty"), metadataEndpoint, hints);
        if (status != Status.OK)
        {
            _ = RemoveDirectory(mountPoint);
        }

        return (status, error);
    }

    private async Task UnmountUnusedAsync(string volume, bool discards = false)
    {
        foreach (var mountPoint in MountPointsOf(volume))
        {
            await UnmountUnusedAsync(volume, mountPoint, discards);
        }
    }

    private async Task UnmountUnusedAsync(string volume, string mountPoint, bool discards)
    {
        if (MountTable.Find(MountTable.FileSystemType, volume).Any(entry => entry.MountPoint != mountPoint && node.IsMountOf(entry.Device, mountPoint)))
        {
            return;
        }

        if (node.IsMounted(mountPoint) || node.WhyUnserved(mountPoint) is not null)
        {
            await node.UnmountAsync(new UnmountRequest(mountPoint, Lazy: true), discards);
        }
        else if (MountTable.Find(mountPoint) is not null)
        {
            // Of a daemon whose keeper died with it.
            Detach(mountPoint);
        }

        if (MountTable.Find(mountPoint) is null)
        {
            _ = RemoveDirectory(mountPoint);
        }
    }

    /// <summary>Takes a mount that nobody serves out of sight, and ends what waits for it.</summary>
    private void Detach(string path)
    {
        logger.LogWarning("{Path} is a mount that nobody serves any more: taking it away", path);
        _ = Mounts.Unmount(path, UnmountFlags.Detach | UnmountFlags.Force | UnmountFlags.NoFollow);
    }

    /// <summary>Removes an empty directory; what is left of it otherwise.</summary>
    private static string RemoveDirectory(string path)
    {
        try
        {
            Directory.Delete(path);
        }
        catch (DirectoryNotFoundException)
        {
            // Gone already.
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"{path} cannot be removed: {e.Message}";
        }

        return "";
    }
}
