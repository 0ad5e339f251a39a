using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>lsetxattr(2) with 0, XATTR_CREATE or XATTR_REPLACE.</summary>
public sealed record SetXattr(string Path, string Name, int Length, int Seed, int Flags) : Op
{
    public override Outcome Apply(Tree tree) =>
        Outcome.Of(tree.Calls.SetXattr(tree.Path(Node, Path), Name, Pattern.Bytes(Seed, Length), Flags));

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Length).Select(length => this with { Length = length }).Concat(base.Simpler());
}

/// <summary>lgetxattr(2); size 0 asks for the length, a buffer that is too small is ERANGE.</summary>
public sealed record GetXattr(string Path, string Name, int BufferSize) : Op
{
    public override Outcome Apply(Tree tree)
    {
        var buffer = new byte[BufferSize];
        long length = tree.Calls.GetXattr(tree.Path(Node, Path), Name, buffer);
        return length < 0 ? Outcome.Of(length) : Outcome.Ok($"{length}: {Pattern.Show(buffer.AsSpan(0, (int)Math.Min(length, BufferSize)))}");
    }
}

/// <summary>llistxattr(2), sorted: the order is the file system's own.</summary>
public sealed record ListXattrs(string Path) : Op
{
    public override Outcome Apply(Tree tree)
    {
        (int error, string[] names) = tree.Calls.ListXattrs(tree.Path(Node, Path));
        return error < 0 ? Outcome.Of(error) : Outcome.Ok(string.Join(" ", names.Select(ByteText.Show)));
    }
}

/// <summary>lremovexattr(2).</summary>
public sealed record RemoveXattr(string Path, string Name) : Op
{
    public override Outcome Apply(Tree tree) => Outcome.Of(tree.Calls.RemoveXattr(tree.Path(Node, Path), Name));
}

public enum XattrKind
{
    Set,
    Get,
    Remove,
}

/// <summary>The same by handle: fsetxattr(2), fgetxattr(2), fremovexattr(2). Works on unlinked files too.</summary>
public sealed record XattrHandle(int Slot, XattrKind Kind, string Name, int Length, int Seed) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        switch (Kind)
        {
            case XattrKind.Set:
                return Outcome.Of(tree.Calls.SetXattr(tree.Fd(Slot), Name, Pattern.Bytes(Seed, Length), 0));
            case XattrKind.Remove:
                return Outcome.Of(tree.Calls.RemoveXattr(tree.Fd(Slot), Name));
            default:
                var buffer = new byte[4096];
                long length = tree.Calls.GetXattr(tree.Fd(Slot), Name, buffer);
                return length < 0 ? Outcome.Of(length) : Outcome.Ok(Pattern.Show(buffer.AsSpan(0, (int)length)));
        }
    }
}
