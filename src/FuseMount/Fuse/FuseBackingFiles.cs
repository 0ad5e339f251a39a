using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Registers files that the kernel reads and writes itself (passthrough, FUSE 7.40, needs CAP_SYS_ADMIN).</summary>
/// <remarks>
/// An id belongs to the connection, not to the descriptor or process: a successor must know the ids of open inodes, because a
/// second id for an inode that is open is refused with EIO. All handles of an inode open at a time must use the same id, or none.
/// </remarks>
public static unsafe class FuseBackingFiles
{
    /// <summary>Registers a file; its id goes into <see cref="FuseRequest.ReplyOpen"/> with <see cref="FuseOpenFlags.PASSTHROUGH"/>.</summary>
    /// <param name="connection">A connection on which PASSTHROUGH was agreed.</param>
    /// <param name="fileDescriptor">The backing file; may be closed afterwards. Read-only suffices, and lets F_SETLEASE test for mappings.</param>
    /// <param name="backingId">Positive.</param>
    /// <returns>OK; EPERM without privilege or with a write-back cache; ELOOP if the file system below is stacked too deep; EOPNOTSUPP if not agreed.</returns>
    public static Errno Open(FuseConnection connection, int fileDescriptor, out int backingId)
    {
        backingId = 0;
        if (!connection.Negotiated.Has(FuseInitFlags.PASSTHROUGH))
        {
            return Errno.EOPNOTSUPP;
        }
        var map = new FuseBackingMap { Fd = fileDescriptor };
        return connection.Control(FuseAbi.IocBackingOpen, &map, out backingId);
    }

    /// <summary>Gives an id back. Files that are open with it keep it until they are closed.</summary>
    /// <returns>OK; ENOENT if there is no such id.</returns>
    public static Errno Close(FuseConnection connection, int backingId)
    {
        uint id = (uint)backingId;
        return connection.Control(FuseAbi.IocBackingClose, &id, out _);
    }
}
