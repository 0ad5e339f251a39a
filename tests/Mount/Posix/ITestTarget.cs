namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>A directory on the file system to judge. Checks make what they need below it and take it away again.</summary>
public interface ITestTarget
{
    /// <summary>An absolute path of ASCII characters without a slash at the end, searchable by every user.</summary>
    string Path { get; }
}
