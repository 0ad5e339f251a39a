using EphemeralFs.Core;

namespace EphemeralFs.Rpc.Messages;

/// <summary>How a node may treat the data of an open file. The server decides at open and changes it by <see cref="RecallRequest"/>.</summary>
public enum DataMode : byte
{
    /// <summary>Nobody else has the file open for writing: cache reads, and write back if this node writes.</summary>
    Cached = 0,

    /// <summary>Several nodes have the file open and at least one writes: commit every write before answering it.</summary>
    Through = 1,
}

/// <summary>Flags of <see cref="OpenRequest"/> and <see cref="CreateRequest"/>.</summary>
[Flags]
public enum OpenFlags : uint
{
    None = 0,

    /// <summary>The handle may write.</summary>
    Write = 1,

    /// <summary>Cut the file to nothing (O_TRUNC).</summary>
    Truncate = 2,

    /// <summary>Fail when the name exists (O_EXCL; create only).</summary>
    Exclusive = 4,

    /// <summary>The inode is a directory (opendir).</summary>
    Directory = 8,

    /// <summary>As <see cref="SetAttrFields.KillSuidgid"/>, with <see cref="Truncate"/>.</summary>
    KillSuidgid = 16,
}

/// <summary>Flags of <see cref="CommitRequest"/>.</summary>
[Flags]
public enum CommitFlags : uint
{
    None = 0,

    /// <summary>The file's bytes are <see cref="CommitRequest.Inline"/>; extents must be empty and go away. With <see cref="Append"/> the inline bytes follow the last byte
    /// of the file, which must be inline and stay within Limits.InlineMaxBytes (else EXDEV: append extents).</summary>
    HasInline = 1,

    /// <summary>O_APPEND in <see cref="DataMode.Through"/>: file offsets are relative to the end of the file as the server knows it.</summary>
    Append = 2,

    /// <summary>As <see cref="SetAttrFields.KillSuidgid"/>.</summary>
    KillSuidgid = 4,

    /// <summary>Leave the modification time alone (a flush after an explicit utimens).</summary>
    KeepMtime = 8,

    /// <summary>A program has closed the file and no other handle of the session may write: until the session opens one for writing again, its open for writing
    /// stands in nobody's way.</summary>
    Quiet = 16,
}

/// <summary>What a node must do before it acknowledges a <see cref="RecallRequest"/>.</summary>
public enum RecallAction : byte
{
    /// <summary>Commit what is dirty, then treat the inode as <see cref="DataMode.Through"/> until its last handle on the node is closed.</summary>
    GoThrough = 1,

    /// <summary>Forget cached layout, attributes and pages of the inode: another node has changed it.</summary>
    Invalidate = 2,
}

/// <summary>Registers an open handle; the inode lives until it is closed. A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Handle">Chosen by the node, unique in the session.</param>
/// <param name="Flags">How.</param>
public readonly record struct OpenRequest(ulong Ino, ulong Handle, OpenFlags Flags)
    : IRequest<OpenRequest, OpenReply>
{
    public static Opcode Opcode => Opcode.Open;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(Handle);
        w.U32((uint)Flags);
    }

    public static OpenRequest Read(ref WireReader r) => new(r.U64(), r.U64(), (OpenFlags)r.U32());
}

/// <summary>
/// Finds a name; a regular file that nobody writes, and that the session has not open, is opened for reading at the same time. A slot operation.
/// </summary>
/// <param name="Parent">Directory.</param>
/// <param name="Name">The name.</param>
/// <param name="Handle">Chosen by the node, unique in the session.</param>
public readonly record struct OpenNameRequest(ulong Parent, ReadOnlyMemory<byte> Name, ulong Handle)
    : IRequest<OpenNameRequest, OpenNameReply>
{
    public static Opcode Opcode => Opcode.OpenName;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
        w.U64(Handle);
    }

    public static OpenNameRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameOnWireMaxBytes), r.U64());
}

/// <summary>The inode of a name.</summary>
/// <param name="IsOpen">Whether the handle was registered: the layout is that of the file as at open. Else it is empty.</param>
/// <param name="Layout">The attributes, and where the bytes are.</param>
public readonly record struct OpenNameReply(bool IsOpen, LayoutReply Layout)
    : IWireMessage<OpenNameReply>
{
    public void Write(ref WireWriter w)
    {
        w.Bool(IsOpen);
        Layout.Write(ref w);
    }

    public static OpenNameReply Read(ref WireReader r) => new(r.Bool(), LayoutReply.Read(ref r));
}

/// <summary>Finds or makes a regular file and registers an open handle. A slot operation.</summary>
/// <param name="Parent">Directory.</param>
/// <param name="NewIno">A number from the session's grant.</param>
/// <param name="Name">The name.</param>
/// <param name="FileMode">Type and permission bits, umask applied.</param>
/// <param name="Uid">Owner.</param>
/// <param name="Gid">Group, unless the parent is set-group-ID.</param>
/// <param name="Handle">Chosen by the node, unique in the session.</param>
/// <param name="Flags">How.</param>
public readonly record struct CreateRequest(
    ulong Parent,
    ulong NewIno,
    ReadOnlyMemory<byte> Name,
    uint FileMode,
    uint Uid,
    uint Gid,
    ulong Handle,
    OpenFlags Flags)
    : IRequest<CreateRequest, CreateReply>
{
    public static Opcode Opcode => Opcode.Create;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.U64(NewIno);
        w.Bytes(Name);
        w.U32(FileMode);
        w.U32(Uid);
        w.U32(Gid);
        w.U64(Handle);
        w.U32((uint)Flags);
    }

    public static CreateRequest Read(ref WireReader r) => new(
        r.U64(),
        r.U64(),
        r.Bytes(Limits.NameOnWireMaxBytes),
        r.U32(),
        r.U32(),
        r.U32(),
        r.U64(),
        (OpenFlags)r.U32());
}

/// <summary>The file that was found or made, and its directory.</summary>
/// <param name="File">As at open.</param>
/// <param name="Parent">The directory's attributes after the operation.</param>
public readonly record struct CreateReply(OpenReply File, InodeAttributes Parent)
    : IWireMessage<CreateReply>
{
    public void Write(ref WireWriter w)
    {
        File.Write(ref w);
        w.Attributes(Parent);
    }

    public static CreateReply Read(ref WireReader r) => new(OpenReply.Read(ref r), r.Attributes());
}

/// <summary>
/// A deferred Create (<see cref="FrameFlags.MayDefer"/>) and the first commit of the file, in one request. What the session has made already is found, so that a
/// successor that does not know may ask again. A slot operation.
/// </summary>
/// <param name="Create">With Exclusive.</param>
/// <param name="CreatedNs">When it was made, nanoseconds since the epoch; the time of the operation is that of the bytes.</param>
/// <param name="Commit">Of the same inode.</param>
public readonly record struct CreateAndCommitRequest(CreateRequest Create, long CreatedNs, CommitRequest Commit)
    : IRequest<CreateAndCommitRequest, CreateAndCommitReply>
{
    public static Opcode Opcode => Opcode.CreateAndCommit;

    public void Write(ref WireWriter w)
    {
        Create.Write(ref w);
        w.I64(CreatedNs);
        Commit.Write(ref w);
    }

    public static CreateAndCommitRequest Read(ref WireReader r) => new(CreateRequest.Read(ref r), r.I64(), CommitRequest.Read(ref r));
}

/// <summary>The file is made; how its commit ended.</summary>
/// <param name="Created">As of Create.</param>
/// <param name="CommitStatus">As of Commit.</param>
/// <param name="Committed">As of Commit, when that is OK.</param>
public readonly record struct CreateAndCommitReply(CreateReply Created, Status CommitStatus, CommitReply Committed)
    : IWireMessage<CreateAndCommitReply>
{
    public void Write(ref WireWriter w)
    {
        Created.Write(ref w);
        w.I32((int)CommitStatus);
        Committed.Write(ref w);
    }

    public static CreateAndCommitReply Read(ref WireReader r) => new(CreateReply.Read(ref r), (Status)r.I32(), CommitReply.Read(ref r));
}

/// <summary>Makes a regular file without a name and registers an open handle. A slot operation.</summary>
/// <param name="Parent">Directory, for ownership rules.</param>
/// <param name="NewIno">A number from the session's grant.</param>
/// <param name="FileMode">Type and permission bits, umask applied.</param>
/// <param name="Uid">Owner.</param>
/// <param name="Gid">Group.</param>
/// <param name="Handle">Chosen by the node, unique in the session.</param>
/// <param name="Flags">How.</param>
public readonly record struct TmpfileRequest(
    ulong Parent,
    ulong NewIno,
    uint FileMode,
    uint Uid,
    uint Gid,
    ulong Handle,
    OpenFlags Flags)
    : IRequest<TmpfileRequest, OpenReply>
{
    public static Opcode Opcode => Opcode.Tmpfile;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.U64(NewIno);
        w.U32(FileMode);
        w.U32(Uid);
        w.U32(Gid);
        w.U64(Handle);
        w.U32((uint)Flags);
    }

    public static TmpfileRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.U32(), r.U32(), r.U32(), r.U64(), (OpenFlags)r.U32());
}

/// <summary>Unregisters open handles. Closing an unknown handle is success. A slot operation.</summary>
/// <param name="Handles">As at open.</param>
public readonly record struct CloseRequest(params ulong[] Handles)
    : IRequest<CloseRequest, Empty>
{
    public static Opcode Opcode => Opcode.Close;

    public void Write(ref WireWriter w)
    {
        w.U64Array(Handles);
    }

    public static CloseRequest Read(ref WireReader r) => new(r.U64Array());
}

/// <summary>Where the bytes of a range are.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct GetLayoutRequest(ulong Ino, ulong Offset, ulong Length)
    : IRequest<GetLayoutRequest, LayoutReply>
{
    public static Opcode Opcode => Opcode.GetLayout;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(Offset);
        w.U64(Length);
    }

    public static GetLayoutRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.U64());
}

/// <summary>Makes written bytes part of the file. Extents replace what was there; the size becomes at least Size. A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Flags">How.</param>
/// <param name="Size">The file is at least this long afterwards (with Append: relative to the end).</param>
/// <param name="Extents">New extents of blocks that storage servers acknowledged.</param>
/// <param name="Inline">With HasInline: all bytes of the file.</param>
/// <param name="Base">The version of the file's bytes (<see cref="InodeAttributes.DataVersion"/>) with which the node has joined what was written. Where inline bytes are
/// replaced, the file must have it still (else EXDEV: ask for the layout, and join again).</param>
public readonly record struct CommitRequest(
    ulong Ino,
    CommitFlags Flags,
    ulong Size,
    Extent[] Extents,
    ReadOnlyMemory<byte> Inline,
    ulong Base)
    : IRequest<CommitRequest, CommitReply>
{
    public static Opcode Opcode => Opcode.Commit;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U32((uint)Flags);
        w.U64(Size);
        w.Extents(Extents);
        w.Bytes(Inline);
        w.U64(Base);
    }

    public static CommitRequest Read(ref WireReader r) => new(
        r.U64(),
        (CommitFlags)r.U32(),
        r.U64(),
        r.Extents(),
        r.Bytes(Limits.InlineMaxBytes),
        r.U64());
}

/// <summary>The file after a commit.</summary>
/// <param name="Attributes">After the commit.</param>
/// <param name="Offset">With Append: where the bytes went.</param>
/// <param name="ChargedBytes">Quota bytes taken out of the session's grant; what the file freed went to the free quota, not to the grant.</param>
public readonly record struct CommitReply(InodeAttributes Attributes, ulong Offset, ulong ChargedBytes)
    : IWireMessage<CommitReply>
{
    public void Write(ref WireWriter w)
    {
        w.Attributes(Attributes);
        w.U64(Offset);
        w.U64(ChargedBytes);
    }

    public static CommitReply Read(ref WireReader r) => new(r.Attributes(), r.U64(), r.U64());
}

/// <summary>fallocate(2) on committed data. A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="AllocateMode">0, FALLOC_FL_KEEP_SIZE 1, FALLOC_FL_PUNCH_HOLE|KEEP_SIZE 3, FALLOC_FL_ZERO_RANGE 16 (with or without KEEP_SIZE); others give EOPNOTSUPP.</param>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes, not 0.</param>
/// <param name="KillSuidgid">As in setattr.</param>
public readonly record struct FallocateRequest(
    ulong Ino,
    uint AllocateMode,
    ulong Offset,
    ulong Length,
    bool KillSuidgid)
    : IRequest<FallocateRequest, EntryReply>
{
    public static Opcode Opcode => Opcode.Fallocate;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U32(AllocateMode);
        w.U64(Offset);
        w.U64(Length);
        w.Bool(KillSuidgid);
    }

    public static FallocateRequest Read(ref WireReader r) => new(r.U64(), r.U32(), r.U64(), r.U64(), r.Bool());
}

/// <summary>copy_file_range(2) by reference: no bytes move. A slot operation.</summary>
/// <param name="Source">Inode read from.</param>
/// <param name="SourceOffset">First byte.</param>
/// <param name="Target">Inode written to.</param>
/// <param name="TargetOffset">First byte.</param>
/// <param name="Length">Bytes; cut at the end of the source.</param>
public readonly record struct CloneRequest(
    ulong Source,
    ulong SourceOffset,
    ulong Target,
    ulong TargetOffset,
    ulong Length)
    : IRequest<CloneRequest, CloneReply>
{
    public static Opcode Opcode => Opcode.Clone;

    public void Write(ref WireWriter w)
    {
        w.U64(Source);
        w.U64(SourceOffset);
        w.U64(Target);
        w.U64(TargetOffset);
        w.U64(Length);
    }

    public static CloneRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.U64(), r.U64(), r.U64());
}

/// <summary>What a clone did.</summary>
/// <param name="Copied">Bytes.</param>
/// <param name="Attributes">The target after it.</param>
public readonly record struct CloneReply(ulong Copied, InodeAttributes Attributes)
    : IWireMessage<CloneReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Copied);
        w.Attributes(Attributes);
    }

    public static CloneReply Read(ref WireReader r) => new(r.U64(), r.Attributes());
}

/// <summary>lseek(2) with SEEK_DATA or SEEK_HOLE on committed data.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Offset">From where.</param>
/// <param name="Whence">3 SEEK_DATA, 4 SEEK_HOLE.</param>
public readonly record struct SeekRequest(ulong Ino, ulong Offset, uint Whence)
    : IRequest<SeekRequest, SeekReply>
{
    public static Opcode Opcode => Opcode.Seek;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(Offset);
        w.U32(Whence);
    }

    public static SeekRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.U32());
}

/// <summary>Where data or a hole begins.</summary>
/// <param name="Offset">Byte offset.</param>
public readonly record struct SeekReply(ulong Offset)
    : IWireMessage<SeekReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Offset);
    }

    public static SeekReply Read(ref WireReader r) => new(r.U64());
}

/// <summary>Server to node: another node's operation conflicts with what this node caches of an inode.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Action">What to do before acknowledging.</param>
public readonly record struct RecallRequest(ulong Ino, RecallAction Action)
    : IRequest<RecallRequest, Empty>
{
    public static Opcode Opcode => Opcode.Recall;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U8((byte)Action);
    }

    public static RecallRequest Read(ref WireReader r) => new(r.U64(), (RecallAction)r.U8());
}

/// <summary>Server to node: another node has moved a directory away from this name.</summary>
/// <param name="Parent">The directory that had it.</param>
/// <param name="Name">The name.</param>
public readonly record struct ForgetNameRequest(ulong Parent, ReadOnlyMemory<byte> Name)
    : IRequest<ForgetNameRequest, Empty>
{
    public static Opcode Opcode => Opcode.ForgetName;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
    }

    public static ForgetNameRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameOnWireMaxBytes));
}

/// <summary>A name in a directory.</summary>
/// <param name="Parent">Directory.</param>
/// <param name="Name">The name.</param>
public readonly record struct DirectoryName(ulong Parent, ReadOnlyMemory<byte> Name)
    : IWireMessage<DirectoryName>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
    }

    public static DirectoryName Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameOnWireMaxBytes));
}

/// <summary>Server to node: an operation of another session has changed these names and attributes. Acknowledged when neither node nor kernel uses the old ones any more.</summary>
/// <param name="Names">Names that were made, removed or given to something else; the directory's own attributes are among the inodes.</param>
/// <param name="Inodes">Inodes whose attributes changed.</param>
/// <param name="Everything">The server was started again and knows of no lease any more: forget all names and attributes.</param>
/// <param name="Deferred">Another session is about to be let in: nothing is deferred any more (<see cref="FrameFlags.MayDefer"/>), and what was is sent before this is acknowledged.</param>
public readonly record struct ForgetRequest(DirectoryName[] Names, ulong[] Inodes, bool Everything, bool Deferred)
    : IRequest<ForgetRequest, Empty>
{
    public static Opcode Opcode => Opcode.Forget;

    public void Write(ref WireWriter w)
    {
        w.List(Names);
        w.U64Array(Inodes);
        w.Bool(Everything);
        w.Bool(Deferred);
    }

    public static ForgetRequest Read(ref WireReader r) => new(r.List<DirectoryName>(12), r.U64Array(), r.Bool(), r.Bool());
}

/// <summary>Server to node: the quota is short; give back what is unused.</summary>
public readonly record struct RecallGrantRequest
    : IRequest<RecallGrantRequest, RecallGrantReply>
{
    public static Opcode Opcode => Opcode.RecallGrant;

    public void Write(ref WireWriter w)
    {
    }

    public static RecallGrantRequest Read(ref WireReader r) => default;
}

/// <summary>Grant given back; the node has already stopped using it.</summary>
/// <param name="Bytes">Quota bytes.</param>
public readonly record struct RecallGrantReply(ulong Bytes)
    : IWireMessage<RecallGrantReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Bytes);
    }

    public static RecallGrantReply Read(ref WireReader r) => new(r.U64());
}

/// <summary>The bytes of a file, or where they are: inline bytes, or extents in file order.</summary>
/// <param name="Attributes">Attributes that belong to this layout.</param>
/// <param name="Inline">With <paramref name="IsInline"/>: bytes [0, length); what follows up to the size is a hole.</param>
/// <param name="IsInline">Whether there are inline bytes. Extents then begin behind them (what was appended by reference, or allocated); usually there are none.</param>
/// <param name="Extents">Extents that overlap the asked range, at most <see cref="Limits.ExtentsPerMessageMax"/>.</param>
/// <param name="CoveredEnd">The answer is complete from the asked offset up to here: gaps below are holes.</param>
public readonly record struct LayoutReply(InodeAttributes Attributes, bool IsInline, ReadOnlyMemory<byte> Inline, Extent[] Extents, ulong CoveredEnd)
    : IWireMessage<LayoutReply>
{
    public void Write(ref WireWriter w)
    {
        w.Attributes(Attributes);
        w.Bool(IsInline);
        w.Bytes(Inline);
        w.Extents(Extents);
        w.U64(CoveredEnd);
    }

    public static LayoutReply Read(ref WireReader r) => new(r.Attributes(), r.Bool(), r.Bytes(Limits.InlineMaxBytes), r.Extents(), r.U64());
}

/// <summary>An open file, with its small contents or the first part of its layout.</summary>
/// <param name="Mode">How data may be treated.</param>
/// <param name="Created">Create only: whether the name is new.</param>
/// <param name="Layout">Attributes after the open, inline bytes or the first extents.</param>
public readonly record struct OpenReply(DataMode Mode, bool Created, LayoutReply Layout)
    : IWireMessage<OpenReply>
{
    /// <summary>Attributes after the open.</summary>
    public InodeAttributes Attributes => Layout.Attributes;

    public void Write(ref WireWriter w)
    {
        w.U8((byte)Mode);
        w.Bool(Created);
        Layout.Write(ref w);
    }

    public static OpenReply Read(ref WireReader r) => new((DataMode)r.U8(), r.Bool(), LayoutReply.Read(ref r));
}
