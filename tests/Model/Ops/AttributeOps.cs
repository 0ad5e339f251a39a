using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Running;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>stat(2) or lstat(2).</summary>
public sealed record StatPath(string Path, bool Follow) : Op
{
    public override Outcome Apply(Tree tree)
    {
        int result = tree.Calls.Stat(AT_FDCWD, tree.Path(Node, Path), Follow ? 0 : AT_SYMLINK_NOFOLLOW, out var status);
        return result < 0 ? Outcome.Of(result) : Outcome.Ok(Show(status));
    }

    /// <summary>Everything two file systems agree on; sizes of directories, block counts and inode numbers are their own.</summary>
    internal static string Show(in FileStatus status) =>
        $"{status.Type} {Convert.ToString(status.Mode & 0xFFF, 8)} {status.Uid}:{status.Gid} links {status.Links} " +
        $"size {(status.IsDirectory ? 0 : status.Size)} mtime {status.Modify}";
}

/// <summary>fstat(2).</summary>
public sealed record StatHandle(int Slot) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int result = tree.Calls.Stat(tree.Fd(Slot), "", AT_EMPTY_PATH, out var status);
        return result < 0 ? Outcome.Of(result) : Outcome.Ok(StatPath.Show(status));
    }
}

/// <summary>faccessat(2) with the acting user's rights.</summary>
public sealed record CheckAccess(string Path, int Mode) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.Access(tree.Path(Node, Path), Mode));
}

/// <summary>chmod(2).</summary>
public sealed record ChangeMode(string Path, uint Mode) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.ChangeMode(tree.Path(Node, Path), Mode));
}

/// <summary>fchmod(2).</summary>
public sealed record ChangeModeHandle(int Slot, uint Mode) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.ChangeMode(tree.FreshFd(Slot), Mode));
}

/// <summary>chown(2) or lchown(2); 4294967295 leaves an id as it is.</summary>
public sealed record ChangeOwner(string Path, uint Uid, uint Gid, bool Follow) : Op
{
    public override Outcome Apply(Tree tree) =>
        Outcome.Of(tree.Calls.ChangeOwner(tree.Path(Node, Path), Uid, Gid, Follow ? 0 : AT_SYMLINK_NOFOLLOW));
}

/// <summary>fchown(2).</summary>
public sealed record ChangeOwnerHandle(int Slot, uint Uid, uint Gid) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.ChangeOwner(tree.FreshFd(Slot), Uid, Gid));
}

/// <summary>utimensat(2); the times are read back at once, because later reads may move the access time.</summary>
public sealed record SetTimes(string Path, Time Access, Time Modify, bool Follow) : Op
{
    public override Outcome Apply(Tree tree)
    {
        int flags = Follow ? 0 : AT_SYMLINK_NOFOLLOW;
        string path = tree.Path(Node, Path);
        int result = tree.Calls.SetTimes(path, Access, Modify, flags);
        return result < 0 || tree.Calls.Stat(AT_FDCWD, path, flags, out var status) < 0 ? Outcome.Of(result) : Outcome.Ok(Show(status));
    }

    internal static string Show(in FileStatus status) => $"atime {status.Access} mtime {status.Modify} ctime {status.Change}";
}

/// <summary>futimens(3).</summary>
public sealed record SetTimesHandle(int Slot, Time Access, Time Modify) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int result = tree.Calls.SetTimes(tree.FreshFd(Slot), Access, Modify);
        return result < 0 || tree.Calls.Stat(tree.Fd(Slot), "", AT_EMPTY_PATH, out var status) < 0
            ? Outcome.Of(result)
            : Outcome.Ok(SetTimes.Show(status));
    }
}
