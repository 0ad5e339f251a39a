namespace EphemeralFs.Metadata.Namespace;

/// <summary>Inodes by number: open addressing over references, so that an inode costs 11 to 21 bytes here.</summary>
public sealed class InodeTable
{
    private const int MinSlots = 16;
    private Inode?[] _slots = new Inode?[MinSlots];
    private int _shift = 60;

    /// <summary>Number of inodes.</summary>
    public int Count { get; private set; }

    /// <summary>The inode, or null.</summary>
    public Inode? Find(ulong ino)
    {
        var mask = _slots.Length - 1;
        for (var i = Home(ino); ; i = (i + 1) & mask)
        {
            var inode = _slots[i];
            if (inode is null || inode.Attributes.Ino == ino)
            {
                return inode;
            }
        }
    }

    /// <summary>Adds an inode whose number is not in the table.</summary>
    public void Add(Inode inode)
    {
        if ((Count + 1) * 4L > _slots.Length * 3L)
        {
            Grow();
        }

        Place(inode);
        Count++;
    }

    /// <summary>Removes an inode; false when it is not there.</summary>
    public bool Remove(ulong ino)
    {
        var mask = _slots.Length - 1;
        var i = Home(ino);
        for (; ; i = (i + 1) & mask)
        {
            if (_slots[i] is not { } inode)
            {
                return false;
            }

            if (inode.Attributes.Ino == ino)
            {
                break;
            }
        }

        // Close the gap: an entry after it moves in when its probe sequence passes the gap.
        for (var j = (i + 1) & mask; _slots[j] is { } next; j = (j + 1) & mask)
        {
            if (((j - Home(next.Attributes.Ino)) & mask) >= ((j - i) & mask))
            {
                _slots[i] = next;
                i = j;
            }
        }

        _slots[i] = null;
        Count--;
        return true;
    }

    /// <summary>All inodes, in no particular order.</summary>
    public IEnumerable<Inode> Unsorted() => _slots.OfType<Inode>();

    /// <summary>All inodes, in ascending order of their numbers: the same for equal states.</summary>
    public Inode[] Sorted()
    {
        var all = new Inode[Count];
        var keys = new ulong[Count];
        var n = 0;
        foreach (var inode in _slots)
        {
            if (inode is not null)
            {
                keys[n] = inode.Attributes.Ino;
                all[n++] = inode;
            }
        }

        Array.Sort(keys, all);
        return all;
    }

    // Fibonacci hashing: numbers come in runs, and the multiplication spreads a run over the whole table.
    private int Home(ulong ino) => (int)((ino * 0x9E3779B97F4A7C15) >> _shift);

    private void Place(Inode inode)
    {
        var mask = _slots.Length - 1;
        var i = Home(inode.Attributes.Ino);
        while (_slots[i] is not null)
        {
            i = (i + 1) & mask;
        }

        _slots[i] = inode;
    }

    private void Grow()
    {
        var old = _slots;
        _slots = new Inode?[old.Length * 2];
        _shift--;
        foreach (var inode in old)
        {
            if (inode is not null)
            {
                Place(inode);
            }
        }
    }
}
