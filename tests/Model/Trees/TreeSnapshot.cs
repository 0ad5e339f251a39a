using System.Security.Cryptography;
using EphemeralFs.Tests.Model.Native;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Trees;

/// <summary>A whole tree, read through system calls only, in the order of its paths.</summary>
public sealed class TreeSnapshot
{
    private const int MaxDepth = 200;
    private const int ReadSize = 1 << 20;

    private readonly Calls calls;
    private readonly TreeOptions options;
    private readonly byte[] directoryBuffer = new byte[64 << 10];
    private readonly byte[] data = new byte[ReadSize];

    private TreeSnapshot(Calls calls, string root, TreeOptions options)
    {
        this.calls = calls;
        this.options = options;
        Root = root;
    }

    /// <summary>The directory that was read (byte text).</summary>
    public string Root { get; }

    public SortedDictionary<string, TreeEntry> Entries { get; } = new(StringComparer.Ordinal);

    /// <summary>Reads the tree below <paramref name="root"/> (byte text). What cannot be read becomes a <see cref="TreeEntry.Fault"/>.</summary>
    public static TreeSnapshot Read(string root, TreeOptions options, Calls? calls = null)
    {
        var snapshot = new TreeSnapshot(calls ?? Calls.Linux, root, options);
        snapshot.Add(".", root, listed: null, depth: 0);
        var firstNames = new Dictionary<(ulong, ulong), string>();
        foreach (var entry in snapshot.Entries.Values)
        {
            firstNames.TryAdd((entry.Status.FileSystem, entry.Status.Ino), entry.Path);
            entry.FirstName = firstNames[(entry.Status.FileSystem, entry.Status.Ino)];
        }
        return snapshot;
    }

    private void Add(string relative, string path, DirectoryEntry? listed, int depth)
    {
        if (options.Skip(relative))
        {
            return;
        }
        int result = calls.Stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, out var status);
        if (result < 0)
        {
            Entries[relative] = new TreeEntry { Path = relative, Status = status, Fault = $"listed, but lstat fails with {Errors.Name(-result)}" };
            return;
        }
        string fault = listed is { } entry ? Contradiction(entry, status) : "";
        string target = "", hash = "";
        if (status.IsSymlink)
        {
            (int error, target) = calls.ReadLink(path);
            fault += error < 0 ? $"readlink fails with {Errors.Name(-error)} " : "";
        }
        else if (status.IsFile)
        {
            (hash, string problem) = Hash(path, status.Size);
            fault += problem;
        }
        var xattrs = options.Xattrs ? Xattrs(path, ref fault) : [];
        Entries[relative] = new TreeEntry { Path = relative, Status = status, ContentHash = hash, Target = target, Xattrs = xattrs, Fault = fault };
        if (status.IsDirectory)
        {
            AddChildren(relative, path, depth);
        }
    }

    private void AddChildren(string relative, string path, int depth)
    {
        if (depth >= MaxDepth)
        {
            Entries[relative] = Entries[relative] with { Fault = $"deeper than {MaxDepth} directories" };
            return;
        }
        int fd = calls.Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
        {
            Entries[relative] = Entries[relative] with { Fault = $"opendir fails with {Errors.Name(-fd)}" };
            return;
        }
        var children = new List<DirectoryEntry>();
        int read;
        while ((read = calls.ReadDirectory(fd, directoryBuffer, children)) > 0)
        {
        }
        string fault = read < 0 ? $"getdents fails with {Errors.Name(-read)} " : "";
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var child in children)
        {
            fault += seen.Add(child.Name) ? "" : $"{ByteText.Show(child.Name)} is listed twice ";
        }
        fault += seen.Contains(".") && seen.Contains("..") ? "" : "'.' or '..' is not listed ";
        if (fault.Length > 0)
        {
            Entries[relative] = Entries[relative] with { Fault = Entries[relative].Fault + fault };
        }
        seen.Remove(".");
        seen.Remove("..");
        foreach (var child in children.Where(child => seen.Remove(child.Name)))
        {
            // Through the open directory: one lookup for each call however deep the tree is.
            Add(relative == "." ? child.Name : $"{relative}/{child.Name}", $"/proc/self/fd/{fd}/{child.Name}", child, depth + 1);
        }
        calls.Close(fd);
    }

    private static string Contradiction(DirectoryEntry listed, in FileStatus status)
    {
        uint type = (status.Mode & S_IFMT) >> 12;
        string fault = listed.Type != 0 && listed.Type != type ? $"d_type {listed.Type} but type {type} " : "";
        return listed.Ino != status.Ino ? $"{fault}d_ino {listed.Ino} but st_ino {status.Ino} " : fault;
    }

    private (string Hash, string Fault) Hash(string path, long size)
    {
        int fd = calls.Open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
        if (fd < 0)
        {
            return ("", $"open fails with {Errors.Name(-fd)} ");
        }
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        long total = 0, read;
        while ((read = calls.Read(fd, data)) > 0)
        {
            hash.AppendData(data, 0, (int)read);
            total += read;
        }
        calls.Close(fd);
        string fault = read < 0 ? $"read fails with {Errors.Name((int)-read)} at {total} "
            : total != size ? $"st_size {size} but {total} bytes were read " : "";
        return (total == 0 ? "" : Convert.ToHexStringLower(hash.GetHashAndReset()), fault);
    }

    private List<(string, string)> Xattrs(string path, ref string fault)
    {
        (int error, string[] names) = calls.ListXattrs(path);
        if (error < 0)
        {
            fault += $"listxattr fails with {Errors.Name(-error)} ";
        }
        var xattrs = new List<(string, string)>();
        foreach (string name in names)
        {
            long length = calls.GetXattr(path, name, data.AsSpan(0, 64 << 10));
            xattrs.Add((name, length < 0 ? Errors.Name((int)-length) : Convert.ToHexStringLower(data.AsSpan(0, (int)length))));
        }
        return xattrs;
    }
}
