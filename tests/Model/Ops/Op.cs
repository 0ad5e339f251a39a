using System.Text.Json.Serialization;
using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>What an operation gave: an error number or 0, and whatever else both sides must agree on.</summary>
public readonly record struct Outcome(int Errno, string Detail)
{
    /// <summary>Success or failure of a call that returns nothing else.</summary>
    public static Outcome Of(int result) => result < 0 ? new(-result, "") : new(0, "");

    /// <summary>A call that returns a number.</summary>
    public static Outcome Of(long result) => result < 0 ? new((int)-result, "") : new(0, result.ToString(null, null));

    public static Outcome Ok(string detail) => new(0, detail);

    public override string ToString() => Detail.Length == 0 ? Errors.Name(Errno) : $"{Errors.Name(Errno)} {(Detail.Length > 400 ? Detail[..400] + "…" : Detail)}";
}

/// <summary>
/// One step. A record that says everything it needs, so that a sequence can be printed, cut down and run again, and that can be
/// applied in any state: a name that is not there or a slot that is empty is a case, not a mistake.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "op")]
[JsonDerivedType(typeof(Open), "open")]
[JsonDerivedType(typeof(OpenTemporary), "tmpfile")]
[JsonDerivedType(typeof(Close), "close")]
[JsonDerivedType(typeof(Write), "write")]
[JsonDerivedType(typeof(WriteAt), "pwrite")]
[JsonDerivedType(typeof(Read), "read")]
[JsonDerivedType(typeof(ReadAt), "pread")]
[JsonDerivedType(typeof(MapWrite), "mapwrite")]
[JsonDerivedType(typeof(MapRead), "mapread")]
[JsonDerivedType(typeof(Seek), "seek")]
[JsonDerivedType(typeof(Truncate), "truncate")]
[JsonDerivedType(typeof(TruncateHandle), "ftruncate")]
[JsonDerivedType(typeof(Allocate), "fallocate")]
[JsonDerivedType(typeof(CopyRange), "copyrange")]
[JsonDerivedType(typeof(HolesCheck), "holes")]
[JsonDerivedType(typeof(Sync), "fsync")]
[JsonDerivedType(typeof(DropCache), "dropcache")]
[JsonDerivedType(typeof(Lock), "flock")]
[JsonDerivedType(typeof(MakeDirectory), "mkdir")]
[JsonDerivedType(typeof(MakeNode), "mknod")]
[JsonDerivedType(typeof(MakeMany), "mkmany")]
[JsonDerivedType(typeof(MakeSymlink), "symlink")]
[JsonDerivedType(typeof(MakeLink), "link")]
[JsonDerivedType(typeof(LinkHandle), "linkfd")]
[JsonDerivedType(typeof(Rename), "rename")]
[JsonDerivedType(typeof(Unlink), "unlink")]
[JsonDerivedType(typeof(RemoveDirectory), "rmdir")]
[JsonDerivedType(typeof(RemoveTree), "rmtree")]
[JsonDerivedType(typeof(InDirectoryHandle), "at")]
[JsonDerivedType(typeof(StatPath), "stat")]
[JsonDerivedType(typeof(StatHandle), "fstat")]
[JsonDerivedType(typeof(CheckAccess), "access")]
[JsonDerivedType(typeof(ReadLink), "readlink")]
[JsonDerivedType(typeof(ChangeMode), "chmod")]
[JsonDerivedType(typeof(ChangeModeHandle), "fchmod")]
[JsonDerivedType(typeof(ChangeOwner), "chown")]
[JsonDerivedType(typeof(ChangeOwnerHandle), "fchown")]
[JsonDerivedType(typeof(SetTimes), "utimens")]
[JsonDerivedType(typeof(SetTimesHandle), "futimens")]
[JsonDerivedType(typeof(SetXattr), "setxattr")]
[JsonDerivedType(typeof(GetXattr), "getxattr")]
[JsonDerivedType(typeof(ListXattrs), "listxattr")]
[JsonDerivedType(typeof(RemoveXattr), "removexattr")]
[JsonDerivedType(typeof(XattrHandle), "fxattr")]
[JsonDerivedType(typeof(ListDirectory), "readdir")]
[JsonDerivedType(typeof(ListFromCookie), "seekdir")]
[JsonDerivedType(typeof(FileSystemCheck), "statfs")]
[JsonDerivedType(typeof(Remount), "remount")]
public abstract record Op
{
    /// <summary>The node that acts. Operations on a slot act where the slot was opened, whatever this says.</summary>
    public int Node { get; init; }

    /// <summary>The user that acts; 0 is root.</summary>
    public uint As { get; init; }

    /// <summary>Runs the step on one side.</summary>
    public abstract Outcome Apply(Tree tree);

    /// <summary>The slots that it uses, the first of which says where it acts; none for operations by path.</summary>
    public virtual IReadOnlyList<int> UsedSlots() => [];

    /// <summary>Whether the subject may give the reference's outcome a moment later, because the kernel promises no order in this case.</summary>
    public virtual bool MayLag(Outcome expected, Outcome found) => false;

    /// <summary>Steps that ask less, to be tried by the shrinker in place of this one.</summary>
    public virtual IEnumerable<Op> Simpler()
    {
        if (As != 0)
        {
            yield return this with { As = 0 };
        }
        if (Node != 0)
        {
            yield return this with { Node = 0 };
        }
    }
}
