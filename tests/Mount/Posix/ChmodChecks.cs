using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary><c>chmod(2)</c> and <c>fchmod(2)</c>.</summary>
public abstract class ChmodChecks(ITestTarget target) : PosixChecks(target)
{
    [Theory, MemberData(nameof(EveryKindButSymlink))]
    public void EveryModeCanBeSetOnEveryKind(Kind kind)
    {
        Make("f", kind);
        uint type = Stat(P("f")).Type;
        foreach (int mode in new[] { 0, 1, 10, 100, 444, 222, 111, 644, 755, 777, 1777, 2755, 4755, 6711, 7777, 7000 })
        {
            Ok(Native.Chmod(P("f"), O(mode)));
            Assert.Equal(type | O(mode), Stat(P("f")).Mode);
        }
    }

    [Theory, MemberData(nameof(EveryKindButSymlink))]
    public void ChmodMovesCtimeOnly(Kind kind)
    {
        Make("f", kind);
        Touches(Touch.Change, P("f"), () => Ok(Native.Chmod(P("f"), O(711))));
        Touches(Touch.Change, P("f"), () => Ok(Native.Chmod(P("f"), O(711)))); // also when nothing changes
    }

    [Fact]
    public void FchmodIsTheSame()
    {
        MakeFile("f", "x");
        int fd = Open(P("f"), Native.O_RDONLY);
        Touches(Touch.Change, P("f"), () => Ok(Native.Fchmod(fd, O(4711))));
        Assert.Equal(O(4711), Stat(P("f")).Permissions);
        Assert.Equal(O(4711), Fstat(fd).Permissions);
    }

    [Fact]
    public void ChmodFollowsALink()
    {
        MakeFile("f", "x");
        Ok(Native.Symlink("f", P("link")));
        Ok(Native.Chmod(P("link"), O(600)));
        Assert.Equal(O(600), Stat(P("f")).Permissions);
        Assert.Equal(O(777), Stat(P("link")).Permissions);
    }

    [Theory, MemberData(nameof(EveryKindButSymlink))]
    public void OnlyTheOwnerAndRootMayChangeTheMode(Kind kind)
    {
        Make("f", kind, 777, User.Alice);
        User.Bob.Do(() => Fails(Errno.EPERM, Native.Chmod(P("f"), O(700))));
        new User(User.Bob.Id, User.Alice.Group).Do(() => Fails(Errno.EPERM, Native.Chmod(P("f"), O(700))));
        Assert.Equal(O(777), Stat(P("f")).Permissions);
        User.Alice.Do(() => Ok(Native.Chmod(P("f"), O(640))));
        Assert.Equal(O(640), Stat(P("f")).Permissions);
    }

    [Fact]
    public void AFailedChmodMovesNoTime()
    {
        MakeFile("f", "x", 644, User.Alice);
        Touches(Touch.Nothing, P("f"), () => User.Bob.Do(() => Fails(Errno.EPERM, Native.Chmod(P("f"), O(700)))));
    }

    [Fact]
    public void SetgidIsClearedWhenTheOwnerIsNotInTheGroupOfTheFile()
    {
        MakeFile("f", "x", 755, new User(User.Alice.Id, 61009));
        User.Alice.Do(() => Ok(Native.Chmod(P("f"), O(2755))));
        Assert.Equal(O(755), Stat(P("f")).Permissions);
        new User(User.Alice.Id, User.Alice.Group, 61009).Do(() => Ok(Native.Chmod(P("f"), O(2755))));
        Assert.Equal(O(2755), Stat(P("f")).Permissions);
    }

    [Fact]
    public void AFileOpenBeforeStaysUsableAfterItsModeWasTaken()
    {
        MakeFile("f", "content", 644, User.Alice);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_RDWR));
            Ok(Native.Fchmod(fd, 0));
            Assert.Equal(1, Ok(Native.Pwrite(fd, "C"u8, 0)));
            Ok(Native.Close(fd));
        });
        Assert.Equal("Content", ReadText(P("f")));
    }

    [Fact]
    public void AWriteByAnotherClearsSetuidAndSetgid()
    {
        MakeFile("f", "x", 6777, User.Alice);
        User.Bob.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_WRONLY));
            Assert.Equal(1, Ok(Native.Pwrite(fd, "y"u8, 0)));
            Ok(Native.Close(fd));
        });
        Assert.Equal(O(777), Stat(P("f")).Permissions);
    }

    [Fact]
    public void TheBitsAreGoneAtOnceAndNotOnlyAfterClosing()
    {
        MakeFile("f", "x", 6777, User.Alice);
        User.Bob.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_RDWR));
            Assert.Equal(1, Ok(Native.Write(fd, "y"u8)));
            Assert.Equal(Expect.Octal(777), Fstat(fd).Permissions);
            Assert.Equal(Expect.Octal(777), Stat(P("f")).Permissions);
            Ok(Native.Close(fd));
        });
    }

    [Fact]
    public void AWriteByTheOwnerClearsSetuidToo()
    {
        MakeFile("f", "x", 4755, User.Alice);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_WRONLY));
            Assert.Equal(1, Ok(Native.Pwrite(fd, "y"u8, 0)));
            Ok(Native.Close(fd));
        });
        Assert.Equal(O(755), Stat(P("f")).Permissions);
    }

    [Fact]
    public void AWriteByRootKeepsSetuidAndSetgid()
    {
        MakeFile("f", "x", 6755, User.Alice);
        int fd = Open(P("f"), Native.O_WRONLY);
        WriteAll(fd, "y"u8, 0);
        Close(fd);
        Assert.Equal(O(6755), Stat(P("f")).Permissions);
    }

    [Fact]
    public void SetgidWithoutGroupExecuteSurvivesAWriteByAMember()
    {
        // Without S_IXGRP the bit means nothing to exec; the kernel clears it only for a writer outside the group.
        MakeFile("f", "x", 2666, User.Alice);
        User.Alice.Do(() =>
        {
            int fd = Expect.Fd(Native.Open(P("f"), Native.O_WRONLY));
            Assert.Equal(1, Ok(Native.Pwrite(fd, "y"u8, 0)));
            Ok(Native.Close(fd));
        });
        Assert.Equal(O(2666), Stat(P("f")).Permissions);
    }

    [Fact]
    public void TruncatingClearsSetuidForOrdinaryUsers()
    {
        MakeFile("f", "content", 6777, User.Alice);
        User.Bob.Do(() => Ok(Native.Truncate(P("f"), 3)));
        Assert.Equal(O(777), Stat(P("f")).Permissions);
        Ok(Native.Chmod(P("f"), O(6777)));
        User.Bob.Do(() => Ok(Native.Close(Ok(Native.Open(P("f"), Native.O_WRONLY | Native.O_TRUNC)))));
        Assert.Equal(O(777), Stat(P("f")).Permissions);
    }
}
