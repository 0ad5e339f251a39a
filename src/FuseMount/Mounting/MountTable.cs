using System.Buffers;
using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Mounting;

/// <summary>One line of /proc/self/mountinfo, octal escapes resolved.</summary>
/// <param name="MountId">Number of the mount.</param>
/// <param name="ParentId">Number of the mount below it.</param>
/// <param name="Device"><c>major:minor</c>; for FUSE the minor is the number under /sys/fs/fuse/connections.</param>
/// <param name="Root">What of the file system is seen.</param>
/// <param name="MountPoint">Where.</param>
/// <param name="Options">Options of the mount.</param>
/// <param name="Type">File system type, with its subtype (<c>fuse.ephemeralfs</c>).</param>
/// <param name="Source">What the file system calls its source.</param>
/// <param name="SuperOptions">Options of the file system.</param>
public sealed record MountEntry(
    int MountId,
    int ParentId,
    string Device,
    string Root,
    string MountPoint,
    string Options,
    string Type,
    string Source,
    string SuperOptions);

/// <summary>What is mounted where, as this process sees it (proc(5), <c>/proc/[pid]/mountinfo</c>).</summary>
public static class MountTable
{
    /// <summary>The type of our file systems.</summary>
    public const string FileSystemType = "fuse.ephemeralfs";

    private const string Path = "/proc/self/mountinfo";

    /// <summary>Reads the table, oldest mount first.</summary>
    public static IReadOnlyList<MountEntry> Read() => Parse(File.ReadLines(Path));

    /// <summary>The mount whose root is <paramref name="path"/> (absolute, without symbolic links): the topmost of several, or null.</summary>
    public static MountEntry? Find(string path)
    {
        string wanted = path.Length > 1 ? path.TrimEnd('/') : path;
        return ReadContaining($" {Escape(wanted)} ").LastOrDefault(m => m.MountPoint == wanted);
    }

    /// <summary>The mounts of a type and source, oldest first.</summary>
    public static IEnumerable<MountEntry> Find(string type, string source) =>
        ReadContaining($" {Escape(type)} {Escape(source)} ").Where(m => m.Type == type && m.Source == source);

    /// <summary>Lines that have these characters. A node with hundreds of pods has thousands of lines: the others are passed over as bytes.</summary>
    private static IReadOnlyList<MountEntry> ReadContaining(string text)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(64 << 10);
        try
        {
            int length = 0;
            using (SafeFileHandle file = File.OpenHandle(Path))
            {
                for (int read; (read = RandomAccess.Read(file, buffer.AsSpan(length), length)) > 0;)
                {
                    length += read;
                    if (length == buffer.Length)
                    {
                        byte[] larger = ArrayPool<byte>.Shared.Rent(2 * length);
                        buffer.AsSpan(0, length).CopyTo(larger);
                        ArrayPool<byte>.Shared.Return(buffer);
                        buffer = larger;
                    }
                }
            }
            return Containing(buffer.AsSpan(0, length), text);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Parses the lines of a table that have these characters.</summary>
    public static IReadOnlyList<MountEntry> Containing(ReadOnlySpan<byte> table, string text)
    {
        byte[] wanted = Encoding.UTF8.GetBytes(text);
        var entries = new List<MountEntry>();
        for (int at; (at = table.IndexOf(wanted)) >= 0;)
        {
            int begin = table[..at].LastIndexOf((byte)'\n') + 1;
            int end = table[at..].IndexOf((byte)'\n') is var rest && rest < 0 ? table.Length : at + rest;
            if (ParseLine(Encoding.UTF8.GetString(table[begin..end])) is { } entry)
            {
                entries.Add(entry);
            }
            table = table[Math.Min(end + 1, table.Length)..];
        }
        return entries;
    }

    /// <summary>As the kernel writes what would end a field: <c>\ooo</c>.</summary>
    private static string Escape(string text) => text.AsSpan().IndexOfAny(" \t\n\\") < 0
        ? text
        : text.Replace("\\", @"\134", StringComparison.Ordinal).Replace(" ", @"\040", StringComparison.Ordinal)
            .Replace("\t", @"\011", StringComparison.Ordinal).Replace("\n", @"\012", StringComparison.Ordinal);

    /// <summary>Parses lines; those that are not of the form are passed over.</summary>
    public static IReadOnlyList<MountEntry> Parse(IEnumerable<string> lines)
    {
        var entries = new List<MountEntry>();
        foreach (string line in lines)
        {
            if (ParseLine(line) is { } entry)
            {
                entries.Add(entry);
            }
        }
        return entries;
    }

    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    private static MountEntry? ParseLine(string line)
    {
        string[] fields = line.Split(' ');
        int separator = Array.IndexOf(fields, "-", Math.Min(6, fields.Length));
        if (separator < 0
            || fields.Length < separator + 4
            || !int.TryParse(fields[0], CultureInfo.InvariantCulture, out int id)
            || !int.TryParse(fields[1], CultureInfo.InvariantCulture, out int parent))
        {
            return null;
        }
        return new MountEntry(
            id, parent, fields[2], Unescape(fields[3]), Unescape(fields[4]), fields[5], Unescape(fields[separator + 1]),
            Unescape(fields[separator + 2]), Unescape(fields[separator + 3]));
    }

    /// <summary>Resolves <c>\ooo</c>, which stands for space, tab, newline, backslash and '#'.</summary>
    public static string Unescape(string text)
    {
        if (!text.Contains('\\', StringComparison.Ordinal))
        {
            return text;
        }
        // Escapes stand for bytes of UTF-8.
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        int length = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] == '\\' && i + 3 < bytes.Length && IsOctal(bytes[i + 1]) && IsOctal(bytes[i + 2]) && IsOctal(bytes[i + 3]))
            {
                bytes[length++] = (byte)(((bytes[i + 1] - '0') << 6) | ((bytes[i + 2] - '0') << 3) | (bytes[i + 3] - '0'));
                i += 3;
            }
            else
            {
                bytes[length++] = bytes[i];
            }
        }
        return Encoding.UTF8.GetString(bytes, 0, length);
    }

    private static bool IsOctal(byte b) => b is >= (byte)'0' and <= (byte)'7';
}
