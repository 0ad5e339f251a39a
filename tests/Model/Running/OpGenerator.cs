using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Ops;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>What sequences may contain.</summary>
public sealed record GeneratorOptions
{
    /// <summary>Number of nodes that act by turns.</summary>
    public int Nodes { get; init; } = 1;

    /// <summary>Whether other users than root act too; needs root, and a mount that others may use.</summary>
    public bool Users { get; init; } = Calls.IsRoot;

    public bool Remounts { get; init; }

    /// <summary>Trusted and security attributes, which need root.</summary>
    public bool PrivilegedXattrs { get; init; } = Calls.IsRoot;
}

/// <summary>
/// Random operations from a seed, without looking at any tree: the names are few, so that they meet. The same seed and options give
/// the same sequence for ever after.
/// </summary>
public sealed class OpGenerator
{
    private const uint NoId = uint.MaxValue;

    private static readonly string LongestName = new('n', 255);
    private static readonly string TooLongName = new('m', 256);

    private readonly SeededRandom random;
    private readonly GeneratorOptions options;
    private readonly (int Weight, Func<Op> Make)[] rules;
    private readonly int totalWeight;
    private int node;

    public OpGenerator(ulong seed, GeneratorOptions options)
    {
        random = new SeededRandom(seed);
        this.options = options;
        rules =
        [
            (200, Open), (20, () => new Close(Slot())), (10, () => new OpenTemporary(Slot(), Directory(), random.Percent(20), Mode())),
            (70, () => new Write(Slot(), Length(), Seed())), (60, () => new WriteAt(Slot(), Offset(), Length(), Seed())),
            (25, () => new Read(Slot(), Length())), (40, () => new ReadAt(Slot(), Offset(), Length())),
            (20, () => new MapWrite(Slot(), random.Percent(50) ? 0 : Offset(), Math.Max(1, Length()), Seed(), random.Percent(30))),
            (15, () => new MapRead(Slot(), random.Percent(50) ? 0 : Offset(), Math.Max(1, Length()))),
            (15, () => new Seek(Slot(), random.Percent(10) ? -1 - Offset() : Offset(), random.Pick(SEEK_SET, SEEK_CUR, SEEK_END))),
            (15, () => new Truncate(Any(), SizeToSet())), (20, () => new TruncateHandle(Slot(), SizeToSet())), (15, Allocate),
            (25, () => new CopyRange(Slot(), Slot(), random.Percent(60) ? 0 : Offset(), random.Percent(40) ? 0 : Offset(), Math.Max(1, Length()))), (10, () => new HolesCheck(Slot())),
            (12, () => new Sync(Slot(), random.Pick(SyncKind.All, SyncKind.All, SyncKind.Data, SyncKind.FileSystem))),
            (8, () => new DropCache(Slot())), (8, () => new Ops.Lock(Slot(), random.Pick(LOCK_SH, LOCK_EX, LOCK_UN))),
            (60, () => new MakeDirectory(Directory(), DirectoryMode())), (8, MakeNode), (15, () => new MakeSymlink(Target(), SymlinkPath())),
            (30, () => new MakeLink(random.Percent(80) ? FilePath() : Any(), random.Percent(70) ? Parents() + random.Pick("h0", "h1", "h2", "h3") : Any(), random.Percent(40))), (20, () => new LinkHandle(Slot(), random.Percent(70) ? Parents() + random.Pick("h0", "h1", "h2", "h3") : FilePath())),
            (45, Rename), (25, () => new Unlink(Any())), (20, () => new RemoveDirectory(random.Percent(40) ? Parents() + random.Pick("e0", "e1") : random.Percent(85) ? Directory() : Any())),
            (10, () => new MakeMany(Directory(), 1 + random.Below(80))), (5, () => new RemoveTree(Directory(), random.Pick(320, 1024, 32768))), (20, InDirectoryHandle),
            (40, () => new StatPath(Any(), random.Percent(50))), (20, () => new StatHandle(Slot())),
            (10, () => new CheckAccess(Any(), random.Below(8))), (8, () => new ReadLink(random.Percent(80) ? SymlinkPath() : Any())),
            (25, () => new ChangeMode(Any(), Mode())), (10, () => new ChangeModeHandle(Slot(), Mode())),
            (20, () => new ChangeOwner(Any(), Id(), Id(), random.Percent(50))), (8, () => new ChangeOwnerHandle(Slot(), Id(), Id())),
            (20, () => new SetTimes(Any(), SomeTime(), SomeTime(), random.Percent(60))),
            (8, () => new SetTimesHandle(Slot(), SomeTime(), SomeTime())),
            (20, () => new SetXattr(XattrPath(), XattrName(), XattrLength(), Seed(), random.Pick(0, 0, XATTR_CREATE, XATTR_REPLACE))),
            (20, () => new GetXattr(XattrPath(), XattrName(), random.Pick(0, 1, 16, 1024, 65536, 65536))), (8, () => new ListXattrs(XattrPath())),
            (15, () => new RemoveXattr(XattrPath(), XattrName())),
            (20, () => new XattrHandle(Slot(), random.Pick(XattrKind.Set, XattrKind.Get, XattrKind.Remove), XattrName(), XattrLength(), Seed())),
            (20, () => new ListDirectory(random.Percent(40) ? "" : Directory(), random.Pick(320, 1024, 32768))),
            (8, () => new ListFromCookie(random.Percent(40) ? "" : Directory(), random.Below(12))), (2, () => new FileSystemCheck()),
            (options.Remounts ? 2 : 0, () => new Remount()),
        ];
        totalWeight = rules.Sum(rule => rule.Weight);
    }

    public List<Op> Sequence(int count)
    {
        // Some names to begin with, so that short sequences get somewhere.
        var ops = new List<Op>(count)
        {
            new MakeDirectory("d0", 0x1FF), new MakeDirectory("d1", 0x1ED), new MakeDirectory("d0/d0", 0x1ED), new MakeDirectory("d0/d1", 0x1ED),
            new Open(0, "f0", O_RDWR | O_CREAT, 0x1B6), new Open(1, "d0/f0", O_RDWR | O_CREAT, 0x1A4), new MakeSymlink("d0", "s0"),
        };
        while (ops.Count < count)
        {
            ops.Add(Next());
        }
        return ops;
    }

    private Op Next()
    {
        // Turns of some length: a node must get somewhere before the other looks.
        if (options.Nodes > 1 && random.Percent(15))
        {
            node = random.Below(options.Nodes);
        }
        uint user = options.Users && random.Percent(15) ? random.Pick(1001u, 1002u) : 0;
        int at = random.Below(totalWeight);
        foreach (var (weight, make) in rules)
        {
            if ((at -= weight) < 0)
            {
                var op = make();
                return op with { Node = node, As = IsChownOfNothing(op) ? 0 : user };
            }
        }
        throw new InvalidOperationException("weights do not add up");
    }

    private Open Open()
    {
        int flags = random.Pick(O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR, O_RDWR);
        if (random.Percent(10))
        {
            return new Open(DirectorySlot(), Directory(), O_RDONLY | (random.Percent(50) ? O_DIRECTORY : 0), 0);
        }
        flags |= random.Percent(80) ? O_CREAT : 0;
        flags |= (flags & O_CREAT) != 0 && random.Percent(10) ? O_EXCL : 0;
        flags |= random.Percent(15) ? O_TRUNC : 0;
        flags |= random.Percent(25) ? O_APPEND : 0;
        flags |= random.Percent(5) ? O_NOFOLLOW : 0;
        // O_EXCL without O_CREAT is undefined, O_CREAT with O_DIRECTORY an error of newer kernels.
        flags |= (flags & O_CREAT) == 0 && random.Percent(3) ? O_DIRECTORY : 0;
        return new Open(random.Percent(90) ? random.Below(Tree.SlotCount - 2) : Slot(), random.Percent(90) ? FilePath() : Any(), flags, Mode());
    }

    private Allocate Allocate()
    {
        int mode = random.Pick(0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
            FALLOC_FL_PUNCH_HOLE);
        return new Allocate(Slot(), mode, Offset(), random.Percent(95) ? Math.Max(1, Length()) : 0);
    }

    private MakeNode MakeNode()
    {
        string path = random.Percent(70) ? FilePath() : Any();
        uint type = random.Pick(S_IFREG, S_IFIFO, S_IFSOCK);
        // The two ends of a fifo meet in one kernel: on two nodes they are two fifos.
        return new MakeNode(path, (type == S_IFIFO && options.Nodes > 1 ? S_IFSOCK : type) | (Mode() & 0x1FF));
    }

    private Rename Rename()
    {
        uint flags = random.Pick(0u, 0u, 0u, RENAME_NOREPLACE, RENAME_EXCHANGE);
        if (random.Percent(5))
        {
            // A directory into itself, and an ancestor onto its descendant's name.
            string directory = Directory();
            return random.Percent(50) ? new Rename(directory, $"{directory}/d0", flags) : new Rename($"{directory}/d0", directory, flags);
        }
        return random.Below(3) switch
        {
            0 => new Rename(FilePath(), FilePath(), flags),
            1 => new Rename(Directory(), Directory(), flags),
            _ => new Rename(Any(), Any(), flags),
        };
    }

    private InDirectoryHandle InDirectoryHandle() => new InDirectoryHandle(DirectorySlot(), random.Pick("f0", "f1", "d0", "d1", "..", "."),
        random.Pick(AtKind.Create, AtKind.MakeDirectory, AtKind.Unlink, AtKind.RemoveDirectory, AtKind.Stat));

    private int Slot() => random.Below(Tree.SlotCount);

    private int DirectorySlot() => random.Percent(85) ? Tree.SlotCount - 1 - random.Below(2) : Slot();

    private int Seed() => 1 + random.Below(1_000_000);

    /// <summary>Lengths around the sizes at which something happens: pages, small-file limits, requests.</summary>
    private int Length() => random.Below(10) switch
    {
        0 => random.Below(3),
        1 => 4096 * (1 + random.Below(4)) + random.Below(3) - 1,
        2 => (128 << 10) + random.Below(5) - 2,
        3 => random.Percent(20) ? (1 << 20) + random.Below(5) - 2 : 65536,
        _ => random.Below(3000),
    };

    private long Offset() => random.Below(12) switch
    {
        0 => 4096L * (1 + random.Below(64)) + random.Below(3) - 1,
        1 => (128L << 10) * (1 + random.Below(3)) - random.Below(3),
        2 => random.Percent(40) ? (1L << 20) * (1 + random.Below(6)) + random.Below(5) - 2 : 0,
        3 => 0,
        _ => random.Below(9000),
    };

    private long SizeToSet() => random.Percent(30) ? 0 : random.Percent(3) ? -1 : Offset();

    // No set-group-id without group execute: whether a write by another user clears it depends on groups that FUSE does not tell
    // (FUSE_HANDLE_KILLPRIV_V2 in linux/fuse.h).
    private uint Mode() => random.Pick(0x1A4u, 0x1A4u, 0x1FFu, 0x1B6u, 0x180u, 0x100u, 0u, 0x9EDu, 0x5EDu, 0x5ECu, 0x3FFu);

    private uint DirectoryMode() => random.Pick(0x1EDu, 0x1EDu, 0x1FFu, 0x3FFu, 0x5FDu, 0x1C0u, 0x16Du);

    /// <summary>By others than the owner it is refused elsewhere and cannot be told from a write here (S28).</summary>
    private static bool IsChownOfNothing(Op op) => op is ChangeOwner { Uid: NoId, Gid: NoId } or ChangeOwnerHandle { Uid: NoId, Gid: NoId };

    private uint Id() => random.Pick(0u, 1001u, 1001u, 1002u, NoId);

    private Time SomeTime() => random.Below(8) switch
    {
        0 => new Time(0, UTIME_NOW),
        1 => new Time(0, UTIME_OMIT),
        2 => new Time(0, 0),
        3 => new Time(4_500_000_000, 999_999_999),
        4 => new Time(5, 1_000_000_000),
        _ => new Time(random.Below(900_000_000), random.Below(1_000_000_000)),
    };

    private string XattrName() => random.Below(options.PrivilegedXattrs ? 14 : 11) switch
    {
        < 7 => random.Pick("user.a", "user.a", "user.b"),
        7 => "user." + LongestName[..250],
        8 => "user." + LongestName,
        9 => "user.",
        10 => "nonsense.a",
        11 or 12 => "trusted.a",
        _ => "security.a",
    };

    private int XattrLength() => random.Percent(3) ? 65537 : random.Percent(10) ? 0 : random.Percent(10) ? 1000 : random.Below(40);

    private string Target() => random.Below(8) switch
    {
        0 => "nowhere",
        1 => ".",
        2 => "s0",
        3 => "../" + random.Pick("d0", "f0", "d1/f1"),
        4 => "d0/d1",
        5 => LongestName + "/" + LongestName,
        _ => random.Pick("f0", "f1", "d0", "d1", "d0/f0"),
    };

    private string Parents()
    {
        int depth = random.Below(20) switch { < 11 => 0, < 17 => 1, _ => 2 };
        string path = "";
        for (int i = 0; i < depth; i++)
        {
            // Now and then the way leads through a symbolic link, a file, or back up; never above the directory of the run.
            bool below = path.StartsWith('d');
            path += random.Below(25) switch
            {
                0 => "s0/",
                1 => "f0/",
                2 => below ? "../" : "./",
                _ => random.Pick("d0/", "d0/", "d1/", "d2/"),
            };
        }
        return path;
    }

    private string FilePath() => Parents() + (random.Percent(95) ? random.Pick("f0", "f1", "f2", "f3") : random.Pick(LongestName, "odd \n\u00ff\u0001*?", "-rf"));

    private string Directory() => Parents() + random.Pick("d0", "d0", "d1", "d2", "e0", "e1");

    /// <summary>Few files, so that an attribute that was set is asked for again.</summary>
    private string XattrPath() => random.Percent(70) ? random.Pick("f0", "f0", "d0") : Any();

    private string SymlinkPath() => Parents() + random.Pick("s0", "s1");

    private string Any() => random.Below(24) switch
    {
        < 9 => FilePath(),
        < 11 => Parents() + random.Pick("h0", "h1", "h2", "h3"),
        < 18 => Directory(),
        < 21 => SymlinkPath(),
        21 => Parents() + random.Pick("d0/", "f0/", "s0/"),
        22 => Parents() + random.Pick(TooLongName, LongestName, "."),
        _ => Directory() + "/..",
    };
}
