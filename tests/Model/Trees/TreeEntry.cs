using System.Globalization;
using EphemeralFs.Tests.Model.Native;

namespace EphemeralFs.Tests.Model.Trees;

/// <summary>One name of a tree with everything that two file systems must agree on.</summary>
public sealed record TreeEntry
{
    /// <summary>Relative to the root of the tree, byte text; the root itself is ".".</summary>
    public required string Path { get; init; }

    public required FileStatus Status { get; init; }

    /// <summary>SHA-256 of a regular file's bytes, in hexadecimal; empty for every other type.</summary>
    public string ContentHash { get; init; } = "";

    public string Target { get; init; } = "";

    /// <summary>Names and values, sorted by name, values in hexadecimal.</summary>
    public IReadOnlyList<(string Name, string Value)> Xattrs { get; init; } = [];

    /// <summary>What could not be read, or contradicts itself (a listed name that is not there, a wrong d_type or d_ino); empty if all is well.</summary>
    public string Fault { get; init; } = "";

    /// <summary>The first path (in order) that names the same inode: equal in both trees if hard links are.</summary>
    public string FirstName { get; set; } = "";

    /// <summary>Every compared property as (name, value), in the order in which a reader wants to see them.</summary>
    public IEnumerable<(string Name, string Value)> Properties(TreeOptions options)
    {
        yield return ("fault", Fault);
        yield return ("type", Status.Type.ToString());
        yield return ("mode", Convert.ToString(Status.Mode & 0xFFF, 8).PadLeft(4, '0'));
        if (options.Owners)
        {
            yield return ("uid", Number(Status.Uid));
            yield return ("gid", Number(Status.Gid));
        }
        yield return ("nlink", Number(Status.Links));
        if (Status.IsFile || Status.IsSymlink)
        {
            yield return ("size", Number(Status.Size));
        }
        if (Status.IsDevice)
        {
            yield return ("device", $"{Status.DeviceMajor}:{Status.DeviceMinor}");
        }
        yield return ("target", ByteText.Show(Target));
        yield return ("content", ContentHash);
        if (!Status.IsDirectory)
        {
            yield return ("same file as", ByteText.Show(FirstName));
        }
        switch (Status.IsDirectory ? options.DirectoryTimes : options.FileTimes)
        {
            case TimeRule.Explicit:
                yield return ("mtime", Status.Modify.ToString());
                break;
            case TimeRule.Exact:
                yield return ("mtime", $"{Status.Modify.Seconds}.{Status.Modify.Nanoseconds:d9}");
                break;
            default:
                break;
        }
        if (options.Xattrs)
        {
            yield return ("xattrs", string.Join(" ", Xattrs.Select(x => $"{ByteText.Show(x.Name)}={x.Value}")));
        }
    }

    private static string Number<T>(T value) where T : IFormattable => value.ToString(null, CultureInfo.InvariantCulture);
}
