namespace EphemeralFs.Core;

/// <summary>See <see cref="InodeAttributes.Flags"/>.</summary>
[Flags]
public enum InodeFlags : uint
{
    None = 0,

    /// <summary>The inode has extended attributes. Without it every <c>getxattr</c> is ENODATA: the kernel asks for <c>security.capability</c> before writes.</summary>
    HasXattrs = 1,
}

/// <summary>What <c>stat(2)</c> tells of an inode, as the metadata server keeps it.</summary>
public record struct InodeAttributes
{
    /// <summary>Inode number.</summary>
    public ulong Ino;

    /// <summary>Changes when old handles to the inode must fail (fencing); with <see cref="Ino"/> unique for ever.</summary>
    public uint Generation;

    /// <summary>Type and permission bits, as <c>st_mode</c>.</summary>
    public uint Mode;

    /// <summary>Number of names; a directory has 2 plus its subdirectories.</summary>
    public uint Nlink;

    public uint Uid;
    public uint Gid;

    /// <summary>Device number of a device node in the kernel's 32-bit <c>new_encode_dev</c> form, else 0.</summary>
    public uint Rdev;

    /// <summary>Size in bytes.</summary>
    public ulong Size;

    /// <summary>Bytes charged to the quota: allocated 4 KiB pages × 4096. <c>st_blocks</c> is this / 512.</summary>
    public ulong AllocatedBytes;

    /// <summary>Nanoseconds since the epoch.</summary>
    public long AtimeNs;

    /// <summary>Nanoseconds since the epoch.</summary>
    public long MtimeNs;

    /// <summary>Nanoseconds since the epoch.</summary>
    public long CtimeNs;

    /// <summary>Birth time, nanoseconds since the epoch.</summary>
    public long BtimeNs;

    /// <summary>Grows with every change of the file's bytes or layout; equal versions mean equal contents.</summary>
    public ulong DataVersion;

    /// <summary>What else a node wants to know without asking.</summary>
    public InodeFlags Flags;

    /// <summary>Attributes of a new inode.</summary>
    public static InodeAttributes New(ulong ino, uint mode, uint uid, uint gid, uint rdev, long timeNs) => new()
    {
        Ino = ino,
        Generation = 1,
        Mode = mode,
        Nlink = 1,
        Uid = uid,
        Gid = gid,
        Rdev = rdev,
        AtimeNs = timeNs,
        MtimeNs = timeNs,
        CtimeNs = timeNs,
        BtimeNs = timeNs,
        DataVersion = 1,
    };

    /// <summary>Attributes of a new inode in a directory: in a set-group-ID directory it gets the directory's group, and a directory the bit too.</summary>
    public static InodeAttributes NewIn(in InodeAttributes parent, ulong ino, uint mode, uint uid, uint gid, uint rdev, long timeNs)
    {
        mode &= FileMode.TypeMask | FileMode.PermissionMask;
        if ((parent.Mode & FileMode.SetGid) != 0)
        {
            gid = parent.Gid;
            if ((mode & FileMode.TypeMask) == FileMode.Directory)
            {
                mode |= FileMode.SetGid;
            }
        }

        return New(ino, mode, uid, gid, rdev, timeNs);
    }

    public readonly bool IsDirectory => (Mode & FileMode.TypeMask) == FileMode.Directory;
    public readonly bool IsRegular => (Mode & FileMode.TypeMask) == FileMode.Regular;
    public readonly bool IsSymlink => (Mode & FileMode.TypeMask) == FileMode.Symlink;

    /// <summary>Clears set-user-ID and, where group execute is set, set-group-ID, as a write or a change of owner does; directories keep theirs.</summary>
    public void KillSuidgid()
    {
        if (IsDirectory)
        {
            return;
        }

        Mode &= ~FileMode.SetUid;
        if ((Mode & FileMode.GroupExecute) != 0)
        {
            Mode &= ~FileMode.SetGid;
        }
    }
}
