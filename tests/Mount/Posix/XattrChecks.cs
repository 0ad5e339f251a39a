using System.Text;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Extended attributes, <c>xattr(7)</c>.</summary>
public abstract class XattrChecks(ITestTarget target) : PosixChecks(target)
{
    private static string[] List(string path)
    {
        byte[] list = new byte[Ok(Native.ListXattr(path, []))];
        Assert.Equal(list.Length, Ok(Native.ListXattr(path, list)));
        return [.. Encoding.Latin1.GetString(list).Split('\0', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)];
    }

    private static byte[] Get(string path, string name)
    {
        byte[] value = new byte[Ok(Native.GetXattr(path, name, []))];
        Assert.Equal(value.Length, Ok(Native.GetXattr(path, name, value)));
        return value;
    }

    [Theory]
    [InlineData("user.name")]
    [InlineData("trusted.name")]
    [InlineData("security.name")]
    [InlineData("user.a.b.c")]
    [InlineData("user.\u00ff\u00fe \n")]
    public void AnAttributeIsSetReadListedAndRemoved(string name)
    {
        MakeFile("f", "x");
        Fails(Errno.ENODATA, Native.GetXattr(P("f"), name, new byte[8]));
        Fails(Errno.ENODATA, Native.RemoveXattr(P("f"), name));
        Ok(Native.SetXattr(P("f"), name, "value"u8));
        Assert.Equal("value"u8.ToArray(), Get(P("f"), name));
        Assert.Equal([name], List(P("f")));
        Ok(Native.SetXattr(P("f"), name, "another value"u8));
        Assert.Equal("another value"u8.ToArray(), Get(P("f"), name));
        Ok(Native.RemoveXattr(P("f"), name));
        Assert.Empty(List(P("f")));
        Fails(Errno.ENODATA, Native.GetXattr(P("f"), name, new byte[8]));
    }

    [Fact]
    public void CreateAndReplaceAreHeld()
    {
        MakeFile("f", "x");
        Fails(Errno.ENODATA, Native.SetXattr(P("f"), "user.a", "1"u8, Native.XATTR_REPLACE));
        Ok(Native.SetXattr(P("f"), "user.a", "1"u8, Native.XATTR_CREATE));
        Fails(Errno.EEXIST, Native.SetXattr(P("f"), "user.a", "2"u8, Native.XATTR_CREATE));
        Ok(Native.SetXattr(P("f"), "user.a", "3"u8, Native.XATTR_REPLACE));
        Assert.Equal("3"u8.ToArray(), Get(P("f"), "user.a"));
        Fails(Errno.EINVAL, Native.SetXattr(P("f"), "user.a", "4"u8, 4));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(255)]
    [InlineData(4000)]
    [InlineData(60_000)]
    public void ValuesOfAnySizeUpTo64K(int size)
    {
        MakeFile("f", "x");
        Ok(Native.SetXattr(P("f"), "user.v", Pattern(size)));
        Assert.Equal(Pattern(size), Get(P("f"), "user.v"));
    }

    [Fact]
    public void TooLongValuesAndNamesAreRefused()
    {
        MakeFile("f", "x");
        Fails(Errno.E2BIG, Native.SetXattr(P("f"), "user.v", new byte[65_537]));
        string longest = "user." + new string('n', 250);
        Ok(Native.SetXattr(P("f"), longest, "v"u8));
        Assert.Equal([longest], List(P("f")));
        Fails(Errno.ERANGE, Native.SetXattr(P("f"), longest + "n", "v"u8));
        Fails(Errno.ERANGE, Native.SetXattr(P("f"), "", "v"u8));
    }

    [Fact]
    public void ABufferTooSmallIsERANGE()
    {
        MakeFile("f", "x");
        Ok(Native.SetXattr(P("f"), "user.v", "value"u8));
        Fails(Errno.ERANGE, Native.GetXattr(P("f"), "user.v", new byte[4]));
        Assert.Equal(5, Ok(Native.GetXattr(P("f"), "user.v", new byte[5])));
        Fails(Errno.ERANGE, Native.ListXattr(P("f"), new byte[6]));
        Assert.Equal(7, Ok(Native.ListXattr(P("f"), new byte[7])));
    }

    [Fact]
    public void NamesOutsideTheKnownNamespacesAreEOPNOTSUPP()
    {
        MakeFile("f", "x");
        foreach (string name in new[] { "name", "foo.bar", "USER.a", "userx.a" })
        {
            Fails(Errno.EOPNOTSUPP, Native.SetXattr(P("f"), name, "v"u8));
            Fails(Errno.EOPNOTSUPP, Native.GetXattr(P("f"), name, new byte[8]));
            Fails(Errno.EOPNOTSUPP, Native.RemoveXattr(P("f"), name));
        }
        Fails(Errno.EINVAL, Native.SetXattr(P("f"), "user.", "v"u8));
        Fails(Errno.EINVAL, Native.GetXattr(P("f"), "user.", new byte[8]));
    }

    [Theory, MemberData(nameof(EveryKind))]
    public void UserAttributesAreForFilesAndDirectoriesTrustedOnesForAll(Kind kind)
    {
        Make("f", kind);
        bool allowed = kind is Kind.Regular or Kind.Directory;
        long result = Native.SetXattr(P("f"), "user.a", "v"u8);
        Assert.Equal(allowed ? Errno.OK : Errno.EPERM, Native.ErrnoOf(result));
        Ok(Native.SetXattr(P("f"), "trusted.a", "v"u8));
        Ok(Native.SetXattr(P("f"), "security.a", "v"u8));
        Assert.Equal(allowed ? ["security.a", "trusted.a", "user.a"] : ["security.a", "trusted.a"], List(P("f")));
        Assert.Equal("v"u8.ToArray(), Get(P("f"), "trusted.a"));
    }

    [Fact]
    public void UserAttributesFollowThePermissionsOfTheFile()
    {
        MakeFile("f", "x", 640, User.Alice);
        User.Alice.Do(() => Ok(Native.SetXattr(P("f"), "user.a", "v"u8)));
        User.Bob.Do(() =>
        {
            Fails(Errno.EACCES, Native.GetXattr(P("f"), "user.a", new byte[8]));
            Fails(Errno.EACCES, Native.SetXattr(P("f"), "user.a", "w"u8));
            Fails(Errno.EACCES, Native.RemoveXattr(P("f"), "user.a"));
        });
        Ok(Native.Chmod(P("f"), O(644)));
        User.Bob.Do(() =>
        {
            Assert.Equal(1, Ok(Native.GetXattr(P("f"), "user.a", new byte[8])));
            Fails(Errno.EACCES, Native.SetXattr(P("f"), "user.a", "w"u8));
        });
        Ok(Native.Chmod(P("f"), O(666)));
        User.Bob.Do(() => Ok(Native.SetXattr(P("f"), "user.a", "w"u8)));
    }

    [Fact]
    public void TrustedAttributesAreInvisibleToOrdinaryUsers()
    {
        MakeFile("f", "x", 666, User.Alice);
        Ok(Native.SetXattr(P("f"), "trusted.a", "v"u8));
        Ok(Native.SetXattr(P("f"), "user.a", "v"u8));
        User.Alice.Do(() =>
        {
            Fails(Errno.ENODATA, Native.GetXattr(P("f"), "trusted.a", new byte[8]));
            Fails(Errno.EPERM, Native.SetXattr(P("f"), "trusted.a", "w"u8));
            Fails(Errno.EPERM, Native.RemoveXattr(P("f"), "trusted.a"));
            Assert.Equal(["user.a"], List(P("f")));
        });
    }

    [Fact]
    public void OnAStickyDirectoryUserAttributesAreForTheOwner()
    {
        MakeDirectory("d", 1777, User.Alice);
        User.Bob.Do(() => Fails(Errno.EPERM, Native.SetXattr(P("d"), "user.a", "v"u8)));
        User.Alice.Do(() => Ok(Native.SetXattr(P("d"), "user.a", "v"u8)));
    }

    [Fact]
    public void AttributesMoveCtimeOnly()
    {
        MakeFile("f", "x");
        Touches(Touch.Change, P("f"), () => Ok(Native.SetXattr(P("f"), "user.a", "v"u8)));
        Touches(Touch.Nothing, P("f"), () => Get(P("f"), "user.a"));
        Touches(Touch.Nothing, P("f"), () => List(P("f")));
        Touches(Touch.Change, P("f"), () => Ok(Native.RemoveXattr(P("f"), "user.a")));
        Touches(Touch.Nothing, P("f"), () => Fails(Errno.ENODATA, Native.RemoveXattr(P("f"), "user.a")));
    }

    [Fact]
    public void AHundredAttributesAreListed()
    {
        MakeFile("f", "x");
        string[] names = [.. Enumerable.Range(0, 100).Select(i => $"user.attribute{i:d3}")];
        foreach (string name in names)
        {
            Ok(Native.SetXattr(P("f"), name, Encoding.ASCII.GetBytes(name)));
        }
        Assert.Equal(names, List(P("f")));
        foreach (string name in names)
        {
            Assert.Equal(Encoding.ASCII.GetBytes(name), Get(P("f"), name));
        }
    }

    [Fact]
    public void AttributesBelongToTheFileAndNotToTheName()
    {
        MakeFile("f", "x");
        Ok(Native.SetXattr(P("f"), "user.a", "v"u8));
        Ok(Native.Link(P("f"), P("g")));
        Ok(Native.Rename(P("f"), P("h")));
        Assert.Equal("v"u8.ToArray(), Get(P("g"), "user.a"));
        Assert.Equal("v"u8.ToArray(), Get(P("h"), "user.a"));
        Ok(Native.Unlink(P("g")));
        Ok(Native.Unlink(P("h")));
        MakeFile("f", "y");
        Assert.Empty(List(P("f")));
    }

    [Fact]
    public void FileCapabilitiesGoWhenTheFileIsWritten()
    {
        MakeFile("f", "x", 755);
        // struct vfs_cap_data, version 2: cap_net_bind_service, permitted and effective.
        byte[] capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Ok(Native.SetXattr(P("f"), "security.capability", capability));
        Assert.Equal(20, Ok(Native.GetXattr(P("f"), "security.capability", new byte[24])));
        int fd = Open(P("f"), Native.O_WRONLY);
        WriteAll(fd, "y"u8, 0);
        Close(fd);
        Fails(Errno.ENODATA, Native.GetXattr(P("f"), "security.capability", new byte[24]));
    }
}
