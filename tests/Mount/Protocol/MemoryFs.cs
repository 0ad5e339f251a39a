using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Mount.Protocol;

/// <summary>A node of <see cref="MemoryFs"/>.</summary>
internal sealed class MemoryNode(ulong id, uint mode)
{
    public ulong Id { get; } = id;

    public uint Mode { get; set; } = mode;

    public uint Uid { get; set; }

    public uint Gid { get; set; }

    public byte[] Data { get; set; } = [];

    /// <summary>Directory entries by name, with stable cookies.</summary>
    public SortedDictionary<ulong, (string Name, MemoryNode Node)> Entries { get; } = [];

    public ulong NextCookie { get; set; } = 1;

    public uint Links { get; set; } = 1;

    public bool IsDirectory => (Mode & 0xf000) == 0x4000;

    public MemoryNode? Child(string name) => Entries.Values.FirstOrDefault(e => e.Name == name).Node;

    public void Add(string name, MemoryNode node) => Entries[NextCookie++] = (name, node);

    public bool Remove(string name)
    {
        ulong cookie = Entries.FirstOrDefault(e => e.Value.Name == name).Key;
        return cookie != 0 && Entries.Remove(cookie);
    }
}

/// <summary>A small file system in memory, to try the protocol with; its state outlives a handler, as a real one's does.</summary>
internal sealed class MemoryFs
{
    public const uint Directory = 0x4000;
    public const uint Regular = 0x8000;
    public const uint Symlink = 0xa000;

    private ulong _lastId = 1;

    public MemoryFs()
    {
        Root = new MemoryNode(1, Directory | 0x1ff) { Links = 2 };
        Nodes[1] = Root;
    }

    /// <summary>Guards everything in here.</summary>
    public Lock Gate { get; } = new();

    public MemoryNode Root { get; }

    public Dictionary<ulong, MemoryNode> Nodes { get; } = [];

    /// <summary>How long the kernel may keep names and attributes, seconds.</summary>
    public ulong ValidSeconds { get; set; }

    public MemoryNode Make(MemoryNode parent, string name, uint mode, uint uid = 0, uint gid = 0)
    {
        var node = new MemoryNode(++_lastId, mode) { Uid = uid, Gid = gid };
        Nodes[node.Id] = node;
        if (name.Length > 0)
        {
            parent.Add(name, node);
        }
        return node;
    }

    public MemoryNode File(string name, string content)
    {
        lock (Gate)
        {
            MemoryNode node = Make(Root, name, Regular | 0x1b6);
            node.Data = Encoding.UTF8.GetBytes(content);
            return node;
        }
    }

    public FuseAttr Attr(MemoryNode node) => new()
    {
        Ino = node.Id, Mode = node.Mode, Nlink = node.Links, Uid = node.Uid, Gid = node.Gid,
        Size = (ulong)node.Data.Length, Blocks = (ulong)(node.Data.Length + 511) / 512, BlockSize = 4096, Mtime = 1_700_000_000,
    };

    public FuseEntryOut Entry(MemoryNode node) =>
        new() { NodeId = node.Id, Generation = 1, EntryValid = ValidSeconds, AttrValid = ValidSeconds, Attr = Attr(node) };

    public FuseAttrOut AttrOut(MemoryNode node) => new() { AttrValid = ValidSeconds, Attr = Attr(node) };
}

/// <summary>The handler on top of it.</summary>
internal class MemoryFsHandler(MemoryFs fs) : FuseHandler
{
    public MemoryFs Fs { get; } = fs;

    /// <summary>Requests per operation that reached the handler.</summary>
    public Dictionary<FuseOpcode, int> Seen { get; } = [];

    public bool SawResent { get; private set; }

    protected MemoryNode Enter(FuseRequest request)
    {
        Seen[request.Opcode] = Seen.GetValueOrDefault(request.Opcode) + 1;
        SawResent |= request.IsResent;
        return Fs.Nodes[request.NodeId];
    }

    public int Count(FuseOpcode opcode)
    {
        lock (Fs.Gate)
        {
            return Seen.GetValueOrDefault(opcode);
        }
    }

    public override void Lookup(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode? node = Enter(request).Child(Encoding.UTF8.GetString(request.Name));
            if (node is null)
            {
                request.ReplyError(Errno.ENOENT);
            }
            else
            {
                request.ReplyEntry(Fs.Entry(node));
            }
        }
    }

    public override void GetAttr(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            request.ReplyAttr(Fs.AttrOut(Enter(request)));
        }
    }

    public override void SetAttr(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Enter(request);
            FuseSetattrIn input = request.In<FuseSetattrIn>();
            if ((input.Valid & FuseSetattrValid.SIZE) != 0)
            {
                byte[] data = node.Data;
                Array.Resize(ref data, (int)input.Size);
                node.Data = data;
            }
            if ((input.Valid & FuseSetattrValid.MODE) != 0)
            {
                node.Mode = input.Mode;
            }
            request.ReplyAttr(Fs.AttrOut(node));
        }
    }

    public override void MkDir(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Fs.Make(
                Enter(request), Encoding.UTF8.GetString(request.Name), MemoryFs.Directory | request.In<FuseMkdirIn>().Mode, request.Uid, request.Gid);
            request.ReplyEntry(Fs.Entry(node));
        }
    }

    public override void SymLink(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Fs.Make(Enter(request), Encoding.UTF8.GetString(request.Name), MemoryFs.Symlink | 0x1ff);
            node.Data = request.Name2.ToArray();
            request.ReplyEntry(Fs.Entry(node));
        }
    }

    public override void ReadLink(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            request.ReplyData(Enter(request).Data);
        }
    }

    public override void Create(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Fs.Make(
                Enter(request), Encoding.UTF8.GetString(request.Name), request.In<FuseCreateIn>().Mode, request.Uid, request.Gid);
            request.ReplyCreate(Fs.Entry(node), new FuseOpenOut { Fh = node.Id });
        }
    }

    public override void TmpFile(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode parent = Enter(request);
            MemoryNode node = Fs.Make(parent, "", request.In<FuseCreateIn>().Mode);
            node.Links = 0;
            request.ReplyCreate(Fs.Entry(node), new FuseOpenOut { Fh = node.Id });
        }
    }

    public override void Unlink(FuseRequest request) => Remove(request);

    public override void RmDir(FuseRequest request) => Remove(request);

    private void Remove(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            bool removed = Enter(request).Remove(Encoding.UTF8.GetString(request.Name));
            request.ReplyError(removed ? Errno.OK : Errno.ENOENT);
        }
    }

    public override void Rename(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode from = Enter(request);
            MemoryNode to = Fs.Nodes[request.In<FuseRename2In>().NewDir];
            string name = Encoding.UTF8.GetString(request.Name);
            string newName = Encoding.UTF8.GetString(request.Name2);
            MemoryNode? node = from.Child(name);
            if (node is null)
            {
                request.ReplyError(Errno.ENOENT);
            }
            else if (request.In<FuseRename2In>().Flags == FuseRenameFlags.NOREPLACE && to.Child(newName) is not null)
            {
                request.ReplyError(Errno.EEXIST);
            }
            else
            {
                from.Remove(name);
                to.Remove(newName);
                to.Add(newName, node);
                request.ReplyOk();
            }
        }
    }

    public override void Open(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Enter(request);
            if ((request.In<FuseOpenIn>().Flags & 0x200) != 0)
            {
                node.Data = [];
            }
            request.ReplyOpen(node.Id, FuseOpenFlags.None);
        }
    }

    public override void OpenDir(FuseRequest request) => request.ReplyOpen(request.NodeId, FuseOpenFlags.None);

    public override void Read(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Enter(request);
            FuseReadIn input = request.In<FuseReadIn>();
            int from = (int)Math.Min(input.Offset, (ulong)node.Data.Length);
            int length = (int)Math.Min(input.Size, node.Data.Length - from);
            request.ReplyData(node.Data.AsSpan(from, length));
        }
    }

    public override void Write(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Enter(request);
            FuseWriteIn input = request.In<FuseWriteIn>();
            int end = (int)input.Offset + request.Payload.Length;
            if (end > node.Data.Length)
            {
                byte[] data = node.Data;
                Array.Resize(ref data, end);
                node.Data = data;
            }
            request.Payload.CopyTo(node.Data.AsSpan((int)input.Offset));
            request.ReplyWrite((uint)request.Payload.Length);
        }
    }

    public override void ReadDir(FuseRequest request) => List(request, plus: false);

    public override void ReadDirPlus(FuseRequest request) => List(request, plus: true);

    private void List(FuseRequest request, bool plus)
    {
        lock (Fs.Gate)
        {
            MemoryNode directory = Enter(request);
            FuseReadIn input = request.In<FuseReadIn>();
            Memory<byte> buffer = request.RentReply((int)input.Size);
            var writer = new DirentWriter(buffer.Span);
            foreach ((ulong cookie, (string name, MemoryNode node)) in directory.Entries)
            {
                if (cookie <= input.Offset)
                {
                    continue;
                }
                byte[] bytes = Encoding.UTF8.GetBytes(name);
                bool added = plus
                    ? writer.TryAddPlus(Fs.Entry(node), node.Id, cookie, node.Mode >> 12, bytes)
                    : writer.TryAdd(node.Id, cookie, node.Mode >> 12, bytes);
                if (!added)
                {
                    break;
                }
            }
            request.ReplyData(writer.Written);
        }
    }

    public override void StatFs(FuseRequest request) =>
        request.ReplyStatFs(new FuseKstatfs { Blocks = 1000, BlocksFree = 900, BlocksAvailable = 800, BlockSize = 4096, FragmentSize = 4096, NameLength = 255 });

    public override void Statx(FuseRequest request)
    {
        lock (Fs.Gate)
        {
            MemoryNode node = Enter(request);
            request.ReplyStatx(new FuseStatxOut
            {
                Stat = new FuseStatx
                {
                    Mask = 0xfff, Mode = (ushort)node.Mode, Nlink = node.Links, Ino = node.Id, Size = (ulong)node.Data.Length, BlockSize = 4096,
                    Btime = new FuseSxTime { Seconds = 1_600_000_000, Nanoseconds = 123456789 },
                },
            });
        }
    }

    public override void Release(FuseRequest request) => request.ReplyOk();

    public override void ReleaseDir(FuseRequest request) => request.ReplyOk();

    public override void Flush(FuseRequest request) => request.ReplyOk();

    public override void FSync(FuseRequest request) => request.ReplyOk();

    public override void Forget(FuseRequest request) { }
}
