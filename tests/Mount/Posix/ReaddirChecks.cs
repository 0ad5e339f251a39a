using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Listing directories: completeness, types, cookies that stay good while others change the directory.</summary>
public abstract class ReaddirChecks(ITestTarget target) : PosixChecks(target)
{
    private const int Many = 10_000;

    private string[] MakeMany(int count)
    {
        MakeDirectory("d");
        string[] names = [.. Enumerable.Range(0, count).Select(i => $"entry-{i:d6}")];
        foreach (string name in names)
        {
            Ok(Native.Mknod(P("d/" + name), Native.S_IFREG | O(644)));
        }
        return names;
    }

    [Fact]
    public void AnEmptyDirectoryHasTheDotsOnly()
    {
        MakeDirectory("d");
        var all = new List<DirectoryEntry>();
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        while (Ok(Native.ReadEntries(fd, 4096, all)) > 0)
        {
        }
        Assert.Equal([".", ".."], all.Select(e => e.Name).Order(StringComparer.Ordinal));
        Assert.Equal(Stat(P("d")).Ino, all.Single(e => e.Name == ".").Ino);
        Assert.All(all, e => Assert.Equal(4, e.Type));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void EntriesTellTypeAndInodeNumber(Kind kind)
    {
        Make("f", kind);
        DirectoryEntry entry = Assert.Single(Entries(Scratch));
        Assert.Equal((Stat(P("f")).Ino, (byte)(Stat(P("f")).Type >> 12)), (entry.Ino, entry.Type));
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    [InlineData(32_768)]
    [InlineData(1_048_576)]
    public void TenThousandEntriesAreListedOnceEach(int bufferBytes)
    {
        string[] names = MakeMany(Many);
        List<DirectoryEntry> entries = Entries(P("d"), bufferBytes);
        Assert.Equal(names, entries.Select(e => e.Name).Order(StringComparer.Ordinal));
        Assert.Equal(Many, entries.Select(e => e.Ino).Distinct().Count());
        Assert.Equal(Many, entries.Select(e => e.Cookie).Distinct().Count());
    }

    [Fact]
    public void RemovingEverythingWhileListingLosesNothing()
    {
        // What rm -r does: list a bufferful, remove it, list on.
        MakeMany(Many);
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        int removed = 0;
        var page = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, 8192, page)) > 0)
        {
            foreach (DirectoryEntry entry in page.Where(e => e.Name is not ("." or "..")))
            {
                Ok(Native.Unlink(P("d/" + entry.Name)));
                removed++;
            }
            page.Clear();
        }
        Assert.Equal(Many, removed);
        Ok(Native.Rmdir(P("d")));
    }

    [Fact]
    public void EntriesThatStayAreListedOnceWhileOthersComeAndGo()
    {
        string[] names = MakeMany(3_000);
        string[] stay = [.. names.Where((_, i) => i % 3 == 0)];
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        var seen = new List<DirectoryEntry>();
        var random = new Random(5);
        int next = 0;
        string[] leave = [.. names.Except(stay).OrderBy(_ => random.Next())];
        while (Ok(Native.ReadEntries(fd, 2048, seen)) > 0)
        {
            for (int i = 0; i < 20 && next < leave.Length; i++, next++)
            {
                Ok(Native.Unlink(P("d/" + leave[next])));
                Ok(Native.Mknod(P($"d/new-{next}"), Native.S_IFREG | O(644)));
            }
        }
        ILookup<string, DirectoryEntry> byName = seen.ToLookup(e => e.Name);
        Assert.All(stay, name => Assert.Single(byName[name]));
        Assert.All(byName, group => Assert.Single(group));
    }

    [Fact]
    public void EveryCookieLeadsBackToItsPlace()
    {
        MakeMany(500);
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        var all = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, 4096, all)) > 0)
        {
        }
        foreach (int at in new[] { 0, 1, 2, 17, 250, all.Count - 2 })
        {
            Ok(Native.Lseek(fd, all[at].Cookie, Native.SEEK_SET));
            var rest = new List<DirectoryEntry>();
            while (Ok(Native.ReadEntries(fd, 4096, rest)) > 0)
            {
            }
            Assert.Equal(all.Skip(at + 1).Select(e => e.Name), rest.Select(e => e.Name));
        }
    }

    [Fact]
    public void ACookieStaysGoodAfterItsEntryAndOthersWereRemoved()
    {
        MakeMany(500);
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        var all = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, 4096, all)) > 0)
        {
        }
        foreach (DirectoryEntry gone in all.Take(251).Where(e => e.Name is not ("." or "..")))
        {
            Ok(Native.Unlink(P("d/" + gone.Name)));
        }
        Ok(Native.Lseek(fd, all[250].Cookie, Native.SEEK_SET));
        var rest = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, 4096, rest)) > 0)
        {
        }
        Assert.Equal(all.Skip(251).Select(e => e.Name), rest.Select(e => e.Name));
    }

    [Fact]
    public void RewindingListsWhatIsThereNow()
    {
        MakeMany(10);
        int fd = Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY);
        var first = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, 4096, first)) > 0)
        {
        }
        Ok(Native.Unlink(P("d/entry-000003")));
        MakeFile("d/later", "x");
        Ok(Native.Lseek(fd, 0, Native.SEEK_SET));
        var second = new List<DirectoryEntry>();
        while (Ok(Native.ReadEntries(fd, 4096, second)) > 0)
        {
        }
        Assert.Equal(first.Select(e => e.Name).Except(["entry-000003"]).Append("later").Order(), second.Select(e => e.Name).Order());
    }

    [Fact]
    public void TwoDescriptorsListIndependently()
    {
        MakeMany(200);
        int one = Open(P("d"), Native.O_RDONLY), two = Open(P("d"), Native.O_RDONLY);
        List<DirectoryEntry> first = [], second = [];
        Ok(Native.ReadEntries(one, 1024, first));
        while (Ok(Native.ReadEntries(two, 1024, second)) > 0)
        {
        }
        while (Ok(Native.ReadEntries(one, 1024, first)) > 0)
        {
        }
        Assert.Equal(second.Select(e => e.Name), first.Select(e => e.Name));
    }

    [Fact]
    public void ABufferTooSmallForAnEntryIsEINVAL()
    {
        MakeFile("a-name-that-does-not-fit", "x");
        int fd = Open(Scratch, Native.O_RDONLY);
        var entries = new List<DirectoryEntry>();
        Fails(Errno.EINVAL, Native.ReadEntries(fd, 16, entries));
    }

    [Fact]
    public void ADirectoryThatIsNotReadableButSearchableCannotBeListed()
    {
        MakeDirectory("d", 711);
        MakeFile("d/known", "x", 644);
        User.Alice.Do(() =>
        {
            Fails(Errno.EACCES, Native.Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY));
            Ok(Native.Stat(P("d/known"), out _));
        });
        Ok(Native.Chmod(P("d"), O(744)));
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("d"), Native.O_RDONLY | Native.O_DIRECTORY));
            var entries = new List<DirectoryEntry>();
            Ok(Native.ReadEntries(fd, 4096, entries));
            Assert.Equal(3, entries.Count);
            Fails(Errno.EACCES, Native.Stat(P("d/known"), out _));
            Ok(Native.Close(fd));
        });
    }

    [Fact]
    public void ParallelMakersOfOneDirectoryLoseNoName()
    {
        MakeDirectory("d");
        Parallel.For(0, 8, maker =>
        {
            for (int i = 0; i < 100; i++)
            {
                Ok(Native.Mknod(P($"d/{maker}-{i}"), Native.S_IFREG | Expect.Octal(644)));
                if (i % 4 == 3)
                {
                    Ok(Native.Rename(P($"d/{maker}-{i}"), P($"d/{maker}-{i - 1}")));
                }
            }
        });
        Assert.Equal(8 * 75, Names(P("d")).Length);
        Assert.Equal(2u, Stat(P("d")).Links);
    }
}
