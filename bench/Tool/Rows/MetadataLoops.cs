using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>The metadata operations over one directory, as tight loops; each returns how many operations it did and checks that they took effect.</summary>
internal sealed unsafe class MetadataLoops : IDisposable
{
    /// <summary>A loop over cached answers is repeated until it has run this long, or its time is noise.</summary>
    private const long CachedLoopNanoseconds = 200_000_000;

    private readonly int _directory;
    private readonly int _count;
    private readonly int _directoryCount;
    private readonly NameTable _old;
    private readonly NameTable _new;
    private readonly NameTable _directories;
    private readonly DirectoryListing _listing;
    private int _created;
    private int _renamed;
    private int _directoriesMade;

    public MetadataLoops(string directory, int count, int directoryCount)
    {
        _directory = Sys.OpenDirectory(directory);
        _count = count;
        _directoryCount = directoryCount;
        _old = new NameTable("f", count);
        _new = new NameTable("g", count);
        _directories = new NameTable("d", directoryCount);
        _listing = new DirectoryListing(count + directoryCount);
    }

    /// <summary>In the order in which they depend on each other.</summary>
    public static readonly string[] Steps =
        ["create", "stat", "stat-cold", "open", "list", "list-stat", "list-stat-cold", "rename", "unlink", "mkdir", "rmdir"];

    /// <summary>What belongs before the clock: warming what the row calls cached.</summary>
    public void Prepare(string step)
    {
        switch (step)
        {
            case "stat": Stat(); break;
            case "open": Open(); break;
            case "list": List(stat: false); break;
            case "list-stat": List(stat: true); break;
        }
    }

    public long Run(string step) => step switch
    {
        "create" => Create(),
        "stat" => Repeated(Stat),
        "stat-cold" => Stat(),
        "open" => Repeated(Open),
        "list" => Repeated(() => List(stat: false)),
        "list-stat" => Repeated(() => List(stat: true)),
        "list-stat-cold" => List(stat: true),
        "rename" => Rename(),
        "unlink" => Unlink(),
        "mkdir" => MakeDirectories(),
        "rmdir" => RemoveDirectories(),
        _ => throw new BenchException($"no step {step}"),
    };

    public void Dispose()
    {
        _ = Libc.Close(_directory);
        _old.Dispose();
        _new.Dispose();
        _directories.Dispose();
        _listing.Dispose();
    }

    private static long Repeated(Func<long> pass)
    {
        long start = Sys.Now();
        long done = 0;
        do
        {
            done += pass();
        }
        while (Sys.Now() - start < CachedLoopNanoseconds);

        return done;
    }

    private long Create()
    {
        var limit = new TimeLimit();
        for (_created = 0; _created < _count && !limit.Reached(_created); _created++)
        {
            int fd = Libc.OpenAt(_directory, _old[_created], Libc.O_CREAT | Libc.O_EXCL | Libc.O_WRONLY | Libc.O_CLOEXEC, 0x1b4);
            Sys.Check(fd, "create");
            Sys.Check(Libc.Close(fd), "close");
        }

        return _created;
    }

    private long Stat()
    {
        var limit = new TimeLimit();
        Libc.StatXBuffer attributes;
        int done = 0;
        for (; done < _created && !limit.Reached(done); done++)
        {
            Sys.Check(Libc.StatX(_directory, _old[done], 0, Libc.STATX_BASIC_STATS, &attributes), "stat");
            if ((attributes.Mode & 0xF000) != 0x8000 || attributes.Size != 0)
            {
                throw new BenchException("stat does not show an empty regular file");
            }
        }

        return Did(done);
    }

    private long Open()
    {
        var limit = new TimeLimit();
        int done = 0;
        for (; done < _created && !limit.Reached(done); done++)
        {
            int fd = Sys.Check(Libc.OpenAt(_directory, _old[done], Libc.O_RDONLY | Libc.O_CLOEXEC, 0), "open");
            Sys.Check(Libc.Close(fd), "close");
        }

        return Did(done);
    }

    private long List(bool stat)
    {
        int listed = stat ? _listing.ListAndStat(_directory) : _listing.List(_directory);
        return listed == _created ? Did(listed) : throw new BenchException($"listed {listed} of {_created} names");
    }

    private long Rename()
    {
        var limit = new TimeLimit();
        for (_renamed = 0; _renamed < _created && !limit.Reached(_renamed); _renamed++)
        {
            Sys.Check(Libc.RenameAt(_directory, _old[_renamed], _directory, _new[_renamed]), "rename");
        }

        return Did(_renamed);
    }

    private long Unlink()
    {
        long done = 0;
        for (; done < _created; done++)
        {
            byte* name = done < _renamed ? _new[(int)done] : _old[(int)done];
            Sys.Check(Libc.UnlinkAt(_directory, name, 0), "unlink");
        }

        int left = _listing.List(_directory);
        return left == 0 ? Did(done) : throw new BenchException($"{left} names are listed after all were unlinked");
    }

    private long MakeDirectories()
    {
        var limit = new TimeLimit();
        for (_directoriesMade = 0; _directoriesMade < _directoryCount && !limit.Reached(_directoriesMade); _directoriesMade++)
        {
            Sys.Check(Libc.MkDirAt(_directory, _directories[_directoriesMade], 0x1ed), "mkdir");
        }

        return _directoriesMade;
    }

    private long RemoveDirectories()
    {
        int done = 0;
        for (; done < _directoriesMade; done++)
        {
            Sys.Check(Libc.UnlinkAt(_directory, _directories[done], Libc.AT_REMOVEDIR), "rmdir");
        }

        return Did(done);
    }

    private static long Did(long operations) => operations > 0 ? operations : throw new BenchException("there was nothing to do: an earlier row failed");
}
