using System.Runtime.InteropServices;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>Lists a directory as libc's readdir does: getdents64 with 32 KiB.</summary>
internal sealed unsafe class DirectoryListing : IDisposable
{
    private const int BufferBytes = 32 << 10;
    private const int NameOffset = 19;
    private const int RecordLengthOffset = 16;

    private readonly NativeBuffer _buffer = new(BufferBytes);
    private readonly NativeBuffer _names;
    private readonly List<nint> _found;

    /// <param name="capacity">The most entries that will be listed.</param>
    public DirectoryListing(int capacity)
    {
        _names = new NativeBuffer((long)(capacity + 2) * 16);
        _found = new List<nint>(capacity + 2);
    }

    /// <summary>Opens "." of <paramref name="directory"/> and reads all; returns the number of entries without "." and "..".</summary>
    public int List(int directory)
    {
        byte dot = (byte)'.';
        byte* here = stackalloc byte[2] { dot, 0 };
        int fd = Sys.Check(Libc.OpenAt(directory, here, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC, 0), "open");
        _found.Clear();
        byte* to = _names.Pointer;
        nint got;
        while ((got = Libc.GetDents(fd, _buffer.Pointer, BufferBytes)) > 0)
        {
            for (byte* record = _buffer.Pointer; record < _buffer.Pointer + got; record += *(ushort*)(record + RecordLengthOffset))
            {
                byte* name = record + NameOffset;
                if (name[0] == dot && (name[1] == 0 || (name[1] == dot && name[2] == 0)))
                {
                    continue;
                }

                ReadOnlySpan<byte> text = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name);
                if (to + text.Length + 1 > _names.Pointer + _names.Bytes)
                {
                    throw new BenchException("the directory lists more than was created in it");
                }

                text.CopyTo(new Span<byte>(to, text.Length));
                to[text.Length] = 0;
                _found.Add((nint)to);
                to += text.Length + 1;
            }
        }

        Sys.Check((int)got, "getdents64");
        Sys.Check(Libc.Close(fd), "close");
        return _found.Count;
    }

    /// <summary>Lists, then asks for the attributes of each entry, as ls -l does.</summary>
    public int ListAndStat(int directory)
    {
        int count = List(directory);
        Libc.StatXBuffer attributes;
        foreach (nint name in _found)
        {
            Sys.Check(Libc.StatX(directory, (byte*)name, Libc.AT_SYMLINK_NOFOLLOW, Libc.STATX_BASIC_STATS, &attributes), "stat");
        }

        return count;
    }

    public void Dispose()
    {
        _buffer.Dispose();
        _names.Dispose();
    }
}
