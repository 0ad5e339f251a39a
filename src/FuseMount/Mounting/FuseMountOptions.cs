namespace EphemeralFs.FuseMount.Mounting;

/// <summary>How a FUSE file system is mounted.</summary>
public sealed record FuseMountOptions
{
    /// <summary>Shown as the source in the mount table, e.g. <c>ephemeralfs:tmp</c>.</summary>
    public string FsName { get; init; } = "ephemeralfs";

    /// <summary>Shown after <c>fuse.</c> as the type.</summary>
    public string Subtype { get; init; } = "ephemeralfs";

    public bool ReadOnly { get; init; }

    /// <summary>Set-user-id programs run without their rights. Forced on by fusermount3.</summary>
    public bool NoSuid { get; init; }

    /// <summary>Device files cannot be opened. Forced on by fusermount3.</summary>
    public bool NoDev { get; init; }

    public bool NoExec { get; init; }

    /// <summary>Reading does not move access times; shown in the mount table, so that programs can know.</summary>
    public bool NoAtime { get; init; } = true;

    /// <summary>Users other than the mounting one may enter. By fusermount3 only if /etc/fuse.conf says <c>user_allow_other</c>.</summary>
    public bool AllowOther { get; init; } = true;

    /// <summary>Fails where <see cref="AllowOther"/> is not allowed, instead of mounting for the user alone.</summary>
    public bool RequireAllowOther { get; init; }

    /// <summary>The kernel checks permissions by mode, owner and group.</summary>
    public bool DefaultPermissions { get; init; } = true;

    /// <summary>
    /// Places of the mount may be mapped for user namespaces, mount_setattr(2), where the kernel can (Linux 6.12). Costs a look into /proc for each chmod, chown
    /// and utimes, whose caller the kernel then does not say. Needs <see cref="DefaultPermissions"/>.
    /// </summary>
    public bool AllowIdmap { get; init; }

    /// <summary>Largest READ, bytes; 0 leaves it to the kernel (the negotiated number of pages).</summary>
    public int MaxReadBytes { get; init; }

    /// <summary>Allows a directory that is not empty: its content is hidden while mounted.</summary>
    public bool NonEmpty { get; init; }

    /// <summary>Uses fusermount3 even with the right to mount(2).</summary>
    public bool ForceFusermount { get; init; }
}
