using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>An inode of a volume. Owned by <see cref="VolumeState"/>; changed only under the volume's lock.</summary>
public sealed class Inode
{
    /// <summary>What stat tells.</summary>
    public InodeAttributes Attributes;

    /// <summary><see cref="DirectoryContent"/>, <see cref="FileContent"/> (null while empty), the bytes of a symbolic link's target, or null.</summary>
    public object? Content;

    /// <summary>What few inodes have; null when there is nothing.</summary>
    public InodeExtras? Extras;

    /// <summary>Who may cache the attributes: bits of <see cref="OpContext.Holder"/>. Not part of the state: neither journal nor snapshot has it.</summary>
    public ulong CachedBy;

    public ulong Ino => Attributes.Ino;

    /// <summary>The names in a directory.</summary>
    public DirectoryContent Directory => (DirectoryContent)Content!;

    /// <summary>The bytes of a regular file; null while it has none.</summary>
    public FileContent? File => Content as FileContent;

    /// <summary>The bytes of a regular file, made if there were none.</summary>
    public FileContent FileForWriting => (FileContent)(Content ??= new FileContent());

    /// <summary>Whether some session has it open.</summary>
    public bool IsOpen => Extras is { OpenerCount: > 0 };

    /// <summary>Sets modification and change time.</summary>
    public void Touch(long timeNs)
    {
        Attributes.MtimeNs = timeNs;
        Attributes.CtimeNs = timeNs;
    }

    /// <summary>Removes file capabilities (<c>security.capability</c>), as every change of a file's bytes or owner does, capabilities(7).</summary>
    public void DropCapabilities()
    {
        if (Extras?.Xattrs is { } xattrs && xattrs.RemoveAll(static x => x.Name.AsSpan().SequenceEqual("security.capability"u8)) > 0)
        {
            if (xattrs.Count == 0)
            {
                Extras.Xattrs = null;
            }

            TrimExtras();
            NoteXattrs();
        }
    }

    /// <summary>Extended attributes were added or removed: the attributes say whether there are any.</summary>
    public void NoteXattrs() => Attributes.Flags = Extras?.Xattrs is null ? InodeFlags.None : InodeFlags.HasXattrs;

    /// <summary>Forgets <see cref="Extras"/> when nothing is left in it.</summary>
    public void TrimExtras()
    {
        if (Extras is { IsEmpty: true })
        {
            Extras = null;
        }
    }
}

/// <summary>What only few inodes have: extended attributes and open handles.</summary>
public sealed class InodeExtras
{
    private Opener[] _openers = [];

    /// <summary>Extended attributes in the order in which they were set; null when there are none.</summary>
    public List<Xattr>? Xattrs;

    /// <summary>Made without a name (O_TMPFILE without O_EXCL): may still be linked although its link count is 0.</summary>
    public bool Linkable;

    /// <summary>Sessions that have the inode open.</summary>
    public int OpenerCount { get; private set; }

    /// <summary>Sessions that have the inode open; the elements may be changed in place.</summary>
    public Span<Opener> Openers => _openers.AsSpan(0, OpenerCount);

    /// <summary>Nothing worth keeping.</summary>
    public bool IsEmpty => Xattrs is null && !Linkable && OpenerCount == 0;

    /// <summary>Index of a session among the openers, or −1.</summary>
    public int IndexOf(ulong session)
    {
        for (var i = 0; i < OpenerCount; i++)
        {
            if (_openers[i].Session == session)
            {
                return i;
            }
        }

        return -1;
    }

    public void AddOpener(in Opener opener)
    {
        if (OpenerCount == _openers.Length)
        {
            Array.Resize(ref _openers, Math.Max(1, OpenerCount * 2));
        }

        _openers[OpenerCount++] = opener;
    }

    public void RemoveOpenerAt(int index)
    {
        OpenerCount--;
        Array.Copy(_openers, index + 1, _openers, index, OpenerCount - index);
        _openers[OpenerCount] = default;
    }
}

/// <summary>A session that has an inode open.</summary>
public struct Opener
{
    /// <summary>Session id.</summary>
    public ulong Session;

    /// <summary>Number of the volume's opens at which this entry was made: tells a re-opened file from the one that a recall was about.</summary>
    public ulong Since;

    /// <summary>Handles that read only.</summary>
    public int Readers;

    /// <summary>Handles that may write.</summary>
    public int Writers;

    /// <summary>Whether the session commits every write before answering it; stays until its last handle closes.</summary>
    public bool Through;

    /// <summary>Whether programs have closed what may write: handles that are left, as copies of descriptors, are announced again before they write.</summary>
    public bool Quiet;

    /// <summary>Whether the session may be writing now.</summary>
    public readonly bool IsWriting => Writers > 0 && !Quiet;
}

/// <summary>An extended attribute.</summary>
/// <param name="Name">With its prefix.</param>
/// <param name="Value">Any bytes.</param>
public sealed record Xattr(byte[] Name, byte[] Value);
