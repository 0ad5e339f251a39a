using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Namespace.Operations;

/// <summary>Lists a directory from a cookie on.</summary>
public static class ReadDir
{
    private const int EntryOverheadBytes = 24;

    /// <summary>Most bytes of an answer on the wire, half the largest head.</summary>
    private const int WireBytesMax = Limits.FrameHeadMaxBytes / 2;
    private const int EntryWireBytes = 121;

    /// <summary>ENOTDIR. A directory that was removed has no entries any more.</summary>
    public static Status Apply(VolumeState v, OpContext c, in ReadDirRequest q, out ReadDirReply r)
    {
        r = default;
        var status = v.Find(q.Ino, out var inode);
        if (status != Status.OK)
        {
            return status;
        }

        if (!inode.Attributes.IsDirectory)
        {
            return Errno.ENOTDIR.ToStatus();
        }

        if (inode.Attributes.Nlink == 0)
        {
            r = new ReadDirReply([], true);
            return Status.OK;
        }

        c.TellNames(inode);
        List<DirectoryEntry> entries = [];
        var listing = new Listing(v, c, q, entries);
        var directory = inode.Directory;
        var more = (q.Cookie >= 1 || listing.TryAdd(new DirectoryItem(1, inode.Ino, 0, s_dot)))
            && (q.Cookie >= DirectoryContent.DotDotCookie
                || listing.TryAdd(new DirectoryItem(DirectoryContent.DotDotCookie, directory.Parent, 0, s_dotDot)));
        var end = false;
        var position = directory.PositionAfter(q.Cookie);
        while (more)
        {
            end = !directory.TryRead(ref position, out var item);
            more = !end && listing.TryAdd(item);
        }

        r = new ReadDirReply([.. entries], end);
        return Status.OK;
    }

    private static readonly byte[] s_dot = [(byte)'.'];
    private static readonly byte[] s_dotDot = [(byte)'.', (byte)'.'];

    private sealed class Listing(VolumeState v, OpContext c, ReadDirRequest q, List<DirectoryEntry> entries)
    {
        private long _bytes;
        private int _wireBytes;

        public bool TryAdd(in DirectoryItem item)
        {
            _bytes += EntryOverheadBytes + item.Name.Length;
            _wireBytes += EntryWireBytes + item.Name.Length;
            if (entries.Count > 0 && (_bytes > q.MaxBytes || _wireBytes > WireBytesMax))
            {
                return false;
            }

            // "." and ".." come without a type: their inodes tell it.
            var type = item.Type != 0 ? item.Type : FileMode.DirentType(FileMode.Directory);
            InodeAttributes attributes = default;
            if (q.WithAttributes)
            {
                var inode = v.Inodes.Find(item.Ino)!;
                c.Tell(inode);
                attributes = inode.Attributes;
            }

            entries.Add(new DirectoryEntry(item.Cookie, item.Ino, type, item.Name, attributes));
            return true;
        }
    }
}
