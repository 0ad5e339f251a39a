using System.Runtime.InteropServices;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Fills the answer to READDIR or READDIRPLUS: records padded to 8 bytes, never more than was asked for.</summary>
/// <remarks>
/// The cookie of an entry is where the *next* listing goes on: it must stay good while other entries come and go, and must not be 0
/// (the beginning) nor above 2^63-1 (the kernel's offsets are signed).
/// </remarks>
/// <param name="buffer">Where to write: take <see cref="FuseReadIn.Size"/> bytes of <see cref="FuseRequest.RentReply"/>.</param>
public ref struct DirentWriter(Span<byte> buffer)
{
    private const int DirentSize = 24;
    private const int EntrySize = 128;

    private readonly Span<byte> _buffer = buffer;

    /// <summary>Bytes written.</summary>
    public int Length { get; private set; }

    /// <summary>What to reply.</summary>
    public readonly ReadOnlySpan<byte> Written => _buffer[..Length];

    /// <summary>Bytes that an entry takes in READDIR.</summary>
    public static int SizeOf(int nameLength) => FuseAbi.RecordAlign(DirentSize + nameLength);

    /// <summary>Bytes that an entry takes in READDIRPLUS.</summary>
    public static int SizeOfPlus(int nameLength) => FuseAbi.RecordAlign(EntrySize + DirentSize + nameLength);

    /// <summary>Adds an entry to a READDIR answer.</summary>
    /// <param name="ino">Inode number; the kernel drops entries with 0.</param>
    /// <param name="cookie">Where to go on after this entry.</param>
    /// <param name="type">DT_* of readdir(3): mode bits shifted right by 12.</param>
    /// <param name="name">1 to 1024 bytes without NUL and slash.</param>
    /// <returns>False, with nothing written, if it does not fit.</returns>
    public bool TryAdd(ulong ino, ulong cookie, uint type, ReadOnlySpan<byte> name)
    {
        int size = SizeOf(name.Length);
        if (size > _buffer.Length - Length)
        {
            return false;
        }
        WriteDirent(_buffer.Slice(Length, size), ino, cookie, type, name);
        Length += size;
        return true;
    }

    /// <summary>Adds an entry with its attributes to a READDIRPLUS answer. Adds a reference to the node, unless its id is 0 or the name is <c>.</c> or <c>..</c>.</summary>
    /// <param name="entry">What LOOKUP would answer; with node id 0 the kernel takes the name only.</param>
    /// <param name="ino">Inode number, as in <see cref="TryAdd"/>.</param>
    /// <param name="cookie">Where to go on after this entry.</param>
    /// <param name="type">DT_*.</param>
    /// <param name="name">Its name.</param>
    /// <returns>False, with nothing written and no reference taken, if it does not fit.</returns>
    public bool TryAddPlus(in FuseEntryOut entry, ulong ino, ulong cookie, uint type, ReadOnlySpan<byte> name)
    {
        int size = SizeOfPlus(name.Length);
        if (size > _buffer.Length - Length)
        {
            return false;
        }
        Span<byte> record = _buffer.Slice(Length, size);
        MemoryMarshal.Write(record, in entry);
        WriteDirent(record[EntrySize..], ino, cookie, type, name);
        Length += size;
        return true;
    }

    private static void WriteDirent(Span<byte> record, ulong ino, ulong cookie, uint type, ReadOnlySpan<byte> name)
    {
        var dirent = new FuseDirent { Ino = ino, Offset = cookie, NameLength = (uint)name.Length, Type = type };
        MemoryMarshal.Write(record, in dirent);
        name.CopyTo(record[DirentSize..]);
        record[(DirentSize + name.Length)..].Clear();
    }
}
