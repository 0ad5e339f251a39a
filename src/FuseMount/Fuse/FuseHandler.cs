using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>A file system as the kernel sees it: one method per operation, each given the request to answer.</summary>
/// <remarks>
/// <para><b>Answering.</b> A method either calls exactly one <c>Reply…</c> method of the request before it returns, or keeps the request and
/// calls it later from any thread (<see cref="FuseRequest.Run{TState}"/> does so for asynchronous work). After the reply the request
/// belongs to the pool: touch neither it nor the memory of its <c>Name</c>, <c>Payload</c> or rented buffers any more.</para>
/// <para><b>No answer</b> is due to <see cref="Forget"/>, <see cref="BatchForget"/> and <see cref="NotifyReply"/>: the request is recycled
/// when the method returns, so whatever is needed later must be copied.</para>
/// <para><b>Threads.</b> Methods run on the connection's workers, several at once, blocking the reader that called them.
/// A method that waits for the network should defer instead, and none may wait for a notification
/// (<see cref="FuseNotifier"/>): the kernel may hold the directory or pages for the very request that waits.</para>
/// <para><b>Faults.</b> An exception becomes EIO for that request only and is reported through <see cref="FuseConnectionOptions.OnFault"/>.</para>
/// <para><b>ENOSYS</b>, the default, is remembered by the kernel for the whole connection for many operations (ACCESS, FLUSH,
/// FSYNC, OPEN, xattrs, FALLOCATE, LSEEK, COPY_FILE_RANGE, STATX, SYNCFS, …): it then stops asking, or emulates.</para>
/// <para><b>Set-id bits.</b> With HANDLE_KILLPRIV_V2 agreed (the default) the kernel leaves it to the file system to drop setuid, setgid and
/// <c>security.capability</c>: on WRITE with <see cref="FuseWriteFlags.KILL_SUIDGID"/>, on SETATTR with <see cref="FuseSetattrValid.KILL_SUIDGID"/> (truncate),
/// on OPEN and CREATE with <see cref="FuseOpenInFlags.KILL_SUIDGID"/>, and always on a change of owner.</para>
/// <para><b>Interrupts.</b> Only requests that a program itself waits for are interrupted (direct I/O, locks, names); page-cache reads and write-back
/// are not: a killed program leaves them behind, and their answer is still taken.</para>
/// <para><b>References.</b> Every successful reply with a <see cref="FuseEntryOut"/> whose node id is not 0 adds one to the node's lookup
/// count (LOOKUP, MKNOD, MKDIR, SYMLINK, LINK, CREATE, TMPFILE, each READDIRPLUS entry except <c>.</c> and <c>..</c>); FORGET takes them back.</para>
/// </remarks>
public abstract class FuseHandler
{
    /// <summary>Called once, before the first request.</summary>
    /// <param name="negotiated">What was agreed with the kernel.</param>
    /// <param name="resumed">Whether a predecessor served this mount: nodes, handles and locks exist already, and requests may come again.</param>
    public virtual void Initialized(FuseNegotiated negotiated, bool resumed) { }

    /// <summary><c>Name</c> in directory <c>NodeId</c>. Reply <see cref="FuseRequest.ReplyEntry"/>, node id 0 for a cacheable absence, or ENOENT.</summary>
    public virtual void Lookup(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseForgetIn"/> drops that many references of <c>NodeId</c>. No reply.</summary>
    public virtual void Forget(FuseRequest request) { }

    /// <summary>In: <see cref="FuseBatchForgetIn"/>; <see cref="FuseRequest.Forgets"/> lists nodes and counts. No reply.</summary>
    public virtual void BatchForget(FuseRequest request) { }

    /// <summary>In: <see cref="FuseGetattrIn"/> (<c>Fh</c> valid with <see cref="FuseGetattrFlags.FH"/>). Reply <see cref="FuseRequest.ReplyAttr"/>.</summary>
    public virtual void GetAttr(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseSetattrIn"/>; only the fields named in <c>Valid</c> count. Reply <see cref="FuseRequest.ReplyAttr"/>.</summary>
    public virtual void SetAttr(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>Reply <see cref="FuseRequest.ReplyData(ReadOnlySpan{byte})"/>: the link's target without NUL.</summary>
    public virtual void ReadLink(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary><c>Name</c> to make in <c>NodeId</c>, <c>Name2</c> the target. Reply <see cref="FuseRequest.ReplyEntry"/>.</summary>
    public virtual void SymLink(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseMknodIn"/>, <c>Name</c>. Mode has its type bits, umask already applied. Reply <see cref="FuseRequest.ReplyEntry"/>.</summary>
    public virtual void MkNod(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseMkdirIn"/>, <c>Name</c>. Reply <see cref="FuseRequest.ReplyEntry"/>.</summary>
    public virtual void MkDir(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary><c>Name</c> in <c>NodeId</c>. Reply ok.</summary>
    public virtual void Unlink(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary><c>Name</c> in <c>NodeId</c>. Reply ok.</summary>
    public virtual void RmDir(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseRename2In"/> (flags 0); <c>Name</c> in <c>NodeId</c> becomes <c>Name2</c> in <c>NewDir</c>. Reply ok.</summary>
    public virtual void Rename(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>As <see cref="Rename"/> with flags; unless overridden it calls <see cref="Rename"/>, which then sees them in <see cref="FuseRename2In"/>.</summary>
    public virtual void Rename2(FuseRequest request) => Rename(request);

    /// <summary>In: <see cref="FuseLinkIn"/>; <c>OldNodeId</c> gets <c>Name</c> in directory <c>NodeId</c>. Reply <see cref="FuseRequest.ReplyEntry"/>.</summary>
    public virtual void Link(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseOpenIn"/>; with ATOMIC_O_TRUNC negotiated, O_TRUNC must truncate. Reply <see cref="FuseRequest.ReplyOpen"/>.</summary>
    public virtual void Open(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseCreateIn"/>, <c>Name</c>. Reply <see cref="FuseRequest.ReplyCreate"/>.</summary>
    public virtual void Create(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseCreateIn"/>; a file without a name in the file system of directory <c>NodeId</c>. Reply <see cref="FuseRequest.ReplyCreate"/>.</summary>
    public virtual void TmpFile(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseReadIn"/>. Reply <see cref="FuseRequest.ReplyData(ReadOnlySpan{byte})"/>, at most <c>Size</c> bytes; fewer means end of file.</summary>
    public virtual void Read(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseWriteIn"/>, <c>Payload</c>. Reply <see cref="FuseRequest.ReplyWrite"/>.</summary>
    public virtual void Write(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>Reply <see cref="FuseRequest.ReplyStatFs"/>.</summary>
    public virtual void StatFs(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseReleaseIn"/>: the last reference to the open file is gone. Reply ok (errors are ignored).</summary>
    public virtual void Release(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseFsyncIn"/>. Reply ok.</summary>
    public virtual void FSync(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseFsyncIn"/>, of a directory. Reply ok.</summary>
    public virtual void FSyncDir(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseFlushIn"/>: one close(2) of the file; drops POSIX locks of <c>LockOwner</c>. Reply ok or the error of late writes.</summary>
    public virtual void Flush(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseOpenIn"/>. Reply <see cref="FuseRequest.ReplyOpen"/>.</summary>
    public virtual void OpenDir(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseReadIn"/>, <c>Offset</c> the cookie after which to go on. Reply <see cref="FuseRequest.ReplyData(ReadOnlySpan{byte})"/> of a <see cref="DirentWriter"/>; empty at the end.</summary>
    public virtual void ReadDir(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>As <see cref="ReadDir"/>, each entry with attributes and a reference, <see cref="DirentWriter.TryAddPlus"/>.</summary>
    public virtual void ReadDirPlus(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseReleaseIn"/>. Reply ok.</summary>
    public virtual void ReleaseDir(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseSetxattrIn"/>, <c>Name</c>, <c>Payload</c> the value. Reply ok.</summary>
    public virtual void SetXAttr(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseGetxattrIn"/>, <c>Name</c>. <c>Size</c> 0: <see cref="FuseRequest.ReplyXAttrSize"/>; else the value, or ERANGE if larger.</summary>
    public virtual void GetXAttr(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseGetxattrIn"/>. As <see cref="GetXAttr"/>, the value being names each ended by NUL.</summary>
    public virtual void ListXAttr(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary><c>Name</c>. Reply ok.</summary>
    public virtual void RemoveXAttr(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseAccessIn"/>. Not sent when mounted with <c>default_permissions</c>. Reply ok or EACCES.</summary>
    public virtual void Access(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseLkIn"/>. Reply <see cref="FuseRequest.ReplyLock"/>: the conflicting lock, or type F_UNLCK.</summary>
    public virtual void GetLk(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseLkIn"/> without waiting, flock(2) too (<see cref="FuseLkFlags.FLOCK"/>). Reply ok or EAGAIN.</summary>
    public virtual void SetLk(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>As <see cref="SetLk"/>, waiting: defer, hook <see cref="FuseRequest.OnInterrupt"/> and answer EINTR when it fires.</summary>
    public virtual void SetLkW(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseFallocateIn"/>. Reply ok.</summary>
    public virtual void FAllocate(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseLseekIn"/>, SEEK_DATA and SEEK_HOLE only. Reply <see cref="FuseRequest.ReplyLseek"/> or ENXIO.</summary>
    public virtual void LSeek(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseCopyFileRangeIn"/>. Reply <see cref="FuseRequest.ReplyCopied"/>.</summary>
    public virtual void CopyFileRange(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>As <see cref="CopyFileRange"/>, which it calls unless overridden; the reply counts in 64 bits.</summary>
    public virtual void CopyFileRange64(FuseRequest request) => CopyFileRange(request);

    /// <summary>In: <see cref="FuseStatxIn"/>; asked only for what GETATTR lacks (birth time). Reply <see cref="FuseRequest.ReplyStatx"/>.</summary>
    public virtual void Statx(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseIoctlIn"/>, <c>Payload</c> of <c>InSize</c> bytes. Reply <see cref="FuseRequest.ReplyIoctl"/>; ENOTTY for unknown commands.</summary>
    public virtual void Ioctl(FuseRequest request) => request.ReplyError(Errno.ENOTTY);

    /// <summary>In: <see cref="FusePollIn"/>. Reply <see cref="FuseRequest.ReplyPoll"/>; ENOSYS makes every file always ready.</summary>
    public virtual void Poll(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>syncfs(2). Reply ok.</summary>
    public virtual void SyncFs(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>In: <see cref="FuseBmapIn"/>. Only for mounts on block devices. Reply <see cref="FuseBmapOut"/>.</summary>
    public virtual void BMap(FuseRequest request) => request.ReplyError(Errno.ENOSYS);

    /// <summary>The kernel unmounts. Not sent for ordinary mounts: rely on <see cref="FuseConnection.Completion"/>. Reply ok.</summary>
    public virtual void Destroy(FuseRequest request) => request.ReplyOk();

    /// <summary>Answer to a RETRIEVE notification. No reply.</summary>
    public virtual void NotifyReply(FuseRequest request) { }
}
