using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Ops;
using EphemeralFs.Tests.Model.Running;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>
/// A tree of everything that archives and copies meet, the same from the same seed: files of all sizes from none to megabytes, a sparse one,
/// symbolic and hard links, empty directories, a fifo, a device, names of any bytes, modes, owners, times to the nanosecond, xattrs.
/// </summary>
public sealed class GeneratedTree
{
    private const int FilesPerDirectory = 25;

    private static readonly string[] OddNames =
    [
        "-leading dash", " leading space", "trailing space ", "new\nline", "tab\tand\rreturn", "*?[x]{a,b}$HOME`'\"\\", "\u00ff\u00fe not UTF-8",
        ByteText.FromText("Füße 目录 🗂"), new('x', 255), "...", "a.tar.gz", "con", ".hidden", "~", "#", ";rm -rf x",
    ];

    private readonly Calls calls = Calls.Linux;
    private readonly SeededRandom random;
    private readonly string root;
    private readonly List<string> directories = [];
    private readonly List<string> files = [];

    private GeneratedTree(string root, ulong seed)
    {
        random = new SeededRandom(seed);
        this.root = ByteText.FromText(root);
    }

    /// <summary>Makes the tree in a new directory; ordinary text.</summary>
    /// <param name="fileCount">Number of regular files, hard links not counted.</param>
    public static void Create(string root, int fileCount, ulong seed)
    {
        Directory.CreateDirectory(root);
        new GeneratedTree(root, seed).Make(fileCount);
    }

    private void Make(int fileCount)
    {
        directories.Add(root);
        while (files.Count < fileCount)
        {
            string directory = $"{random.Pick<string>([.. directories])}/d{directories.Count:d4}";
            Check(calls.MakeDirectory(AT_FDCWD, directory, 0x1ED), directory);
            directories.Add(directory);
            for (int i = 0; i < FilesPerDirectory && files.Count < fileCount; i++)
            {
                MakeFile($"{directory}/f{files.Count:d5}{random.Pick(".txt", ".c", ".o", ".jpg", "")}", Size());
            }
        }
        string odd = $"{root}/odd names";
        Check(calls.MakeDirectory(AT_FDCWD, odd, 0x1ED), odd);
        directories.Add(odd);
        foreach (string name in OddNames)
        {
            MakeFile($"{odd}/{name}", 10);
            Check(calls.MakeDirectory(AT_FDCWD, $"{root}/{name}", 0x1ED), name);
            directories.Add($"{root}/{name}");
        }
        MakeSparse($"{root}/sparse");
        MakeLinks(fileCount / 40);
        Check(calls.MakeNode($"{root}/fifo", S_IFIFO | 0x1A4, 0), "fifo");
        if (Calls.IsRoot)
        {
            // 1:3 is the null device; 259:70000 needs the large form of device numbers.
            Check(calls.MakeNode($"{root}/null", S_IFCHR | 0x1B6, 0x103), "null");
            Check(calls.MakeNode($"{root}/disk", S_IFBLK | 0x1B0, (259UL << 8) | (70000 & 0xff) | ((70000UL & ~0xffUL) << 12)), "disk");
        }
        SetAttributes();
    }

    private int Size() => random.Below(1000) switch
    {
        < 50 => 0,
        < 940 => random.Below(3000),
        < 995 => random.Below(60_000),
        < 999 => random.Below(400_000),
        _ => 1_000_000 + random.Below(4_000_000),
    };

    private void MakeFile(string path, int size)
    {
        int fd = calls.Open(path, O_CREAT | O_EXCL | O_WRONLY, 0x1A4);
        Check(fd, path);
        Check((int)calls.Write(fd, Pattern.Bytes(files.Count + 1, size)) - size, path);
        calls.Close(fd);
        files.Add(path);
    }

    private void MakeSparse(string path)
    {
        int fd = calls.Open(path, O_CREAT | O_EXCL | O_WRONLY, 0x1A4);
        Check(fd, path);
        foreach (long offset in new[] { 0L, 1 << 20, 9 << 20 })
        {
            calls.WriteAt(fd, Pattern.Bytes(3, 5000), offset);
        }
        Check(calls.Truncate(fd, 12 << 20), path);
        calls.Close(fd);
        files.Add(path);
    }

    private void MakeLinks(int count)
    {
        for (int i = 0; i < count; i++)
        {
            string directory = random.Pick<string>([.. directories]), file = random.Pick<string>([.. files]);
            string target = random.Below(4) switch
            {
                0 => "nowhere/at all",
                1 => file[(root.Length + 1)..],
                2 => new string('t', 1 + random.Below(4000)),
                _ => "../" + file[(file.LastIndexOf('/') + 1)..],
            };
            Check(calls.Symlink(target, $"{directory}/symlink{i}"), target);
            Check(calls.Link(file, $"{directory}/hardlink{i}", 0), file);
        }
    }

    private void SetAttributes()
    {
        foreach (string file in files)
        {
            if (random.Percent(5))
            {
                Check(calls.SetXattr(file, $"user.note{random.Below(3)}", Pattern.Bytes(files.Count, random.Below(300)), 0), file);
            }
            if (Calls.IsRoot && random.Percent(5))
            {
                Check(calls.ChangeOwner(file, (uint)random.Below(70_000), (uint)random.Below(70_000), AT_SYMLINK_NOFOLLOW), file);
            }
            Check(calls.ChangeMode(file, random.Pick(0x1A4u, 0x1A4u, 0x1EDu, 0x124u, 0x180u, 0xDEDu, 0x1FFu)), file);
            Check(calls.SetTimes(file, SomeTime(), SomeTime(), 0), file);
        }
        foreach (string directory in Enumerable.Reverse(directories))
        {
            if (random.Percent(10))
            {
                Check(calls.SetXattr(directory, "user.directory", Pattern.Bytes(5, 20), 0), directory);
            }
            Check(calls.ChangeMode(directory, random.Pick(0x1EDu, 0x1EDu, 0x3FFu, 0x5EDu, 0x1C0u)), directory);
            Check(calls.SetTimes(directory, SomeTime(), SomeTime(), 0), directory);
        }
    }

    private Time SomeTime() => new(random.Below(1_700_000_000), random.Below(1_000_000_000));

    private static void Check(int result, string what)
    {
        if (result < 0)
        {
            throw new IOException($"{ByteText.Show(what)}: {Errors.Name(-result)}");
        }
    }
}
