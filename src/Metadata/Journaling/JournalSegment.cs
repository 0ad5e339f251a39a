using System.Buffers.Binary;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>The file that records are appended to. Records collect in a buffer; <see cref="Flush"/> writes them with one write(2).</summary>
/// <remarks>
/// Layout: a header of <see cref="HeaderBytes"/> bytes (magic, version, volume, segment number, number of the first record, CRC32C), then
/// records: length and CRC32C (32 bits each), record number (64 bits, covered by the checksum), payload. Nothing is synced: acknowledged
/// operations survive the kill of any process, not of the machine. Used under the volume's lock.
/// </remarks>
public sealed class JournalSegment : IDisposable
{
    internal const uint Magic = 0x4A534645;
    internal const uint Version = 5;
    internal const int HeaderBytes = 40;
    internal const int RecordHeaderBytes = 16;

    /// <summary>Largest payload: a request's message and what goes before it.</summary>
    internal const int PayloadMaxBytes = Limits.FrameHeadMaxBytes + 64;

    private readonly SafeFileHandle _file;
    private byte[] _buffer = new byte[4096];
    private int _buffered;
    private byte[] _payload = new byte[4096];

    private JournalSegment(SafeFileHandle file, ulong number, ulong nextRecord, long length)
    {
        _file = file;
        Number = number;
        NextRecord = nextRecord;
        Length = length;
    }

    /// <summary>Number of the segment.</summary>
    public ulong Number { get; }

    /// <summary>Number that the next record gets.</summary>
    public ulong NextRecord { get; private set; }

    /// <summary>Bytes in the file.</summary>
    public long Length { get; private set; }

    /// <summary>Encodes a record.</summary>
    public delegate void Encoder<T>(ref WireWriter w, T value);

    /// <summary>Makes a new segment; it must not exist.</summary>
    public static JournalSegment Create(string path, uint volume, ulong number, ulong firstRecord)
    {
        var file = System.IO.File.OpenHandle(path, System.IO.FileMode.CreateNew, System.IO.FileAccess.ReadWrite, System.IO.FileShare.Read);
        Span<byte> header = stackalloc byte[HeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], Version);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], volume);
        BinaryPrimitives.WriteUInt64LittleEndian(header[16..], number);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], firstRecord);
        BinaryPrimitives.WriteUInt32LittleEndian(header[36..], Crc32C.Compute(header[..36]));
        System.IO.RandomAccess.Write(file, header, 0);
        return new JournalSegment(file, number, firstRecord, HeaderBytes);
    }

    /// <summary>Opens a segment for appending at <paramref name="length"/>; what is behind it is cut off.</summary>
    public static JournalSegment Continue(string path, ulong number, ulong nextRecord, long length)
    {
        var file = System.IO.File.OpenHandle(path, System.IO.FileMode.Open, System.IO.FileAccess.ReadWrite, System.IO.FileShare.Read);
        System.IO.RandomAccess.SetLength(file, length);
        return new JournalSegment(file, number, nextRecord, length);
    }

    /// <summary>A buffer to encode a payload into; hand the writer to <see cref="Append"/>.</summary>
    public WireWriter Begin() => new(_payload);

    /// <summary>Adds the record that was encoded.</summary>
    public void Append(in WireWriter payload)
    {
        _payload = payload.Buffer;
        var size = RecordHeaderBytes + payload.Length;
        if (_buffer.Length - _buffered < size)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, _buffered + size));
        }

        var record = _buffer.AsSpan(_buffered, size);
        BinaryPrimitives.WriteUInt32LittleEndian(record, (uint)payload.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(record[8..], NextRecord++);
        payload.Written.CopyTo(record[RecordHeaderBytes..]);
        BinaryPrimitives.WriteUInt32LittleEndian(record[4..], Crc32C.Compute(record[8..]));
        _buffered += size;
    }

    /// <summary>Writes what was added. Throws <see cref="System.IO.IOException"/> when the medium does not take it: the state is then ahead of the journal.</summary>
    public void Flush()
    {
        if (_buffered > 0)
        {
            try
            {
                System.IO.RandomAccess.Write(_file, _buffer.AsSpan(0, _buffered), Length);
            }
            catch (ArgumentOutOfRangeException e)
            {
                // What .NET makes of EFBIG.
                throw new System.IO.IOException("the journal may not grow any more (EFBIG)", e);
            }

            Length += _buffered;
            _buffered = 0;
        }
    }

    public void Dispose() => _file.Dispose();
}
