namespace EphemeralFs.Tests.Mount;

/// <summary>Programs that tests need, and the Debian packages that have them. A missing one is a failure that says what to install.</summary>
public static class Tool
{
    private static readonly Dictionary<string, string> Packages = new()
    {
        ["tar"] = "tar", ["cp"] = "coreutils", ["rsync"] = "rsync", ["git"] = "git", ["make"] = "make", ["gcc"] = "gcc", ["ar"] = "binutils",
        ["sqlite3"] = "sqlite3", ["fio"] = "fio", ["stress-ng"] = "stress-ng", ["dbench"] = "dbench", ["runuser"] = "util-linux", ["nsenter"] = "util-linux", ["mount"] = "mount", ["umount"] = "mount", ["ip"] = "iproute2", ["unshare"] = "util-linux",
        ["initdb"] = "postgresql", ["pgbench"] = "postgresql-contrib", ["pg_ctl"] = "postgresql", ["pg_checksums"] = "postgresql",
    };

    /// <summary>The absolute path of a program.</summary>
    public static string Find(string name)
    {
        var directories = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".Split(':').Concat(
            Directory.Exists("/usr/lib/postgresql") ? Directory.GetDirectories("/usr/lib/postgresql").OrderDescending().Select(version => $"{version}/bin") : []);
        string? found = directories.Select(directory => Path.Combine(directory, name)).FirstOrDefault(File.Exists);
        Assert.True(found is not null, $"{name} is not installed: apt-get install {Packages.GetValueOrDefault(name, name)} (or, for all tests, the packages of tests/packages.txt)");
        return found;
    }

    /// <summary>Fails with the packages to install unless all of them are there.</summary>
    public static void Require(params string[] names)
    {
        foreach (string name in names)
        {
            Find(name);
        }
    }

    /// <summary>Debian's Python rather than any other that PATH may find first.</summary>
    public static string Python
    {
        get
        {
            Assert.True(File.Exists("/usr/bin/python3"), "python3 is not installed: apt-get install python3");
            return "/usr/bin/python3";
        }
    }
}
