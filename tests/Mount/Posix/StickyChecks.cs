using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Directories with the sticky bit, as <c>/tmp</c> has it: only the owner of a name, of the directory, or root removes or renames it.</summary>
public abstract class StickyChecks(ITestTarget target) : PosixChecks(target)
{
    private static readonly User Carol = new(61003, 61003);

    private static long Remove(string path, Kind kind) => kind == Kind.Directory ? Native.Rmdir(path) : Native.Unlink(path);

    [Theory, MemberData(nameof(EveryKind))]
    public void ANameIsRemovedByItsOwner(Kind kind)
    {
        MakeDirectory("sticky", 1777, User.Bob);
        Make("sticky/f", kind, 777, User.Alice);
        Carol.Do(() => Fails(Errno.EPERM, Remove(P("sticky/f"), kind)));
        User.Alice.Do(() => Ok(Remove(P("sticky/f"), kind)));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void ANameIsRemovedByTheOwnerOfTheDirectory(Kind kind)
    {
        MakeDirectory("sticky", 1777, User.Bob);
        Make("sticky/f", kind, 0, User.Alice);
        User.Bob.Do(() => Ok(Remove(P("sticky/f"), kind)));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void ANameIsRemovedByRoot(Kind kind)
    {
        MakeDirectory("sticky", 1777, User.Bob);
        Make("sticky/f", kind, 0, User.Alice);
        Ok(Remove(P("sticky/f"), kind));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void ANameIsRenamedByItsOwnerOnly(Kind kind)
    {
        MakeDirectory("sticky", 1777, User.Bob);
        Make("sticky/f", kind, 777, User.Alice);
        Carol.Do(() => Fails(Errno.EPERM, Native.Rename(P("sticky/f"), P("sticky/g"))));
        User.Alice.Do(() => Ok(Native.Rename(P("sticky/f"), P("sticky/g"))));
        User.Bob.Do(() => Ok(Native.Rename(P("sticky/g"), P("sticky/h")))); // the owner of the directory
    }

    [Theory, MemberData(nameof(EveryKindButDirectory))]
    public void ANameIsReplacedByItsOwnerOnly(Kind kind)
    {
        MakeDirectory("sticky", 1777, User.Bob);
        Make("sticky/f", kind, 777, User.Alice);
        Make("sticky/mine", kind, 777, Carol);
        Carol.Do(() => Fails(Errno.EPERM, Native.Rename(P("sticky/mine"), P("sticky/f"))));
        Ok(Native.Chown(P("sticky/f"), Carol.Id, Carol.Group, Native.AT_SYMLINK_NOFOLLOW));
        Carol.Do(() => Ok(Native.Rename(P("sticky/mine"), P("sticky/f"))));
    }

    [Fact]
    public void AnExchangeNeedsBothNames()
    {
        MakeDirectory("sticky", 1777, User.Bob);
        MakeFile("sticky/f", "x", 777, User.Alice);
        MakeFile("sticky/mine", "y", 777, Carol);
        Carol.Do(() => Fails(Errno.EPERM, Native.Rename(P("sticky/mine"), P("sticky/f"), Native.RENAME_EXCHANGE)));
        Carol.Do(() => Fails(Errno.EPERM, Native.Rename(P("sticky/f"), P("sticky/mine"), Native.RENAME_EXCHANGE)));
    }

    [Fact]
    public void MovingANameIntoAStickyDirectoryIsFree()
    {
        MakeDirectory("sticky", 1777, User.Bob);
        MakeDirectory("home", 755, Carol);
        MakeFile("home/f", "x", 644, Carol);
        Carol.Do(() => Ok(Native.Rename(P("home/f"), P("sticky/f"))));
    }

    [Fact]
    public void AnybodyMakesNamesAndLinks()
    {
        MakeDirectory("sticky", 1777);
        User.Alice.Do(() => Ok(Native.Close(Ok(Native.Open(P("sticky/f"), Native.O_CREAT | Native.O_WRONLY, Expect.Octal(600))))));
        User.Bob.Do(() => Ok(Native.Mkdir(P("sticky/d"), Expect.Octal(700))));
        Assert.Equal(["d", "f"], Names(P("sticky")));
    }

    [Fact]
    public void AnUnwritableStickyDirectoryIsEACCES()
    {
        MakeDirectory("sticky", 1755, User.Bob);
        MakeFile("sticky/f", "x", 777, User.Alice);
        User.Alice.Do(() => Fails(Errno.EACCES, Native.Unlink(P("sticky/f"))));
    }
}
