using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Running;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>A whole listing: names with types, each once, inode numbers as lstat gives them.</summary>
public sealed record ListDirectory(string Path, int BufferSize) : Op
{
    public override Outcome Apply(Tree tree)
    {
        string path = tree.Path(Node, Path);
        int fd = tree.Calls.Open(path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
        {
            return Outcome.Of(fd);
        }
        var entries = new List<DirectoryEntry>();
        int result = tree.List(fd, BufferSize, entries);
        tree.Calls.Close(fd);
        return result < 0
            ? Outcome.Of(result)
            : Outcome.Ok(string.Join(" ", entries.Select(entry => Show(tree, path, entry)).Order(StringComparer.Ordinal)));
    }

    private static string Show(Tree tree, string path, DirectoryEntry entry)
    {
        bool differs = entry.Name is not ("." or "..")
            && tree.Calls.Stat(AT_FDCWD, $"{path}/{entry.Name}", AT_SYMLINK_NOFOLLOW, out var status) == 0 && status.Ino != entry.Ino;
        return $"{ByteText.Show(entry.Name)}:{entry.Type}{(differs ? "(wrong d_ino)" : "")}";
    }
}

/// <summary>
/// lseek(2) of a directory to a cookie it gave: the rest of the listing is the same as before. Orders differ between file systems, so
/// only whether it holds is compared.
/// </summary>
public sealed record ListFromCookie(string Path, int Entry) : Op
{
    public override Outcome Apply(Tree tree)
    {
        int fd = tree.Calls.Open(tree.Path(Node, Path), O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
        {
            return Outcome.Of(fd);
        }
        var all = new List<DirectoryEntry>();
        int result = tree.List(fd, 4096, all);
        if (result == 0 && all.Count > 0)
        {
            int from = Entry % all.Count;
            var rest = new List<DirectoryEntry>();
            long position = tree.Calls.Seek(fd, all[from].Cookie, SEEK_SET);
            result = position < 0 ? (int)position : tree.List(fd, 4096, rest);
            bool same = rest.Select(entry => entry.Name).SequenceEqual(all.Skip(from + 1).Select(entry => entry.Name));
            tree.Calls.Close(fd);
            return result < 0 ? Outcome.Of(result) : Outcome.Ok(same
                ? "the same rest"
                : $"after {all[from].Name} came [{string.Join(" ", all.Skip(from + 1).Select(e => e.Name))}], from its cookie [{string.Join(" ", rest.Select(e => e.Name))}]");
        }
        tree.Calls.Close(fd);
        return Outcome.Of(result);
    }
}

/// <summary>statvfs(3): numbers that contradict each other are reported; the numbers themselves are each file system's own.</summary>
public sealed record FileSystemCheck : Op
{
    public override Outcome Apply(Tree tree)
    {
        int fd = tree.Calls.Open(tree.Path(Node, ""), O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
        {
            return Outcome.Of(fd);
        }
        int result = tree.Calls.FileSystem(fd, out var status);
        tree.Calls.Close(fd);
        bool sane = status.BlockSize > 0 && status.FragmentSize > 0 && status.BlocksAvailable <= status.BlocksFree
            && status.BlocksFree <= status.Blocks && status.Blocks > 0 && status.FilesFree <= status.Files && status.NameMax == 255;
        return result < 0 ? Outcome.Of(result) : Outcome.Ok(sane ? "sane" : status.ToString());
    }
}

/// <summary>Closes every handle, unmounts and mounts again.</summary>
public sealed record Remount : Op
{
    public override Outcome Apply(Tree tree)
    {
        tree.Remount();
        return Outcome.Of(0);
    }
}
