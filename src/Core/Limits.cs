namespace EphemeralFs.Core;

/// <summary>Every bound in one place, with its reason. Queues, batches, sizes and time-outs read them here.</summary>
public static class Limits
{
    /// <summary>Allocation unit of quotas and <c>st_blocks</c>: the page, as on tmpfs.</summary>
    public const int PageSizeBytes = 4096;

    /// <summary>Largest block, and the stripe width of large files: 1 MiB is the largest FUSE request, so a full request is one block.</summary>
    public const int BlockSizeBytes = 1 << 20;

    /// <summary>Files up to this size live in the metadata record: one round trip writes them, one reads them.</summary>
    public const int InlineMaxBytes = 8 << 10;

    /// <summary>Bytes covered by one CRC32C of a stored block; a read verifies whole units, so this bounds read amplification.</summary>
    public const int ChecksumUnitBytes = 64 << 10;

    /// <summary>Longest name, NAME_MAX.</summary>
    public const int NameMaxBytes = 255;

    /// <summary>Longest name that a message carries: the kernel asks for names up to FUSE_NAME_MAX and wants to hear ENAMETOOLONG.</summary>
    public const int NameOnWireMaxBytes = 1024;

    /// <summary>Longest symbolic link target, PATH_MAX − 1.</summary>
    public const int SymlinkMaxBytes = 4095;

    /// <summary>Largest extended attribute value, XATTR_SIZE_MAX.</summary>
    public const int XattrValueMaxBytes = 65536;

    /// <summary>Longest extended attribute name, XATTR_NAME_MAX.</summary>
    public const int XattrNameMaxBytes = 255;

    /// <summary>All names of one inode's extended attributes together, XATTR_LIST_MAX.</summary>
    public const int XattrListMaxBytes = 65536;

    /// <summary>Largest file: the kernel's MAX_LFS_FILESIZE.</summary>
    public const ulong FileMaxBytes = long.MaxValue;

    /// <summary>Most files of a mount that programs have made and the metadata server has not heard of.</summary>
    public const int DeferredCreates = 64;

    /// <summary>Most names of one inode, as on ext4.</summary>
    public const uint LinkMax = 65000;

    /// <summary>Largest head of a frame: a directory listing or a layout answer stays far below.</summary>
    public const int FrameHeadMaxBytes = 1 << 20;

    /// <summary>Largest body of a frame: one block and the checksums of its units.</summary>
    public const int FrameBodyMaxBytes = BlockSizeBytes + 4096;

    /// <summary>Most extents in one layout answer or commit: 48 bytes each keeps the head under 512 KiB.</summary>
    public const int ExtentsPerMessageMax = 8192;

    /// <summary>Mutations in flight in a session; each slot keeps its last reply at the server (a few hundred bytes).</summary>
    public const int SlotsPerSession = 1024;

    /// <summary>How long a request waits for a server that is gone before EIO: longer than any restart.</summary>
    public const int RequestDeadlineMs = 30_000;

    /// <summary>
    /// A session that was not renewed for this long is expired. Longer than restarts of a daemon and of a server together; and with the server's
    /// margin and clock well below <see cref="RequestDeadlineMs"/>, because others wait for a dead node's session to end and must not fail for it.
    /// </summary>
    public const int SessionTimeoutMs = 20_000;

    /// <summary>
    /// How long a node and its kernel together may use names and attributes that the node has leased without asking the server again. Well below
    /// <see cref="SessionTimeoutMs"/>: when a silent node's session is ended, what its kernel cached has expired.
    /// </summary>
    public const int LeaseMs = 10_000;

    /// <summary>
    /// How long a kernel may use them without asking the node again, which usually knows. After a restart of the metadata server other nodes' changes wait until
    /// what a kernel cannot drop has expired: with what a rename adds this must end twice within <see cref="SessionTimeoutMs"/>.
    /// </summary>
    public const int KernelLeaseMs = 4_000;

    /// <summary>
    /// The same for names of a directory that other sessions cache too. Two nodes that change one directory at the same time each hold its lock in their
    /// kernel, so neither can drop a name for the other: the one whose names are short-lived lets them expire.
    /// </summary>
    public const int SharedNamesMs = 1000;

    /// <summary>An answer older than this is not cached any more, so that server and node agree on when a lease has ended.</summary>
    public const int LeaseAnswerMs = 2000;

    /// <summary>Byte grants are asked for in this quantum so that most writes need no round trip.</summary>
    public const long GrantQuantumBytes = 64L << 20;

    /// <summary>Inode numbers asked for at once.</summary>
    public const uint GrantInodes = 4096;

    /// <summary>Block numbers asked for at once.</summary>
    public const uint GrantBlocks = 4096;
}
