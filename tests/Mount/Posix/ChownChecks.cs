using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>chown(2)</c> and its kin.</summary>
public abstract class ChownChecks(ITestTarget target) : PosixChecks(target)
{
    private static (uint User, uint Group) Owner(string path) => (Stat(path).User, Stat(path).Group);

    [Theory, MemberData(nameof(EveryKind))]
    public void RootGivesAnythingToAnybody(Kind kind)
    {
        Make("f", kind);
        Ok(Native.Chown(P("f"), 123, 456, Native.AT_SYMLINK_NOFOLLOW));
        Assert.Equal((123u, 456u), Owner(P("f")));
        Ok(Native.Chown(P("f"), Native.KeepId, 789, Native.AT_SYMLINK_NOFOLLOW));
        Assert.Equal((123u, 789u), Owner(P("f")));
        Ok(Native.Chown(P("f"), 4_000_000_000, Native.KeepId, Native.AT_SYMLINK_NOFOLLOW));
        Assert.Equal((4_000_000_000u, 789u), Owner(P("f")));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void ChownMovesCtimeOnly(Kind kind)
    {
        Make("f", kind);
        Touches(Touch.Change, P("f"), () => Ok(Native.Chown(P("f"), 123, 456, Native.AT_SYMLINK_NOFOLLOW)));
        Touches(Touch.Change, P("f"), () => Ok(Native.Chown(P("f"), 123, 456, Native.AT_SYMLINK_NOFOLLOW)));
    }

    [Fact]
    public void ChownWithNoIdAtAllSucceedsAndKeepsBoth()
    {
        MakeFile("f", "x", 644, User.Alice);
        Ok(Native.Chown(P("f"), Native.KeepId, Native.KeepId));
        Assert.Equal((User.Alice.Id, User.Alice.Group), Owner(P("f")));
    }

    [Fact]
    public void ChownFollowsALinkAndLchownDoesNot()
    {
        MakeFile("f", "x");
        Ok(Native.Symlink("f", P("link")));
        Ok(Native.Chown(P("link"), 11, 12));
        Assert.Equal((11u, 12u), Owner(P("f")));
        Assert.Equal((0u, 0u), Owner(P("link")));
        Ok(Native.Chown(P("link"), 21, 22, Native.AT_SYMLINK_NOFOLLOW));
        Assert.Equal((11u, 12u), Owner(P("f")));
        Assert.Equal((21u, 22u), Owner(P("link")));
    }

    [Fact]
    public void FchownIsTheSame()
    {
        MakeFile("f", "x");
        int fd = Open(P("f"), Native.O_RDONLY);
        Ok(Native.Fchown(fd, 31, 32));
        Assert.Equal((31u, 32u), Owner(P("f")));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void AnOwnerMayGiveAFileToAGroupOfHisOwnOnly(Kind kind)
    {
        Make("f", kind, 755, User.Alice);
        var alice = new User(User.Alice.Id, User.Alice.Group, 61008);
        alice.Do(() =>
        {
            Fails(Errno.EPERM, Native.Chown(P("f"), User.Bob.Id, Native.KeepId, Native.AT_SYMLINK_NOFOLLOW));
            Fails(Errno.EPERM, Native.Chown(P("f"), Native.KeepId, 61009, Native.AT_SYMLINK_NOFOLLOW));
            Ok(Native.Chown(P("f"), Native.KeepId, 61008, Native.AT_SYMLINK_NOFOLLOW));
            Ok(Native.Chown(P("f"), User.Alice.Id, User.Alice.Group, Native.AT_SYMLINK_NOFOLLOW));
        });
        Assert.Equal((User.Alice.Id, User.Alice.Group), Owner(P("f")));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void NobodyElseMayChangeTheOwner(Kind kind)
    {
        Make("f", kind, 777, User.Alice);
        new User(User.Bob.Id, User.Bob.Group, User.Alice.Group).Do(() =>
        {
            Fails(Errno.EPERM, Native.Chown(P("f"), User.Bob.Id, Native.KeepId, Native.AT_SYMLINK_NOFOLLOW));
            Fails(Errno.EPERM, Native.Chown(P("f"), Native.KeepId, User.Bob.Group, Native.AT_SYMLINK_NOFOLLOW));
            Fails(Errno.EPERM, Native.Chown(P("f"), User.Alice.Id, User.Alice.Group, Native.AT_SYMLINK_NOFOLLOW));
        });
    }

    [Theory]
    [InlineData(6755, 755)]
    [InlineData(4755, 755)]
    [InlineData(2755, 755)]
    [InlineData(2644, 644)] // since Linux 6.0 the bit goes also without group execute when the caller is not in the group; see below
    public void AnOwnerWhoChangesTheGroupLosesSetuidAndSetgid(int before, int after)
    {
        MakeFile("f", "x", before, new User(User.Alice.Id, 61007));
        new User(User.Alice.Id, User.Alice.Group).Do(() => Ok(Native.Chown(P("f"), Native.KeepId, User.Alice.Group)));
        Assert.Equal(O(after), Stat(P("f")).Permissions);
    }

    [Fact]
    public void RootWhoChangesTheOwnerClearsThemToo()
    {
        MakeFile("f", "x", 6755, User.Alice);
        Ok(Native.Chown(P("f"), 1, 1));
        Assert.Equal(O(755), Stat(P("f")).Permissions);
    }

    [Fact]
    public void ADirectoryKeepsSetgidWhenItsOwnerChanges()
    {
        MakeDirectory("d", 6755, User.Alice);
        Ok(Native.Chown(P("d"), 1, 1));
        Assert.Equal(O(6755), Stat(P("d")).Permissions);
    }

    [Fact]
    public void TheNewOwnerHasTheRightsOfTheOwner()
    {
        MakeFile("f", "x", 600, User.Alice);
        Ok(Native.Chown(P("f"), User.Bob.Id, User.Bob.Group));
        User.Alice.Do(() => Fails(Errno.EACCES, Native.Open(P("f"), Native.O_RDONLY)));
        User.Bob.Do(() => Ok(Native.Close(Ok(Native.Open(P("f"), Native.O_RDWR)))));
    }
}
