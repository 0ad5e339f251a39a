using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>A volume in memory with sessions that have grants, and short names for the operations.</summary>
internal sealed class TestVolume
{
    public const uint Id = 7;
    public const uint FileBits = FileMode.Regular | 0x1A4;
    public const uint DirectoryBits = FileMode.Directory | 0x1ED;

    private readonly Dictionary<ulong, Queue<ulong>> _numbers = [];
    private readonly OpContext _context = new();
    private ulong _handles;

    public TestVolume(ulong limitBytes = 0, ulong limitInodes = 0)
    {
        State = new VolumeState(Id, limitBytes, limitInodes, 1);
        Session = NewSession();
    }

    public VolumeState State { get; }

    public SessionState Session { get; set; }

    /// <summary>Grows with every operation, so that each has a time of its own.</summary>
    public long TimeNs { get; private set; } = 1000;

    public OpContext Last => _context;

    public static byte[] Name(string name) => Encoding.UTF8.GetBytes(name);

    public SessionState NewSession(string node = "n")
    {
        var session = SessionLife.Begin(State, node);
        _numbers.Add(session.Id, []);
        return session;
    }

    public ulong NewIno()
    {
        var numbers = _numbers[Session.Id];
        if (numbers.Count == 0)
        {
            Assert.Equal(Status.OK, AcquireGrant.Apply(State, Begin(), new AcquireGrantRequest(0, 64, 0), out var reply));
            for (var i = 0U; i < reply.Inodes; i++)
            {
                numbers.Enqueue(reply.FirstInode + i);
            }
        }

        return numbers.Dequeue();
    }

    public ulong NewBlock()
    {
        Assert.Equal(Status.OK, AcquireGrant.Apply(State, Begin(), new AcquireGrantRequest(0, 0, 1), out var reply));
        return reply.FirstBlock;
    }

    public ulong NewHandle() => ++_handles;

    public OpContext Begin() => _context.Begin(Session, ++TimeNs);

    public InodeAttributes Attributes(ulong ino)
    {
        Assert.Equal(Status.OK, GetAttr.Apply(State, Begin(), new GetAttrRequest(ino), out var reply));
        return reply.Attributes;
    }

    public Status TryLookup(ulong parent, string name, out InodeAttributes attributes)
    {
        var status = Lookup.Apply(State, Begin(), new LookupRequest(parent, Name(name)), out var reply);
        attributes = reply.Attributes;
        return status;
    }

    /// <summary>Number of the inode that has a name.</summary>
    public ulong InoOf(ulong parent, string name)
    {
        Assert.Equal(Status.OK, TryLookup(parent, name, out var attributes));
        return attributes.Ino;
    }

    public Status TryMknod(ulong parent, string name, uint mode, out InodeAttributes attributes, string target = "", uint rdev = 0)
    {
        var status = Mknod.Apply(
            State, Begin(), new MknodRequest(parent, NewIno(), Name(name), mode, 10, 20, rdev, Name(target)), out var reply);
        attributes = reply.Attributes;
        return status;
    }

    public ulong File(ulong parent, string name)
    {
        Assert.Equal(Status.OK, TryMknod(parent, name, FileBits, out var attributes));
        return attributes.Ino;
    }

    public ulong Directory(ulong parent, string name, uint mode = DirectoryBits)
    {
        Assert.Equal(Status.OK, TryMknod(parent, name, mode, out var attributes));
        return attributes.Ino;
    }

    public Status TryCreate(ulong parent, string name, OpenFlags flags, out OpenReply reply, ulong handle = 0)
    {
        var status = Create.Apply(
            State,
            Begin(),
            new CreateRequest(parent, NewIno(), Name(name), FileBits, 10, 20, handle == 0 ? NewHandle() : handle, flags),
            out var created);
        reply = created.File;
        return status;
    }

    public ulong OpenFile(ulong ino, OpenFlags flags, out DataMode mode)
    {
        var handle = NewHandle();
        Assert.Equal(Status.OK, Open.Apply(State, Begin(), new OpenRequest(ino, handle, flags), out var reply));
        mode = reply.Mode;
        return handle;
    }

    public void CloseFile(ulong ino, ulong handle) => Assert.Equal(Status.OK, Close.Apply(State, Begin(), new CloseRequest(handle), out _));

    public Status TryUnlink(ulong parent, string name) => Unlink.Apply(State, Begin(), new UnlinkRequest(parent, Name(name)), out _);

    public Status TryRmdir(ulong parent, string name) => Rmdir.Apply(State, Begin(), new RmdirRequest(parent, Name(name)), out _);

    public Status TryLink(ulong ino, ulong parent, string name) => Link.Apply(State, Begin(), new LinkRequest(ino, parent, Name(name)), out _);

    public Status TryRename(ulong parent, string name, ulong newParent, string newName, uint flags = 0) =>
        Rename.Apply(State, Begin(), new RenameRequest(parent, Name(name), newParent, Name(newName), flags), out _);

    public Status TryResize(ulong ino, ulong size) =>
        SetAttr.Apply(State, Begin(), new SetAttrRequest(ino, SetAttrFields.Size, 0, 0, 0, size, 0, 0), out _);

    public Status TryCommit(ulong ino, CommitFlags flags, ulong size, Extent[] extents, byte[]? inline, out CommitReply reply) =>
        TryCommit(ino, flags, size, extents, inline, State.Inodes.Find(ino)?.Attributes.DataVersion ?? 0, out reply);

    public Status TryCommit(ulong ino, CommitFlags flags, ulong size, Extent[] extents, byte[]? inline, ulong baseVersion, out CommitReply reply) =>
        Commit.Apply(State, Begin(), new CommitRequest(ino, flags, size, extents, inline, baseVersion), out reply);

    /// <summary>Writes one new block at an offset.</summary>
    public ulong Write(ulong ino, ulong offset, ulong length, uint server = 1)
    {
        var block = NewBlock();
        Assert.Equal(
            Status.OK, TryCommit(ino, CommitFlags.None, offset + length, [new Extent(offset, length, block, 0, server)], null, out _));
        return block;
    }

    public void WriteInline(ulong ino, byte[] bytes) =>
        Assert.Equal(Status.OK, TryCommit(ino, CommitFlags.HasInline, (ulong)bytes.Length, [], bytes, out _));

    public LayoutReply Layout(ulong ino)
    {
        Assert.Equal(Status.OK, GetLayout.Apply(State, Begin(), new GetLayoutRequest(ino, 0, ulong.MaxValue), out var reply));
        return reply;
    }

    public Status TryFallocate(ulong ino, uint mode, ulong offset, ulong length) =>
        Fallocate.Apply(State, Begin(), new FallocateRequest(ino, mode, offset, length, false), out _);

    public Status TryClone(ulong source, ulong sourceOffset, ulong target, ulong targetOffset, ulong length, out CloneReply reply) =>
        Clone.Apply(State, Begin(), new CloneRequest(source, sourceOffset, target, targetOffset, length), out reply);

    public Status TrySeek(ulong ino, ulong offset, uint whence, out ulong found)
    {
        var status = Seek.Apply(State, Begin(), new SeekRequest(ino, offset, whence), out var reply);
        found = reply.Offset;
        return status;
    }

    public string[] List(ulong ino) => [.. ListAll(State, _context.Begin(Session, ++TimeNs), ino, 400).Select(e => Encoding.UTF8.GetString(e.Name.Span))];

    /// <summary>Lists a whole directory in several answers.</summary>
    public static List<DirectoryEntry> ListAll(VolumeState state, OpContext context, ulong ino, uint maxBytes)
    {
        List<DirectoryEntry> all = [];
        for (var cookie = 0UL; ;)
        {
            Assert.Equal(Status.OK, ReadDir.Apply(state, context, new ReadDirRequest(ino, cookie, maxBytes, true), out var reply));
            all.AddRange(reply.Entries.Select(e => e with { Name = e.Name.ToArray() }));
            if (reply.End)
            {
                return all;
            }

            Assert.NotEmpty(reply.Entries);
            cookie = reply.Entries[^1].Cookie;
        }
    }

    /// <summary>The invariants hold.</summary>
    public void Check() => Invariants.Check(State);
}
