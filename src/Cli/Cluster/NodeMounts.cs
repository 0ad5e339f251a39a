using EphemeralFs.Core;
using EphemeralFs.FuseMount.Mounting;
using EphemeralFs.FuseMount.Node;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Cluster;

/// <summary>Mounts volumes through node daemons.</summary>
internal static class NodeMounts
{
    /// <summary>The path as the mount table has it.</summary>
    public static string Resolve(string directory)
    {
        if (directory.Length == 0)
        {
            throw StartupException.Usage("DIR is empty: give a directory");
        }

        try
        {
            return MountPaths.Resolve(directory);
        }
        catch (MountException e)
        {
            throw new StartupException(e.Message, e);
        }
    }

    /// <summary>What is wrong with mount options, or null.</summary>
    public static string? OptionsError(string options)
    {
        try
        {
            MountOptionsText.Parse(options, volume: "");
            return null;
        }
        catch (MountException e)
        {
            return e.Message;
        }
    }

    /// <summary>Checks a mount point and what mounting needs, before anything is started. Gives the path as the mount table will have it.</summary>
    /// <param name="directory">As the user wrote it.</param>
    /// <param name="options">Comma-separated mount options.</param>
    public static string Check(string directory, string options)
    {
        _ = Resolve(directory); // for its own words about a path that is empty
        try
        {
            var path = FuseMounter.CheckMountPoint(directory, MountOptionsText.Parse(options, volume: "").NonEmpty);
            FuseMounter.CheckDevice();
            return path;
        }
        catch (MountException e)
        {
            throw new StartupException(e.Message, e);
        }
    }

    /// <summary>Mounts by a daemon that runs; the directory is written down first.</summary>
    /// <param name="paths">The cluster.</param>
    /// <param name="node">Name of the node.</param>
    /// <param name="volume">Name of the volume.</param>
    /// <param name="directory">As <see cref="Check"/> gave it.</param>
    /// <param name="options">Comma-separated mount options.</param>
    public static async Task<MountStatus> MountAsync(ClusterPaths paths, string node, string volume, string directory, string options)
    {
        MountRecords.Add(paths, directory, node);
        using var client = new RpcClient(Endpoint.Unix(paths.NodeSocket(node)));
        var mounted = await client.CallAsync<MountRequest, MountStatus>(new(volume, directory, options)).ConfigureAwait(false);
        if (mounted.IsOk)
        {
            return mounted.Value;
        }

        if (!MountRecords.IsMounted(directory))
        {
            MountRecords.Remove(paths, directory);
        }

        throw new StartupException(mounted.Error.Length > 0 ? mounted.Error : mounted.Status switch
        {
            Status.NoSuchVolume => $"there is no volume {volume}: make it with 'ephemeralfs volume create {volume}', or see 'ephemeralfs volume list'",
            Status.Unavailable => $"the daemon of node {node} did not answer: see {paths.Log("node-" + node)}",
            _ => $"{directory}: node {node} could not mount volume {volume} ({mounted.Status}): see {paths.Log("node-" + node)}",
        });
    }
}
