using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Names are bytes: everything but NUL and slash is a name.</summary>
public abstract class NameChecks(ITestTarget target) : PosixChecks(target)
{
    public static TheoryData<string> StrangeNames =>
    [
        " ", "  leading and trailing  ", "new\nline", "\n", "tab\t", "\r", "back\\slash", "quote\"'`", "*?[a-z]", "-rf", "--", "...", ".hidden", "~", "$HOME", "%n%s",
        "\x01\x02\x1f\x7f", "\u00ff", "\u00ff\u00fe", "\u00c3", "\u00c3\u00a9", "\u00e2\u0082\u00ac", "e\u00cc\u0081", "\u00ed\u00a0\u0080", "\u00f0\u009f\u0098\u0080",
        "A", "a", "CON", "nul", "name.", "name ", ":", "c:\\windows",
    ];

    [Theory, MemberData(nameof(StrangeNames))]
    public void AnyNameCanBeMadeListedRenamedAndRemoved(string name)
    {
        string path = MakeFile(name, "content");
        Assert.Equal([name], Names(Scratch));
        Assert.Equal("content", ReadText(path));
        Ok(Native.Rename(path, P("plain")));
        Fails(Errno.ENOENT, Native.Stat(path, out _));
        Ok(Native.Rename(P("plain"), path));
        Ok(Native.Link(path, P("second")));
        Ok(Native.Unlink(path));
        Assert.Equal(["second"], Names(Scratch));
    }

    [Theory, MemberData(nameof(StrangeNames))]
    public void ADirectoryOfAnyNameIsADirectory(string name)
    {
        MakeDirectory(name);
        MakeFile(name + "/below", "x");
        Assert.Equal(["below"], Names(P(name)));
        Ok(Native.Unlink(P(name + "/below")));
        Ok(Native.Rmdir(P(name)));
    }

    [Theory, MemberData(nameof(StrangeNames))]
    public void ASymbolicLinkKeepsAnyBytes(string name)
    {
        Ok(Native.Symlink(name, P("link")));
        Assert.Equal(name, Readlink(P("link")));
        Assert.Equal((ulong)name.Length, Stat(P("link")).Size);
    }

    [Fact]
    public void EveryByteMakesADifferentName()
    {
        string[] names = [.. Enumerable.Range(1, 255).Where(b => b is not ('/' or '.')).Select(b => $"{(char)b}")];
        foreach (string name in names)
        {
            MakeFile(name, name);
        }
        Assert.Equal(names, Names(Scratch));
        foreach (string name in names)
        {
            Assert.Equal(name, ReadText(P(name)));
        }
    }

    [Fact]
    public void TwoFormsOfOneLetterAreTwoNames()
    {
        // U+00E9 composed and decomposed: a file system that normalizes would make them one.
        MakeFile("\u00c3\u00a9", "composed");
        MakeFile("e\u00cc\u0081", "decomposed");
        Assert.Equal("composed", ReadText(P("\u00c3\u00a9")));
        Assert.Equal("decomposed", ReadText(P("e\u00cc\u0081")));
    }

    [Fact]
    public void CaseIsKeptApart()
    {
        MakeFile("Name", "upper");
        MakeFile("name", "lower");
        Assert.Equal("upper", ReadText(P("Name")));
        Ok(Native.Unlink(P("name")));
        Assert.Equal(["Name"], Names(Scratch));
    }

    [Fact]
    public void NamesOf255BytesThatDifferInTheLastAreDifferent()
    {
        string stem = new('\u00ff', 254);
        MakeFile(stem + "a", "a");
        MakeFile(stem + "b", "b");
        Assert.Equal("a", ReadText(P(stem + "a")));
        Assert.Equal("b", ReadText(P(stem + "b")));
    }

    [Fact]
    public void AnEmptyNameAndTheDotsCannotBeMadeOrRemoved()
    {
        MakeDirectory("dir");
        Fails(Errno.ENOENT, Native.Mkdir("", O(755)));
        Fails(Errno.EEXIST, Native.Mkdir(P("dir/."), O(755)));
        Fails(Errno.EEXIST, Native.Mkdir(P("dir/.."), O(755)));
        Fails(Errno.EINVAL, Native.Rmdir(P("dir/.")));
        Fails(Errno.ENOTEMPTY, Native.Rmdir(P("dir/..")));
        Fails(Errno.EBUSY, Native.Rename(P("dir/."), P("other")));
        Fails(Errno.EBUSY, Native.Rename(P("dir/.."), P("other")));
    }

    [Fact]
    public void ATreeOfTwoHundredLevelsCanBeBuiltAndWalked()
    {
        string path = Scratch;
        for (int depth = 0; depth < 200; depth++)
        {
            path += $"/level{depth}";
            Ok(Native.Mkdir(path, O(755)));
        }
        Ok(Native.Close(Ok(Native.Open(path + "/leaf", Native.O_CREAT | Native.O_WRONLY, O(644)))));
        Assert.Equal(["leaf"], Names(path));
        User.Root.Do(() =>
        {
            Ok(Native.Chdir(path));
            Assert.Equal(path, Native.Getcwd());
        });
    }
}
