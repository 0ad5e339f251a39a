using System.Runtime.CompilerServices;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>How long the payload of an operation is: a uint32 in its fixed input, times a unit.</summary>
/// <param name="CountOffset">Offset of the count in the fixed input, bytes; -1 for no payload.</param>
/// <param name="UnitBytes">Bytes per count.</param>
public readonly record struct FusePayloadRule(int CountOffset, int UnitBytes)
{
    public static FusePayloadRule None => new(-1, 0);

    public bool Present => CountOffset >= 0;
}

/// <summary>All that is known about one operation. Parsing, dispatch, tracing and metrics read this row.</summary>
/// <param name="Opcode">Its number, which is also its index in the counters.</param>
/// <param name="Name">Kernel spelling, for traces and metrics.</param>
/// <param name="InputSize">Bytes of the structure after the header.</param>
/// <param name="CompatInputSize">The same for kernels before an extension of the structure (SETXATTR without SETXATTR_EXT); equal otherwise.</param>
/// <param name="Names">NUL-terminated strings after the structure, 0 to 2.</param>
/// <param name="Payload">Bytes after the names.</param>
/// <param name="ReplyDue">Whether the kernel waits for an answer.</param>
/// <param name="Invoke">The handler's method; null for what the connection answers itself.</param>
public sealed record FuseOpcodeRow(
    FuseOpcode Opcode,
    string Name,
    int InputSize,
    int CompatInputSize,
    int Names,
    FusePayloadRule Payload,
    bool ReplyDue,
    Action<FuseHandler, FuseRequest>? Invoke)
{
    /// <summary>Index into <see cref="FuseCounters"/>.</summary>
    public int CounterIndex => (int)Opcode;
}

/// <summary>The one table of operations.</summary>
public static class FuseOpcodeTable
{
    /// <summary>One past the largest known operation number.</summary>
    public const int Size = (int)FuseOpcode.COPY_FILE_RANGE_64 + 1;

    private static readonly FuseOpcodeRow?[] Rows = Build();

    /// <summary>The row of an operation, or null if it is unknown (answer ENOSYS).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FuseOpcodeRow? Find(FuseOpcode opcode)
    {
        FuseOpcodeRow?[] rows = Rows;
        return (uint)opcode < (uint)rows.Length ? rows[(int)opcode] : null;
    }

    /// <summary>All rows, by number.</summary>
    public static IEnumerable<FuseOpcodeRow> All => Rows.OfType<FuseOpcodeRow>();

    private static FuseOpcodeRow?[] Build()
    {
        var rows = new FuseOpcodeRow?[Size];

        Add<FuseNothing>(FuseOpcode.LOOKUP, (h, r) => h.Lookup(r), names: 1);
        Add<FuseForgetIn>(FuseOpcode.FORGET, (h, r) => h.Forget(r), reply: false);
        Add<FuseGetattrIn>(FuseOpcode.GETATTR, (h, r) => h.GetAttr(r));
        Add<FuseSetattrIn>(FuseOpcode.SETATTR, (h, r) => h.SetAttr(r));
        Add<FuseNothing>(FuseOpcode.READLINK, (h, r) => h.ReadLink(r));
        Add<FuseNothing>(FuseOpcode.SYMLINK, (h, r) => h.SymLink(r), names: 2);
        Add<FuseMknodIn>(FuseOpcode.MKNOD, (h, r) => h.MkNod(r), names: 1);
        Add<FuseMkdirIn>(FuseOpcode.MKDIR, (h, r) => h.MkDir(r), names: 1);
        Add<FuseNothing>(FuseOpcode.UNLINK, (h, r) => h.Unlink(r), names: 1);
        Add<FuseNothing>(FuseOpcode.RMDIR, (h, r) => h.RmDir(r), names: 1);
        Add<FuseRenameIn>(FuseOpcode.RENAME, (h, r) => h.Rename(r), names: 2);
        Add<FuseRename2In>(FuseOpcode.RENAME2, (h, r) => h.Rename2(r), names: 2);
        Add<FuseLinkIn>(FuseOpcode.LINK, (h, r) => h.Link(r), names: 1);
        Add<FuseOpenIn>(FuseOpcode.OPEN, (h, r) => h.Open(r));
        Add<FuseCreateIn>(FuseOpcode.CREATE, (h, r) => h.Create(r), names: 1);
        Add<FuseCreateIn>(FuseOpcode.TMPFILE, (h, r) => h.TmpFile(r), names: 1);
        Add<FuseReadIn>(FuseOpcode.READ, (h, r) => h.Read(r));
        Add<FuseWriteIn>(FuseOpcode.WRITE, (h, r) => h.Write(r), payload: new(16, 1));
        Add<FuseNothing>(FuseOpcode.STATFS, (h, r) => h.StatFs(r));
        Add<FuseReleaseIn>(FuseOpcode.RELEASE, (h, r) => h.Release(r));
        Add<FuseFsyncIn>(FuseOpcode.FSYNC, (h, r) => h.FSync(r));
        Add<FuseSetxattrIn>(FuseOpcode.SETXATTR, (h, r) => h.SetXAttr(r), names: 1, payload: new(0, 1), compatSize: 8);
        Add<FuseGetxattrIn>(FuseOpcode.GETXATTR, (h, r) => h.GetXAttr(r), names: 1);
        Add<FuseGetxattrIn>(FuseOpcode.LISTXATTR, (h, r) => h.ListXAttr(r));
        Add<FuseNothing>(FuseOpcode.REMOVEXATTR, (h, r) => h.RemoveXAttr(r), names: 1);
        Add<FuseFlushIn>(FuseOpcode.FLUSH, (h, r) => h.Flush(r));
        Add<FuseOpenIn>(FuseOpcode.OPENDIR, (h, r) => h.OpenDir(r));
        Add<FuseReadIn>(FuseOpcode.READDIR, (h, r) => h.ReadDir(r));
        Add<FuseReadIn>(FuseOpcode.READDIRPLUS, (h, r) => h.ReadDirPlus(r));
        Add<FuseReleaseIn>(FuseOpcode.RELEASEDIR, (h, r) => h.ReleaseDir(r));
        Add<FuseFsyncIn>(FuseOpcode.FSYNCDIR, (h, r) => h.FSyncDir(r));
        Add<FuseLkIn>(FuseOpcode.GETLK, (h, r) => h.GetLk(r));
        Add<FuseLkIn>(FuseOpcode.SETLK, (h, r) => h.SetLk(r));
        Add<FuseLkIn>(FuseOpcode.SETLKW, (h, r) => h.SetLkW(r));
        Add<FuseAccessIn>(FuseOpcode.ACCESS, (h, r) => h.Access(r));
        Add<FuseBmapIn>(FuseOpcode.BMAP, (h, r) => h.BMap(r));
        Add<FuseNothing>(FuseOpcode.DESTROY, (h, r) => h.Destroy(r));
        Add<FuseIoctlIn>(FuseOpcode.IOCTL, (h, r) => h.Ioctl(r), payload: new(24, 1));
        Add<FusePollIn>(FuseOpcode.POLL, (h, r) => h.Poll(r));
        Add<FuseNotifyRetrieveIn>(FuseOpcode.NOTIFY_REPLY, (h, r) => h.NotifyReply(r), payload: new(16, 1), reply: false);
        Add<FuseBatchForgetIn>(FuseOpcode.BATCH_FORGET, (h, r) => h.BatchForget(r), payload: new(0, 16), reply: false);
        Add<FuseFallocateIn>(FuseOpcode.FALLOCATE, (h, r) => h.FAllocate(r));
        Add<FuseLseekIn>(FuseOpcode.LSEEK, (h, r) => h.LSeek(r));
        Add<FuseCopyFileRangeIn>(FuseOpcode.COPY_FILE_RANGE, (h, r) => h.CopyFileRange(r));
        Add<FuseCopyFileRangeIn>(FuseOpcode.COPY_FILE_RANGE_64, (h, r) => h.CopyFileRange64(r));
        Add<FuseSyncfsIn>(FuseOpcode.SYNCFS, (h, r) => h.SyncFs(r));
        Add<FuseStatxIn>(FuseOpcode.STATX, (h, r) => h.Statx(r));

        // Answered by the connection itself. INIT is read with the size that it had before INIT_EXT.
        Add<FuseInterruptIn>(FuseOpcode.INTERRUPT, null, reply: false);
        Add<FuseInitIn>(FuseOpcode.INIT, null, compatSize: 16);
        return rows;

        void Add<TIn>(
            FuseOpcode opcode,
            Action<FuseHandler, FuseRequest>? invoke,
            int names = 0,
            FusePayloadRule? payload = null,
            bool reply = true,
            int? compatSize = null)
            where TIn : unmanaged
        {
            int size = typeof(TIn) == typeof(FuseNothing) ? 0 : Unsafe.SizeOf<TIn>();
            rows[(int)opcode] = new FuseOpcodeRow(
                opcode, opcode.ToString(), size, compatSize ?? size, names, payload ?? FusePayloadRule.None, reply, invoke);
        }
    }

    /// <summary>Stands for "no structure" in the table.</summary>
    private struct FuseNothing;
}
