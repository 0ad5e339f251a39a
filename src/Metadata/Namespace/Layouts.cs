using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>Tells where the bytes of a file are.</summary>
public static class Layouts
{
    /// <summary>Extents in the answer to an open: enough for most files, little enough to be kept in a slot.</summary>
    public const int ExtentsPerOpen = 64;

    /// <summary>The layout of [<paramref name="offset"/>, <paramref name="offset"/> + <paramref name="length"/>), at most <paramref name="max"/> extents of it.</summary>
    public static LayoutReply Of(Inode inode, ulong offset, ulong length, int max)
    {
        var end = length > ulong.MaxValue - offset ? ulong.MaxValue : offset + length;
        var file = inode.File;
        if (file?.Extents is not { } extents)
        {
            return new LayoutReply(inode.Attributes, file is { Inline.Length: > 0 }, file?.Inline, [], end);
        }

        List<Extent> found = [];
        for (var at = extents.Find(offset); at.IsValid && at.Current.FileOffset < end; at.Next())
        {
            if (found.Count == max)
            {
                end = at.Current.FileOffset;
                break;
            }

            found.Add(at.Current);
        }

        return new LayoutReply(inode.Attributes, file.Inline.Length > 0, file.Inline, [.. found], end);
    }

    /// <summary>The answer to an open.</summary>
    public static OpenReply Opened(Inode inode, DataMode mode, bool created) =>
        new(mode, created, Of(inode, 0, ulong.MaxValue, ExtentsPerOpen));
}
