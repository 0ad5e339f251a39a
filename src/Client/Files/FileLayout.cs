using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>What the node knows of where a file's committed bytes are. Not thread-safe: the file's lock guards it.</summary>
public sealed class FileLayout
{
    private readonly List<Extent> _extents = [];

    /// <summary>The committed bytes of a small file, when <see cref="IsInline"/>.</summary>
    public ReadOnlyMemory<byte> Inline { get; private set; }

    /// <summary>Whether the file begins with <see cref="Inline"/> bytes; extents may follow them (what was appended by reference).</summary>
    public bool IsInline { get; private set; }

    /// <summary>The layout is known from the beginning of the file up to here.</summary>
    public ulong CoveredEnd { get; private set; }

    /// <summary>The version of the file's bytes that this tells of (<see cref="InodeAttributes.DataVersion"/>); 0 when nothing is known.</summary>
    public ulong Version { get; private set; }

    /// <summary>The known extents.</summary>
    public IReadOnlyList<Extent> Extents => _extents;

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _extents.Clear();
        Inline = default;
        IsInline = false;
        CoveredEnd = 0;
        Version = 0;
    }

    /// <summary>Takes what the server answered for a range that began at <paramref name="offset"/> (0, or <see cref="CoveredEnd"/>); forgets everything when the parts
    /// are of different versions.</summary>
    public void Learn(ulong offset, in LayoutReply reply)
    {
        var version = reply.Attributes.DataVersion;
        if (offset == 0 || version != Version)
        {
            Clear();
            if (offset > 0)
            {
                return;
            }
        }

        Version = version;
        IsInline = reply.IsInline;
        Inline = reply.Inline;
        foreach (ref readonly var extent in reply.Extents.AsSpan())
        {
            if (extent.End > offset)
            {
                _extents.Add(extent.FileOffset < offset ? extent.Slice(offset, extent.End) : extent);
            }
        }

        CoveredEnd = reply.CoveredEnd >= long.MaxValue ? ulong.MaxValue : Math.Max(reply.CoveredEnd, CoveredEnd);
    }

    /// <summary>A change of this node has made a version. If it is the next one, the layout is what that change makes of it; else others have changed the file as
    /// well, and everything is forgotten.</summary>
    /// <returns>Whether it is the next one.</returns>
    public bool Advance(ulong version)
    {
        if (version != Version + 1)
        {
            Clear();
            return false;
        }

        Version = version;
        return true;
    }

    /// <summary>The file's bytes are inline from now on.</summary>
    public void SetInline(ReadOnlyMemory<byte> bytes)
    {
        var version = Version;
        Clear();
        Version = version;
        IsInline = true;
        Inline = bytes;
        CoveredEnd = ulong.MaxValue;
    }

    /// <summary>New extents replace what was in their ranges.</summary>
    public void Replace(ReadOnlySpan<Extent> extents)
    {
        if (IsInline)
        {
            IsInline = false;
            Inline = default;
        }

        foreach (ref readonly var extent in extents)
        {
            if (extent.FileOffset >= CoveredEnd)
            {
                continue;
            }

            Remove(extent.FileOffset, extent.End);
            _extents.Insert(Find(extent.FileOffset), extent);
        }
    }

    /// <summary>Cuts everything from <paramref name="size"/> on.</summary>
    public void Truncate(ulong size)
    {
        if (IsInline)
        {
            Inline = Inline[..(int)Math.Min((ulong)Inline.Length, size)];
        }

        Remove(size, ulong.MaxValue);
    }

    /// <summary>Takes a range out.</summary>
    public void Remove(ulong start, ulong end)
    {
        var index = Find(start);
        if (index < _extents.Count && _extents[index].FileOffset < start)
        {
            var extent = _extents[index];
            _extents[index] = extent.Slice(extent.FileOffset, start);
            index++;
            if (extent.End > end)
            {
                _extents.Insert(index, extent.Slice(end, extent.End));
                return;
            }
        }

        var last = index;
        while (last < _extents.Count && _extents[last].End <= end)
        {
            last++;
        }

        _extents.RemoveRange(index, last - index);
        if (index < _extents.Count && _extents[index].FileOffset < end)
        {
            _extents[index] = _extents[index].Slice(end, _extents[index].End);
        }
    }

    /// <summary>Index of the first extent that ends after <paramref name="offset"/>.</summary>
    public int Find(ulong offset)
    {
        int low = 0, high = _extents.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_extents[middle].End <= offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    /// <summary>Whether every byte of the page that holds <paramref name="offset"/> is charged already: some extent or inline byte lies in it.</summary>
    public bool IsPageAllocated(ulong offset)
    {
        var page = offset / Limits.PageSizeBytes * Limits.PageSizeBytes;
        if (page < (ulong)Inline.Length)
        {
            return true;
        }

        var index = Find(page);
        return index < _extents.Count && _extents[index].FileOffset < page + Limits.PageSizeBytes;
    }
}
