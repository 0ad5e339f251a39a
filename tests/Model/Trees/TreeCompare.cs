using System.Globalization;
using System.Text;
using EphemeralFs.Tests.Model.Native;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Trees;

/// <summary>
/// Compares two trees whole: names, types, modes, owners, link counts, sizes, contents, link targets, xattrs, times by rule,
/// device numbers, which names are one file, and whether each tree agrees with itself.
/// </summary>
public static class TreeCompare
{
    /// <summary>The first differences for people to read, one per line; empty when the trees are equal. Paths are ordinary text.</summary>
    public static string Differences(string reference, string subject, TreeOptions? options = null)
    {
        options ??= new TreeOptions();
        return Differences(TreeSnapshot.Read(ByteText.FromText(reference), options), TreeSnapshot.Read(ByteText.FromText(subject), options), options);
    }

    /// <summary>As above for trees that were read before; files whose content differs are read again to show where.</summary>
    public static string Differences(TreeSnapshot reference, TreeSnapshot subject, TreeOptions options, Calls? subjectCalls = null)
    {
        var report = new StringBuilder();
        int count = 0;
        foreach (string path in reference.Entries.Keys.Union(subject.Entries.Keys).Order(StringComparer.Ordinal))
        {
            string line = Difference(path, reference, subject, options, subjectCalls ?? Calls.Linux);
            if (line.Length > 0 && ++count <= options.MaxReported)
            {
                report.AppendLine(line);
            }
        }
        if (count > options.MaxReported)
        {
            report.AppendLine(CultureInfo.InvariantCulture, $"… and {count - options.MaxReported} more");
        }
        return count == 0 ? "" : $"{count} of {reference.Entries.Count} names differ between reference {ByteText.Show(reference.Root)} " +
            $"and subject {ByteText.Show(subject.Root)}:\n{report}";
    }

    private static string Difference(string path, TreeSnapshot reference, TreeSnapshot subject, TreeOptions options, Calls subjectCalls)
    {
        bool inReference = reference.Entries.TryGetValue(path, out var expected);
        bool inSubject = subject.Entries.TryGetValue(path, out var found);
        if (!inReference || !inSubject)
        {
            var only = (inReference ? expected : found)!;
            return $"  {ByteText.Show(path)}: only in the {(inReference ? "reference" : "subject")} (type {only.Status.Type}, {only.Status.Size} bytes) {only.Fault}";
        }
        var wanted = expected!.Properties(options).ToDictionary(property => property.Name, property => property.Value);
        var have = found!.Properties(options).ToDictionary(property => property.Name, property => property.Value);
        var parts = new List<string>();
        foreach (string name in wanted.Keys.Union(have.Keys))
        {
            string left = wanted.GetValueOrDefault(name, "-"), right = have.GetValueOrDefault(name, "-");
            if (left != right)
            {
                parts.Add(name == "content" && left.Length > 1 && right.Length > 1
                    ? FirstDifferentByte($"{reference.Root}/{path}", $"{subject.Root}/{path}", subjectCalls)
                    : $"{name} is {Quote(right)}, not {Quote(left)}");
            }
        }
        return parts.Count == 0 ? "" : $"  {ByteText.Show(path)}: {string.Join("; ", parts)}";
    }

    private static string Quote(string value) => value.Length == 0 ? "(none)" : value.Length > 300 ? value[..300] + "…" : value;

    private static string FirstDifferentByte(string reference, string subject, Calls subjectCalls)
    {
        byte[] left = new byte[1 << 20], right = new byte[1 << 20];
        int leftFd = Calls.Linux.Open(reference, O_RDONLY | O_NOFOLLOW, 0), rightFd = subjectCalls.Open(subject, O_RDONLY | O_NOFOLLOW, 0);
        try
        {
            for (long offset = 0; leftFd >= 0 && rightFd >= 0; offset += left.Length)
            {
                int leftLength = Fill(Calls.Linux, leftFd, left, offset), rightLength = Fill(subjectCalls, rightFd, right, offset);
                int same = left.AsSpan(0, leftLength).CommonPrefixLength(right.AsSpan(0, rightLength));
                if (same < Math.Max(leftLength, rightLength))
                {
                    int differing = 0;
                    for (int i = same; i < Math.Min(leftLength, rightLength); i++)
                    {
                        differing += left[i] != right[i] ? 1 : 0;
                    }
                    return $"content differs first at byte {offset + same} ({differing} bytes in this MiB): " +
                        $"{Hex(right, same, rightLength)} instead of {Hex(left, same, leftLength)}";
                }
                if (leftLength < left.Length)
                {
                    break;
                }
            }
            return "content differed when the trees were read, and no longer does";
        }
        finally
        {
            Calls.Linux.Close(leftFd);
            subjectCalls.Close(rightFd);
        }
    }

    private static string Hex(byte[] bytes, int from, int length) =>
        from >= length ? "(end)" : Convert.ToHexStringLower(bytes, from, Math.Min(16, length - from));

    private static int Fill(Calls calls, int fd, byte[] buffer, long offset)
    {
        int total = 0;
        while (total < buffer.Length)
        {
            long read = calls.ReadAt(fd, buffer.AsSpan(total), offset + total);
            if (read <= 0)
            {
                break;
            }
            total += (int)read;
        }
        return total;
    }
}
