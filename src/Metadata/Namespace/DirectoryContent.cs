using System.Diagnostics;
using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Namespace;

/// <summary>The names of a directory: found by hash, listed in the order of their cookies.</summary>
/// <remarks>
/// Entries lie in one array in the order in which they came; a cookie is given once and grows, so a listing finds its place by binary search and
/// stays there while names come and go. A removed entry leaves a gap (inode 0) until gaps outnumber names. Names lie in one array of bytes, each
/// after its length and type. A small directory has no hash index. One million names of 12 bytes take about 60 bytes each.
/// </remarks>
public sealed class DirectoryContent(ulong parent)
{
    /// <summary>Cookie of "..", the last before the entries.</summary>
    public const ulong DotDotCookie = 2;

    private const int UnindexedMax = 8;
    private const int NameHeader = 2;

    private Entry[] _entries = [];
    private byte[] _names = [];
    private int[]? _index;
    private int _used;
    private int _head;
    private int _namesUsed;

    /// <summary>The directory that ".." names.</summary>
    public ulong Parent { get; set; } = parent;

    /// <summary>Who may cache names, and that there are no others: bits of <see cref="OpContext.Holder"/>. Not part of the state.</summary>
    public ulong NamesCachedBy { get; set; }

    /// <summary>The cookie that the next new name gets.</summary>
    public ulong NextCookie { get; set; } = DotDotCookie + 1;

    /// <summary>Number of names, without "." and "..".</summary>
    public int Count { get; private set; }

    /// <summary>Whether no further name fits: the names fill one array (8 million of the longest, 150 million of 12 bytes).</summary>
    public bool IsFull => _namesUsed > Array.MaxLength - (2 * (byte.MaxValue + NameHeader));

    /// <summary>Bytes of memory that the arrays take.</summary>
    public long MemoryBytes => ((long)_entries.Length * Marshal.SizeOf<Entry>()) + _names.Length + ((_index?.Length ?? 0) * 4L);

    /// <summary>The inode of a name, 0 when there is none.</summary>
    public ulong Find(ReadOnlySpan<byte> name)
    {
        var position = PositionOf(name, NameHash.Of(name));
        return position < 0 ? 0 : _entries[position].Ino;
    }

    /// <summary>Adds a name that is not there yet.</summary>
    public void Add(ReadOnlySpan<byte> name, ulong ino, byte type) => Add(name, ino, type, NextCookie++);

    /// <summary>Adds a name under a given cookie, larger than all others (a snapshot is read).</summary>
    public void Add(ReadOnlySpan<byte> name, ulong ino, byte type, ulong cookie)
    {
        Debug.Assert(ino != 0 && name.Length is > 0 and <= byte.MaxValue);
        if (_used == _entries.Length || _names.Length - _namesUsed < name.Length + NameHeader)
        {
            MakeRoom(name.Length + NameHeader);
        }

        var hash = NameHash.Of(name);
        _entries[_used] = new Entry { Cookie = cookie, Ino = ino, Hash = hash, NameAt = _namesUsed };
        _names[_namesUsed] = (byte)name.Length;
        _names[_namesUsed + 1] = type;
        name.CopyTo(_names.AsSpan(_namesUsed + NameHeader));
        _namesUsed += name.Length + NameHeader;
        _used++;
        Count++;
        if (_index is not null && Count * 4L <= _index.Length * 3L)
        {
            IndexEntry(_used - 1);
        }
        else if (_used > UnindexedMax)
        {
            RebuildIndex();
        }
    }

    /// <summary>Lets a name that is there name another inode; it keeps its place in listings.</summary>
    public void Replace(ReadOnlySpan<byte> name, ulong ino, byte type)
    {
        var position = PositionOf(name, NameHash.Of(name));
        _entries[position].Ino = ino;
        _names[_entries[position].NameAt + 1] = type;
    }

    /// <summary>Removes a name; false when it is not there.</summary>
    public bool Remove(ReadOnlySpan<byte> name)
    {
        var position = PositionOf(name, NameHash.Of(name));
        if (position < 0)
        {
            return false;
        }

        if (_index is not null)
        {
            UnindexEntry(position);
        }

        _entries[position].Ino = 0;
        Count--;
        while (_head < _used && _entries[_head].Ino == 0)
        {
            _head++;
        }

        if (Count == 0)
        {
            Clear();
        }
        else if (_used - Count > UnindexedMax && _used > 2 * Count)
        {
            Compact(Count + (Count / 4));
        }

        return true;
    }

    /// <summary>Position of the first entry after a cookie; pass it to <see cref="TryRead"/>.</summary>
    public int PositionAfter(ulong cookie)
    {
        var low = _head;
        var high = _used;
        while (low < high)
        {
            var middle = (int)(((uint)low + (uint)high) / 2);
            if (_entries[middle].Cookie <= cookie)
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

    /// <summary>Reads the next entry and moves on; false at the end. The name is a slice of the directory's own memory, valid until it changes.</summary>
    public bool TryRead(ref int position, out DirectoryItem item)
    {
        while (position < _used && _entries[position].Ino == 0)
        {
            position++;
        }

        if (position >= _used)
        {
            item = default;
            return false;
        }

        ref readonly var entry = ref _entries[position++];
        item = new DirectoryItem(entry.Cookie, entry.Ino, _names[entry.NameAt + 1], NameOf(entry));
        return true;
    }

    private ReadOnlyMemory<byte> NameOf(in Entry entry) => _names.AsMemory(entry.NameAt + NameHeader, _names[entry.NameAt]);

    private bool Matches(in Entry entry, ReadOnlySpan<byte> name, uint hash) =>
        entry.Hash == hash && entry.Ino != 0 && NameOf(entry).Span.SequenceEqual(name);

    private int PositionOf(ReadOnlySpan<byte> name, uint hash)
    {
        if (_index is null)
        {
            for (var i = _head; i < _used; i++)
            {
                if (Matches(_entries[i], name, hash))
                {
                    return i;
                }
            }

            return -1;
        }

        var mask = _index.Length - 1;
        for (var i = (int)hash & mask; ; i = (i + 1) & mask)
        {
            var position = _index[i] - 1;
            if (position < 0 || Matches(_entries[position], name, hash))
            {
                return position;
            }
        }
    }

    private void IndexEntry(int position)
    {
        var mask = _index!.Length - 1;
        var i = (int)_entries[position].Hash & mask;
        while (_index[i] != 0)
        {
            i = (i + 1) & mask;
        }

        _index[i] = position + 1;
    }

    private void UnindexEntry(int position)
    {
        var index = _index!;
        var mask = index.Length - 1;
        var i = (int)_entries[position].Hash & mask;
        while (index[i] != position + 1)
        {
            i = (i + 1) & mask;
        }

        for (var j = (i + 1) & mask; index[j] != 0; j = (j + 1) & mask)
        {
            var home = (int)_entries[index[j] - 1].Hash & mask;
            if (((j - home) & mask) >= ((j - i) & mask))
            {
                index[i] = index[j];
                i = j;
            }
        }

        index[i] = 0;
    }

    private void RebuildIndex()
    {
        var slots = 16;
        while (Count * 4L > slots * 3L || _entries.Length > slots)
        {
            slots *= 2;
        }

        _index = new int[slots];
        for (var i = _head; i < _used; i++)
        {
            if (_entries[i].Ino != 0)
            {
                IndexEntry(i);
            }
        }
    }

    private void MakeRoom(int nameBytes)
    {
        var gaps = _used - Count;
        if (gaps > UnindexedMax && gaps > _used / 4)
        {
            Compact(Count + (Count / 4) + 1);
        }

        if (_used == _entries.Length)
        {
            Array.Resize(ref _entries, Math.Max(4, _entries.Length + (_entries.Length / 2)));
        }

        if (_names.Length - _namesUsed < nameBytes)
        {
            var wanted = Math.Max((long)_namesUsed + nameBytes, _names.Length + (_names.LongLength / 2));
            Array.Resize(ref _names, (int)Math.Min(Math.Max(64, wanted), Array.MaxLength));
        }
    }

    // Drops the gaps. Positions change, cookies do not.
    private void Compact(int capacity)
    {
        var entries = new Entry[Math.Max(4, capacity)];
        var namesLength = 0L;
        for (var i = _head; i < _used; i++)
        {
            namesLength += _entries[i].Ino == 0 ? 0 : _names[_entries[i].NameAt] + NameHeader;
        }

        var names = new byte[Math.Min(Math.Max(64, namesLength + (namesLength / 4)), Array.MaxLength)];
        var used = 0;
        var namesUsed = 0;
        for (var i = _head; i < _used; i++)
        {
            ref readonly var entry = ref _entries[i];
            if (entry.Ino == 0)
            {
                continue;
            }

            var length = _names[entry.NameAt] + NameHeader;
            _names.AsSpan(entry.NameAt, length).CopyTo(names.AsSpan(namesUsed));
            entries[used] = entry;
            entries[used].NameAt = namesUsed;
            namesUsed += length;
            used++;
        }

        (_entries, _names, _used, _namesUsed, _head) = (entries, names, used, namesUsed, 0);
        if (_used > UnindexedMax)
        {
            RebuildIndex();
        }
        else
        {
            _index = null;
        }
    }

    private void Clear()
    {
        _used = _head = _namesUsed = 0;
        _index = null;
        if (_entries.Length > UnindexedMax)
        {
            _entries = [];
            _names = [];
        }
    }

    private struct Entry
    {
        public ulong Cookie;
        public ulong Ino;
        public uint Hash;
        public int NameAt;
    }
}

/// <summary>A name in a directory.</summary>
/// <param name="Cookie">Its place in listings.</param>
/// <param name="Ino">The inode that it names.</param>
/// <param name="Type">d_type.</param>
/// <param name="Name">The name; a slice of the directory's memory.</param>
public readonly record struct DirectoryItem(ulong Cookie, ulong Ino, byte Type, ReadOnlyMemory<byte> Name);
