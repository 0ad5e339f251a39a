using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Running;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>mkdir(2).</summary>
public sealed record MakeDirectory(string Path, uint Mode) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.MakeDirectory(AT_FDCWD, tree.Path(Node, Path), Mode));
}

/// <summary>mknod(2) of a regular file, a fifo or a socket; <paramref name="Mode"/> holds the type.</summary>
public sealed record MakeNode(string Path, uint Mode) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.MakeNode(tree.Path(Node, Path), Mode, 0));
}

/// <summary>Many empty files in one directory, so that a listing takes several calls. The result is how many were new.</summary>
public sealed record MakeMany(string Path, int Count) : Op
{
    public override Outcome Apply(Tree tree)
    {
        int made = 0, lastError = 0;
        for (int i = 0; i < Count; i++)
        {
            int fd = tree.Calls.Open(tree.Path(Node, $"{Path}/m{i:d4}"), O_CREAT | O_EXCL | O_WRONLY, 0x1A4);
            if (fd >= 0)
            {
                tree.Calls.Close(fd);
                made++;
            }
            else
            {
                lastError = fd;
            }
        }
        return made == 0 && lastError < 0 ? Outcome.Of(lastError) : Outcome.Ok($"{made} new, then {Errors.Name(-lastError)}");
    }

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Count).Select(count => this with { Count = count }).Concat(base.Simpler());
}

/// <summary>symlink(2).</summary>
public sealed record MakeSymlink(string Target, string Path) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.Symlink(Target, tree.Path(Node, Path)));
}

/// <summary>linkat(2), with or without following a final symbolic link.</summary>
public sealed record MakeLink(string From, string To, bool Follow) : Op
{
    public override Outcome Apply(Tree tree) =>
        Outcome.Of(tree.Calls.Link(tree.Path(Node, From), tree.Path(Node, To), Follow ? AT_SYMLINK_FOLLOW : 0));
}

/// <summary>linkat(2) of an open handle through /proc, the way an O_TMPFILE gets its name.</summary>
public sealed record LinkHandle(int Slot, string To) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree) =>
        Outcome.Of(tree.Calls.Link($"/proc/self/fd/{tree.Fd(Slot)}", tree.Path(tree.Slots[Slot].Node, To), AT_SYMLINK_FOLLOW));
}

/// <summary>rename(2) or renameat2(2) with NOREPLACE or EXCHANGE.</summary>
public sealed record Rename(string From, string To, uint Flags) : Op
{
    public override Outcome Apply(Tree tree)
    {
        // A directory that another node has moved, and in which this node has something open, keeps its old place in this node's kernel until
        // somebody looks the new one up; a rename that comes first is ESTALE (S21).
        if (tree.HasOpen(Node))
        {
            tree.Calls.Stat(AT_FDCWD, tree.Path(Node, From), AT_SYMLINK_NOFOLLOW, out _);
            tree.Calls.Stat(AT_FDCWD, tree.Path(Node, To), AT_SYMLINK_NOFOLLOW, out _);
        }
        return Outcome.Of(tree.Calls.Rename(tree.Path(Node, From), tree.Path(Node, To), Flags));
    }

    public override IEnumerable<Op> Simpler() => Flags == 0 ? base.Simpler() : base.Simpler().Prepend(this with { Flags = 0 });
}

/// <summary>unlink(2).</summary>
public sealed record Unlink(string Path) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.Unlink(AT_FDCWD, tree.Path(Node, Path), 0));
}

/// <summary>rmdir(2).</summary>
public sealed record RemoveDirectory(string Path) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.Unlink(AT_FDCWD, tree.Path(Node, Path), AT_REMOVEDIR));
}

/// <summary>
/// Removes a directory with all that is in it while it is being listed with a small buffer, as <c>rm -r</c> does: no entry may be
/// skipped because others went, or the last rmdir fails.
/// </summary>
public sealed record RemoveTree(string Path, int BufferSize) : Op
{
    private const int MaxRounds = 100_000;

    public override Outcome Apply(Tree tree) => Outcome.Of(Remove(tree, tree.Path(Node, Path), new byte[BufferSize]));

    public override IEnumerable<Op> Simpler() => BufferSize > 320 ? base.Simpler().Prepend(this with { BufferSize = 320 }) : base.Simpler();

    private static int Remove(Tree tree, string path, byte[] buffer)
    {
        int fd = tree.Calls.Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
        {
            return fd;
        }
        var entries = new List<DirectoryEntry>();
        for (int round = 0; round < MaxRounds; round++)
        {
            entries.Clear();
            int read = tree.Calls.ReadDirectory(fd, buffer, entries);
            if (read <= 0)
            {
                break;
            }
            foreach (var entry in entries.Where(entry => entry.Name is not ("." or "..")))
            {
                string child = $"{path}/{entry.Name}";
                if (tree.Calls.Unlink(AT_FDCWD, child, 0) < 0)
                {
                    Remove(tree, child, new byte[buffer.Length]);
                }
            }
        }
        tree.Calls.Close(fd);
        return tree.Calls.Unlink(AT_FDCWD, path, AT_REMOVEDIR);
    }
}

public enum AtKind
{
    Create,
    MakeDirectory,
    Unlink,
    RemoveDirectory,
    Stat,
}

/// <summary>An operation relative to an open directory, which may have been moved or removed since.</summary>
public sealed record InDirectoryHandle(int Slot, string Name, AtKind Kind) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int directory = tree.Fd(Slot);
        // Of a directory that another node has removed the kernel does not know that it is dead: it looks at permissions before it asks, and nothing
        // is left here of a parent that was removed as well (S97).
        if ((As != 0 || Name == "..") && tree.Calls.Stat(directory, "", AT_EMPTY_PATH, out var own) == 0 && own.Links == 0)
        {
            return Outcome.Ok("a removed directory");
        }
        switch (Kind)
        {
            case AtKind.Create:
                int fd = tree.Calls.OpenAt(directory, Name, O_CREAT | O_EXCL | O_WRONLY, 0x1A4);
                return Outcome.Of(fd < 0 ? fd : tree.Calls.Close(fd));
            case AtKind.MakeDirectory:
                return Outcome.Of(tree.Calls.MakeDirectory(directory, Name, 0x1ED));
            case AtKind.Unlink:
                return Outcome.Of(tree.Calls.Unlink(directory, Name, 0));
            case AtKind.RemoveDirectory:
                return Outcome.Of(tree.Calls.Unlink(directory, Name, AT_REMOVEDIR));
            default:
                int result = tree.Calls.Stat(directory, Name, AT_SYMLINK_NOFOLLOW, out var status);
                return result < 0 ? Outcome.Of(result) : Outcome.Ok(StatPath.Show(status));
        }
    }
}

/// <summary>readlink(2).</summary>
public sealed record ReadLink(string Path) : Op
{
    public override Outcome Apply(Tree tree)
    {
        (int error, string target) = tree.Calls.ReadLink(tree.Path(Node, Path));
        return error < 0 ? Outcome.Of(error) : Outcome.Ok(ByteText.Show(target));
    }
}
