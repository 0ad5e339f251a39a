using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>The bytes of a regular file: a prefix that lives in the metadata record, then extents. What neither covers is a hole.</summary>
/// <remarks>Extents never overlap the inline prefix. Most files have the one or the other; both occur when something is appended to an inline
/// file by reference, or allocated behind its bytes.</remarks>
public sealed class FileContent
{
    private const ulong Page = Limits.PageSizeBytes;

    /// <summary>Bytes [0, length) of the file.</summary>
    public byte[] Inline { get; set; } = [];

    /// <summary>The extents, null while there are none.</summary>
    public ExtentMap? Extents { get; set; }

    /// <summary>Whether the file has neither inline bytes nor extents.</summary>
    public bool IsEmpty => Inline.Length == 0 && Extents is null or { Count: 0 };

    /// <summary>The page behind the last one that contains a byte below <paramref name="offset"/>.</summary>
    public static ulong PageEnd(ulong offset) => (offset + Page - 1) / Page;

    /// <summary>How many of the pages [<paramref name="first"/>, <paramref name="end"/>) are touched by inline bytes or extents.</summary>
    public ulong CountPages(ulong first, ulong end)
    {
        var next = first;
        var count = 0UL;
        var inlineEnd = Math.Min(end, PageEnd((ulong)Inline.Length));
        if (inlineEnd > next)
        {
            count = inlineEnd - next;
            next = inlineEnd;
        }

        if (Extents is null || next >= end)
        {
            return count;
        }

        for (var at = Extents.Find(next * Page); at.IsValid; at.Next())
        {
            ref readonly var extent = ref at.Current;
            var from = Math.Max(next, extent.FileOffset / Page);
            if (from >= end)
            {
                break;
            }

            var to = Math.Min(end, PageEnd(extent.End));
            if (to > from)
            {
                count += to - from;
                next = to;
            }
        }

        return count;
    }

    /// <summary>Whether any byte of [<paramref name="start"/>, <paramref name="end"/>) is inline or in an extent.</summary>
    public bool AnyIn(ulong start, ulong end)
    {
        if (start >= end)
        {
            return false;
        }

        if (start < (ulong)Inline.Length)
        {
            return true;
        }

        if (Extents is null)
        {
            return false;
        }

        var at = Extents.Find(start);
        return at.IsValid && at.Current.FileOffset < end;
    }

    /// <summary>Takes [<paramref name="start"/>, <paramref name="end"/>) out: it is a hole afterwards. Inline bytes inside are cut off when they are the
    /// last ones and zeroed otherwise. Returns whether anything was there.</summary>
    public bool Remove(ulong start, ulong end, BlockTable blocks)
    {
        var changed = false;
        if (start < (ulong)Inline.Length)
        {
            changed = true;
            if (end >= (ulong)Inline.Length)
            {
                Inline = Inline[..(int)start];
            }
            else
            {
                var bytes = (byte[])Inline.Clone();
                bytes.AsSpan((int)start, (int)(end - start)).Clear();
                Inline = bytes;
            }
        }

        if (Extents is not null)
        {
            changed |= Extents.Remove(start, end, blocks);
            DropEmptyExtents();
        }

        return changed;
    }

    /// <summary>Drops written extents and keeps space that was allocated but not written.</summary>
    public void RemoveWritten(BlockTable blocks)
    {
        if (Extents is null)
        {
            return;
        }

        List<Extent> kept = [];
        for (var at = Extents.Find(0); at.IsValid; at.Next())
        {
            if (at.Current.IsUnwritten)
            {
                kept.Add(at.Current);
            }
        }

        Extents.Clear(blocks);
        foreach (var extent in kept)
        {
            Extents.Insert(extent, blocks);
        }

        DropEmptyExtents();
    }

    /// <summary>Inserts an extent where nothing is.</summary>
    public void Insert(in Extent extent, BlockTable blocks) => (Extents ??= new ExtentMap()).Insert(extent, blocks);

    /// <summary>Fills the holes of [<paramref name="start"/>, <paramref name="end"/>) with allocated, unwritten space.</summary>
    public void Allocate(ulong start, ulong end, BlockTable blocks)
    {
        var next = Math.Max(start, (ulong)Inline.Length);
        while (next < end)
        {
            var stop = end;
            var skipTo = end;
            if (Extents is not null)
            {
                var at = Extents.Find(next);
                if (at.IsValid && at.Current.FileOffset < end)
                {
                    stop = at.Current.FileOffset;
                    skipTo = at.Current.End;
                }
            }

            if (stop > next)
            {
                Insert(new Extent(next, stop - next, BlockId.Unwritten, 0, 0), blocks);
            }

            next = skipTo;
        }
    }

    private void DropEmptyExtents()
    {
        if (Extents is { Count: 0 })
        {
            Extents = null;
        }
    }
}
