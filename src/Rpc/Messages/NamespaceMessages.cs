using EphemeralFs.Core;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Rpc.Messages;

/// <summary>Which fields of a <see cref="SetAttrRequest"/> are meant.</summary>
[Flags]
public enum SetAttrFields : uint
{
    None = 0,
    Mode = 1,
    Uid = 2,
    Gid = 4,
    Size = 8,

    /// <summary>Access time as given; with <see cref="AtimeNow"/> the time of the operation.</summary>
    Atime = 16,
    Mtime = 32,
    AtimeNow = 64,
    MtimeNow = 128,

    /// <summary>Clear set-user-ID and, where group execute is set, set-group-ID (a write, truncate or chown by a program without CAP_FSETID).</summary>
    KillSuidgid = 256,

    /// <summary>Clear set-group-ID also where group execute is not set: the caller is neither privileged nor in the file's group.</summary>
    KillSetgid = 512,

    /// <summary>Refuse (EPERM) unless the inode belongs to <see cref="SetAttrRequest.Uid"/>: the caller's kernel judged by an owner that it may have seen long ago.</summary>
    OwnerOnly = 1024,
}

/// <summary>The inode that an operation found, made or changed.</summary>
/// <param name="Attributes">Its attributes after the operation.</param>
public readonly record struct EntryReply(InodeAttributes Attributes)
    : IWireMessage<EntryReply>
{
    public void Write(ref WireWriter w)
    {
        w.Attributes(Attributes);
    }

    public static EntryReply Read(ref WireReader r) => new(r.Attributes());
}

/// <summary>The inode whose name an operation made or removed, and the directory of that name.</summary>
/// <param name="Attributes">The inode's attributes after the operation.</param>
/// <param name="Parent">The directory's: the kernel asks for them after each change.</param>
public readonly record struct NameReply(InodeAttributes Attributes, InodeAttributes Parent)
    : IWireMessage<NameReply>
{
    public void Write(ref WireWriter w)
    {
        w.Attributes(Attributes);
        w.Attributes(Parent);
    }

    public static NameReply Read(ref WireReader r) => new(r.Attributes(), r.Attributes());
}

/// <summary>Finds a name.</summary>
/// <param name="Parent">Directory.</param>
/// <param name="Name">The name; "." and ".." are answered too.</param>
public readonly record struct LookupRequest(ulong Parent, ReadOnlyMemory<byte> Name)
    : IRequest<LookupRequest, EntryReply>
{
    public static Opcode Opcode => Opcode.Lookup;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
    }

    public static LookupRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameOnWireMaxBytes));
}

/// <summary>Attributes of an inode.</summary>
/// <param name="Ino">Inode number.</param>
public readonly record struct GetAttrRequest(ulong Ino)
    : IRequest<GetAttrRequest, EntryReply>
{
    public static Opcode Opcode => Opcode.GetAttr;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
    }

    public static GetAttrRequest Read(ref WireReader r) => new(r.U64());
}

/// <summary>Changes attributes; a size cuts or extends the file. A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Fields">Which fields are meant.</param>
/// <param name="Mode">Permission bits.</param>
/// <param name="Uid">Owner.</param>
/// <param name="Gid">Group.</param>
/// <param name="Size">Bytes.</param>
/// <param name="AtimeNs">Nanoseconds since the epoch.</param>
/// <param name="MtimeNs">Nanoseconds since the epoch.</param>
public readonly record struct SetAttrRequest(
    ulong Ino,
    SetAttrFields Fields,
    uint Mode,
    uint Uid,
    uint Gid,
    ulong Size,
    long AtimeNs,
    long MtimeNs)
    : IRequest<SetAttrRequest, EntryReply>
{
    public static Opcode Opcode => Opcode.SetAttr;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U32((uint)Fields);
        w.U32(Mode);
        w.U32(Uid);
        w.U32(Gid);
        w.U64(Size);
        w.I64(AtimeNs);
        w.I64(MtimeNs);
    }

    /// <summary>Changes all that is meant but the size and ctime.</summary>
    /// <param name="attributes">What is changed.</param>
    /// <param name="timeNs">Time of the operation.</param>
    public void ApplyTo(ref InodeAttributes attributes, long timeNs)
    {
        if ((Fields & SetAttrFields.KillSuidgid) != 0)
        {
            attributes.KillSuidgid();
        }

        if ((Fields & SetAttrFields.KillSetgid) != 0)
        {
            attributes.Mode &= ~FileMode.SetGid;
        }

        if ((Fields & SetAttrFields.Mode) != 0)
        {
            attributes.Mode = (attributes.Mode & FileMode.TypeMask) | (Mode & FileMode.PermissionMask);
        }

        if ((Fields & SetAttrFields.Uid) != 0)
        {
            attributes.Uid = Uid;
        }

        if ((Fields & SetAttrFields.Gid) != 0)
        {
            attributes.Gid = Gid;
        }

        if ((Fields & (SetAttrFields.Atime | SetAttrFields.AtimeNow)) != 0)
        {
            attributes.AtimeNs = (Fields & SetAttrFields.AtimeNow) != 0 ? timeNs : AtimeNs;
        }

        if ((Fields & (SetAttrFields.Mtime | SetAttrFields.MtimeNow)) != 0)
        {
            attributes.MtimeNs = (Fields & SetAttrFields.MtimeNow) != 0 ? timeNs : MtimeNs;
        }
    }

    public static SetAttrRequest Read(ref WireReader r) => new(
        r.U64(),
        (SetAttrFields)r.U32(),
        r.U32(),
        r.U32(),
        r.U32(),
        r.U64(),
        r.I64(),
        r.I64());
}

/// <summary>Makes an inode of any type but an open file: mknod, mkdir and symlink. A slot operation.</summary>
/// <param name="Parent">Directory.</param>
/// <param name="NewIno">A number from the session's grant.</param>
/// <param name="Name">The new name.</param>
/// <param name="Mode">Type and permission bits, umask applied.</param>
/// <param name="Uid">Owner.</param>
/// <param name="Gid">Group, unless the parent is set-group-ID.</param>
/// <param name="Rdev">Device number.</param>
/// <param name="Target">Target of a symbolic link, else empty.</param>
public readonly record struct MknodRequest(
    ulong Parent,
    ulong NewIno,
    ReadOnlyMemory<byte> Name,
    uint Mode,
    uint Uid,
    uint Gid,
    uint Rdev,
    ReadOnlyMemory<byte> Target)
    : IRequest<MknodRequest, NameReply>
{
    public static Opcode Opcode => Opcode.Mknod;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.U64(NewIno);
        w.Bytes(Name);
        w.U32(Mode);
        w.U32(Uid);
        w.U32(Gid);
        w.U32(Rdev);
        w.Bytes(Target);
    }

    public static MknodRequest Read(ref WireReader r) => new(
        r.U64(),
        r.U64(),
        r.Bytes(Limits.NameOnWireMaxBytes),
        r.U32(),
        r.U32(),
        r.U32(),
        r.U32(),
        r.Bytes(Limits.SymlinkMaxBytes));
}

/// <summary>Removes a name that is not a directory. A slot operation.</summary>
/// <param name="Parent">Directory.</param>
/// <param name="Name">The name.</param>
public readonly record struct UnlinkRequest(ulong Parent, ReadOnlyMemory<byte> Name)
    : IRequest<UnlinkRequest, NameReply>
{
    public static Opcode Opcode => Opcode.Unlink;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
    }

    public static UnlinkRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameOnWireMaxBytes));
}

/// <summary>Removes an empty directory. A slot operation.</summary>
/// <param name="Parent">Directory.</param>
/// <param name="Name">The name.</param>
public readonly record struct RmdirRequest(ulong Parent, ReadOnlyMemory<byte> Name)
    : IRequest<RmdirRequest, NameReply>
{
    public static Opcode Opcode => Opcode.Rmdir;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
    }

    public static RmdirRequest Read(ref WireReader r) => new(r.U64(), r.Bytes(Limits.NameOnWireMaxBytes));
}

/// <summary>Renames. A slot operation.</summary>
/// <param name="Parent">Old directory.</param>
/// <param name="Name">Old name.</param>
/// <param name="NewParent">New directory.</param>
/// <param name="NewName">New name.</param>
/// <param name="Flags">RENAME_NOREPLACE 1, RENAME_EXCHANGE 2; others give EINVAL.</param>
/// <param name="Believed">What the node's kernel takes the old name for, whose entry it moves as it is; 0 when that is not known. ESTALE when it is something else.</param>
/// <param name="NewBelieved">The same of the new name, which counts with RENAME_EXCHANGE.</param>
public readonly record struct RenameRequest(
    ulong Parent,
    ReadOnlyMemory<byte> Name,
    ulong NewParent,
    ReadOnlyMemory<byte> NewName,
    uint Flags,
    ulong Believed = Ino.None,
    ulong NewBelieved = Ino.None)
    : IRequest<RenameRequest, RenameReply>
{
    /// <summary>RENAME_NOREPLACE.</summary>
    public const uint NoReplace = 1;

    /// <summary>RENAME_EXCHANGE.</summary>
    public const uint Exchange = 2;

    public static Opcode Opcode => Opcode.Rename;

    public void Write(ref WireWriter w)
    {
        w.U64(Parent);
        w.Bytes(Name);
        w.U64(NewParent);
        w.Bytes(NewName);
        w.U32(Flags);
        w.U64(Believed);
        w.U64(NewBelieved);
    }

    public static RenameRequest Read(ref WireReader r) => new(
        r.U64(),
        r.Bytes(Limits.NameOnWireMaxBytes),
        r.U64(),
        r.Bytes(Limits.NameOnWireMaxBytes),
        r.U32(),
        r.U64(),
        r.U64());
}

/// <summary>What a rename moved and replaced.</summary>
/// <param name="Moved">The inode that was moved.</param>
/// <param name="Replaced">The inode that lost its name (or was exchanged); Ino 0 if none.</param>
/// <param name="Parent">The old directory.</param>
/// <param name="NewParent">The new directory; the same one if it was renamed within it.</param>
public readonly record struct RenameReply(InodeAttributes Moved, InodeAttributes Replaced, InodeAttributes Parent, InodeAttributes NewParent)
    : IWireMessage<RenameReply>
{
    public void Write(ref WireWriter w)
    {
        w.Attributes(Moved);
        w.Attributes(Replaced);
        w.Attributes(Parent);
        w.Attributes(NewParent);
    }

    public static RenameReply Read(ref WireReader r) => new(r.Attributes(), r.Attributes(), r.Attributes(), r.Attributes());
}

/// <summary>Gives an inode one more name. A slot operation.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="NewParent">Directory.</param>
/// <param name="NewName">The new name.</param>
public readonly record struct LinkRequest(ulong Ino, ulong NewParent, ReadOnlyMemory<byte> NewName)
    : IRequest<LinkRequest, NameReply>
{
    public static Opcode Opcode => Opcode.Link;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(NewParent);
        w.Bytes(NewName);
    }

    public static LinkRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.Bytes(Limits.NameOnWireMaxBytes));
}

/// <summary>Target of a symbolic link.</summary>
/// <param name="Ino">Inode number.</param>
public readonly record struct ReadLinkRequest(ulong Ino)
    : IRequest<ReadLinkRequest, ReadLinkReply>
{
    public static Opcode Opcode => Opcode.ReadLink;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
    }

    public static ReadLinkRequest Read(ref WireReader r) => new(r.U64());
}

/// <summary>Target of a symbolic link.</summary>
/// <param name="Target">Bytes as they were given.</param>
public readonly record struct ReadLinkReply(ReadOnlyMemory<byte> Target)
    : IWireMessage<ReadLinkReply>
{
    public void Write(ref WireWriter w)
    {
        w.Bytes(Target);
    }

    public static ReadLinkReply Read(ref WireReader r) => new(r.Bytes(Limits.SymlinkMaxBytes));
}

/// <summary>Lists a directory from a cookie on.</summary>
/// <param name="Ino">Inode number.</param>
/// <param name="Cookie">0, or the cookie of the last entry seen. "." has cookie 1 and ".." 2.</param>
/// <param name="MaxBytes">Sum of (24 + name length) over the entries at most; at least one entry is returned.</param>
/// <param name="WithAttributes">Whether attributes are wanted.</param>
public readonly record struct ReadDirRequest(ulong Ino, ulong Cookie, uint MaxBytes, bool WithAttributes)
    : IRequest<ReadDirRequest, ReadDirReply>
{
    public static Opcode Opcode => Opcode.ReadDir;

    public void Write(ref WireWriter w)
    {
        w.U64(Ino);
        w.U64(Cookie);
        w.U32(MaxBytes);
        w.Bool(WithAttributes);
    }

    public static ReadDirRequest Read(ref WireReader r) => new(r.U64(), r.U64(), r.U32(), r.Bool());
}

/// <summary>One entry of a listing.</summary>
/// <param name="Cookie">Position after this entry; stable while other names come and go.</param>
/// <param name="Ino">Inode number.</param>
/// <param name="Type">d_type.</param>
/// <param name="Name">The name.</param>
/// <param name="Attributes">All zero unless asked for.</param>
public readonly record struct DirectoryEntry(
    ulong Cookie,
    ulong Ino,
    byte Type,
    ReadOnlyMemory<byte> Name,
    InodeAttributes Attributes)
    : IWireMessage<DirectoryEntry>
{
    public void Write(ref WireWriter w)
    {
        w.U64(Cookie);
        w.U64(Ino);
        w.U8(Type);
        w.Bytes(Name);
        w.Attributes(Attributes);
    }

    public static DirectoryEntry Read(ref WireReader r) => new(r.U64(), r.U64(), r.U8(), r.Bytes(Limits.NameOnWireMaxBytes), r.Attributes());
}

/// <summary>A part of a listing.</summary>
/// <param name="Entries">In cookie order.</param>
/// <param name="End">Whether nothing follows.</param>
public readonly record struct ReadDirReply(DirectoryEntry[] Entries, bool End)
    : IWireMessage<ReadDirReply>
{
    public void Write(ref WireWriter w)
    {
        w.List(Entries);
        w.Bool(End);
    }

    public static ReadDirReply Read(ref WireReader r) => new(r.List<DirectoryEntry>(24), r.Bool());
}

/// <summary>Usage of the session's volume.</summary>
public readonly record struct StatFsRequest
    : IRequest<StatFsRequest, StatFsReply>
{
    public static Opcode Opcode => Opcode.StatFs;

    public void Write(ref WireWriter w)
    {
    }

    public static StatFsRequest Read(ref WireReader r) => default;
}

/// <summary>Usage of a volume. Limits of 0 mean none.</summary>
/// <param name="LimitBytes">Quota.</param>
/// <param name="UsedBytes">Committed bytes.</param>
/// <param name="GrantedBytes">Bytes out in grants to all sessions.</param>
/// <param name="LimitInodes">Quota.</param>
/// <param name="UsedInodes">Inodes that exist.</param>
public readonly record struct StatFsReply(
    ulong LimitBytes,
    ulong UsedBytes,
    ulong GrantedBytes,
    ulong LimitInodes,
    ulong UsedInodes)
    : IWireMessage<StatFsReply>
{
    public void Write(ref WireWriter w)
    {
        w.U64(LimitBytes);
        w.U64(UsedBytes);
        w.U64(GrantedBytes);
        w.U64(LimitInodes);
        w.U64(UsedInodes);
    }

    public static StatFsReply Read(ref WireReader r) => new(r.U64(), r.U64(), r.U64(), r.U64(), r.U64());
}
