using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>What must be true of a volume's state between any two operations, counted from scratch.</summary>
internal static class Invariants
{
    public static void Check(VolumeState v)
    {
        var inodes = v.Inodes.Sorted();
        var names = new Dictionary<ulong, uint>();
        var subdirectories = new Dictionary<ulong, uint>();
        var references = new Dictionary<ulong, int>();
        var used = 0UL;
        var dentries = 0L;
        var openers = new Dictionary<(ulong Session, ulong Ino), (int Readers, int Writers)>();
        foreach (var inode in inodes)
        {
            Assert.Same(inode, v.Inodes.Find(inode.Ino));
            used += inode.Attributes.AllocatedBytes;
            switch (inode.Content)
            {
                case DirectoryContent directory:
                    dentries += CheckDirectory(v, inode, directory, names, subdirectories);
                    break;
                case FileContent file:
                    CheckFile(inode, file, references);
                    break;
            }

            if (inode.Content is null)
            {
                Assert.Equal(0UL, inode.Attributes.AllocatedBytes);
            }

            if (inode.Extras is { } extras)
            {
                Assert.False(extras.IsEmpty);
                foreach (var opener in extras.Openers)
                {
                    Assert.True(opener.Readers + opener.Writers > 0);
                    openers.Add((opener.Session, inode.Ino), (opener.Readers, opener.Writers));
                }
            }
        }

        foreach (var inode in inodes)
        {
            var links = inode.Attributes.IsDirectory
                ? inode.Attributes.Nlink == 0 ? 0 : 2 + subdirectories.GetValueOrDefault(inode.Ino)
                : names.GetValueOrDefault(inode.Ino);
            Assert.Equal(links, inode.Attributes.Nlink);
            Assert.True(inode.Attributes.Nlink > 0 || inode.IsOpen, $"inode {inode.Ino} has neither a name nor a handle");
        }

        Assert.Equal(used, v.UsedBytes);
        Assert.Equal(dentries, v.Dentries);
        Assert.Equal(v.Sessions.Values.Aggregate(0UL, (sum, s) => sum + s.GrantBytes), v.GrantedBytes);
        Assert.True(v.LimitBytes == 0 || v.UsedBytes + v.GrantedBytes <= v.LimitBytes);
        Assert.True(v.LimitInodes == 0 || v.UsedInodes <= v.LimitInodes);
        Assert.Equal(references.OrderBy(p => p.Key), v.Blocks.References.OrderBy(p => p.Key));
        var owners = references.Keys.Select(BlockId.VolumeOf).ToHashSet();
        Assert.Equal(references.Keys.Count(id => BlockId.VolumeOf(id) != v.Id), v.Blocks.CountOfOthers);
        Assert.All(owners, owner => Assert.True(v.Blocks.UsesBlocksOf(owner)));
        Assert.Equal(owners.Contains(v.Id), v.Blocks.UsesBlocksOf(v.Id));
        Assert.False(v.Blocks.UsesBlocksOf(v.Id + 1));
        var handles = v.Sessions.Values.SelectMany(s => s.Handles.Values.Select(h => (s.Id, h.Ino, h.Write)))
            .GroupBy(h => (h.Id, h.Ino)).ToDictionary(g => g.Key, g => (g.Count(h => !h.Write), g.Count(h => h.Write)));
        Assert.Equal(handles.OrderBy(p => p.Key), openers.OrderBy(p => p.Key));
        foreach (var queue in v.Blocks.DeleteQueues.Values)
        {
            foreach (var id in queue.Ids)
            {
                Assert.False(references.ContainsKey(id), "a block in use is queued for deletion");
            }
        }
    }

    private static int CheckDirectory(
        VolumeState v, Inode inode, DirectoryContent directory, Dictionary<ulong, uint> names, Dictionary<ulong, uint> subdirectories)
    {
        var count = 0;
        var last = DirectoryContent.DotDotCookie;
        var position = directory.PositionAfter(0);
        while (directory.TryRead(ref position, out var item))
        {
            count++;
            Assert.True(item.Cookie > last && item.Cookie < directory.NextCookie);
            last = item.Cookie;
            Assert.Equal(item.Ino, directory.Find(item.Name.Span));
            var child = v.Inodes.Find(item.Ino);
            Assert.NotNull(child);
            Assert.Equal((byte)((child.Attributes.Mode & Core.FileMode.TypeMask) >> 12), item.Type);
            names[item.Ino] = names.GetValueOrDefault(item.Ino) + 1;
            if (child.Attributes.IsDirectory)
            {
                Assert.Equal(inode.Ino, child.Directory.Parent);
                Assert.Equal(1U, names[item.Ino]);
                subdirectories[inode.Ino] = subdirectories.GetValueOrDefault(inode.Ino) + 1;
            }
        }

        Assert.Equal(directory.Count, count);
        return count;
    }

    private static void CheckFile(Inode inode, FileContent file, Dictionary<ulong, int> references)
    {
        Assert.False(file.IsEmpty);
        var pages = new HashSet<ulong>();
        Assert.True(file.Inline.Length <= Limits.InlineMaxBytes);
        Assert.True((ulong)file.Inline.Length <= inode.Attributes.Size);
        for (var page = 0UL; page * Limits.PageSizeBytes < (ulong)file.Inline.Length; page++)
        {
            pages.Add(page);
        }

        var end = (ulong)file.Inline.Length;
        var count = 0;
        if (file.Extents is { } extents)
        {
            for (var at = extents.Find(0); at.IsValid; at.Next())
            {
                var extent = at.Current;
                count++;
                Assert.True(extent.Length > 0 && extent.FileOffset >= end);
                end = extent.End;
                for (var page = extent.FileOffset / Limits.PageSizeBytes; page * Limits.PageSizeBytes < extent.End; page++)
                {
                    pages.Add(page);
                }

                if (!extent.IsUnwritten)
                {
                    Assert.True(extent.End <= inode.Attributes.Size);
                    Assert.True(extent.BlockOffset + extent.Length <= Limits.BlockSizeBytes);
                    references[extent.BlockId] = references.GetValueOrDefault(extent.BlockId) + 1;
                }
            }

            Assert.Equal(count, extents.Count);
        }

        Assert.Equal((ulong)pages.Count * Limits.PageSizeBytes, inode.Attributes.AllocatedBytes);
    }
}
