using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Counts pages before extents change, so that the quota decides first.</summary>
internal static class ExtentEdit
{
    private const ulong Page = Limits.PageSizeBytes;

    /// <summary>How many pages the extents touch that the file does not touch yet. They are sorted; each starts <paramref name="shift"/> later in the file.</summary>
    public static ulong NewPages(FileContent? file, ReadOnlySpan<Extent> extents, ulong shift)
    {
        var pages = 0UL;
        var next = 0UL;
        foreach (ref readonly var extent in extents)
        {
            var from = Math.Max(next, (extent.FileOffset + shift) / Page);
            var to = FileContent.PageEnd(extent.End + shift);
            if (to > from)
            {
                pages += to - from - (file?.CountPages(from, to) ?? 0);
                next = to;
            }
        }

        return pages;
    }

    /// <summary>By how many pages the file changes when [<paramref name="start"/>, <paramref name="end"/>) is replaced by the extents, which lie within.</summary>
    public static long PageChange(FileContent? file, ReadOnlySpan<Extent> extents, ulong start, ulong end)
    {
        var first = start / Page;
        var last = FileContent.PageEnd(end);
        var before = file?.CountPages(first, last) ?? 0;
        var after = 0UL;
        var next = first;
        if (file?.AnyIn(first * Page, start) == true)
        {
            after++;
            next++;
        }

        foreach (ref readonly var extent in extents)
        {
            var from = Math.Max(next, extent.FileOffset / Page);
            var to = FileContent.PageEnd(extent.End);
            if (to > from)
            {
                after += to - from;
                next = to;
            }
        }

        if (next < last && file?.AnyIn(end, last * Page) == true)
        {
            after++;
        }

        return (long)after - (long)before;
    }
}
