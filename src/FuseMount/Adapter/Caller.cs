using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Adapter;

/// <summary>Who makes a request, for the few decisions that the kernel leaves to the file system. He waits for the answer, so /proc can be asked.</summary>
/// <remarks>
/// On a mount that may be mapped for user namespaces (FUSE_ALLOW_IDMAP) only requests that make something say for whom (fuse_get_req in fs/fuse/dev.c). How the
/// place is mapped through which a file was reached nobody says: a container's <c>/tmp</c> is mapped for the container's user namespace, so ids are taken as
/// the caller's own namespace has them first, and as ours has them second.
/// </remarks>
internal readonly struct Caller
{
    private readonly uint _group;
    private readonly int _thread;
    private readonly ThreadIdentity? _identity; // asked for where the request does not say who calls

    private Caller(FuseRequest request)
    {
        _group = request.Gid;
        _thread = (int)request.Pid;
        _identity = request.Uid == FuseAbi.NoUser ? ThreadIdentity.Of(_thread) : null;
        User = _identity?.MappedUser ?? request.Uid;
        UnmappedUser = _identity?.User ?? request.Uid;
    }

    /// <summary>His user id, as his files have it where the mount is mapped for him; <see cref="FuseAbi.NoUser"/> when he is dead or out of sight.</summary>
    public uint User { get; }

    /// <summary>His user id, as his files have it where the mount is not mapped.</summary>
    public uint UnmappedUser { get; }

    /// <summary>Whether he is the machine's superuser. Root of another user namespace is not.</summary>
    public bool IsRoot => UnmappedUser == 0;

    /// <summary>Whether he has CAP_FOWNER or CAP_CHOWN. Of one that nobody can look at, the kernel's judgement has to do.</summary>
    public bool MayActAsOwner => Identity?.MayActAsOwner ?? User == FuseAbi.NoUser;

    /// <summary>Whether he has CAP_SYS_ADMIN on the machine.</summary>
    public bool IsAdministrator => Identity?.IsAdministrator ?? false;

    private ThreadIdentity? Identity => _identity ?? ThreadIdentity.Of(_thread);

    /// <summary>The caller of a request that has not been answered.</summary>
    public static Caller Of(FuseRequest request) => new(request);

    /// <summary>Whether he is in a group, supplementary groups included.</summary>
    public bool IsInGroup(uint group) => _group == group || (Identity?.IsInGroup(group) ?? false);
}
