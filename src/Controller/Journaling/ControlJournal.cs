using System.Buffers.Binary;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using EphemeralFs.Rpc;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Controller.Journaling;

/// <summary>
/// An append-only file of <see cref="ControlRecord"/>s: each is length, CRC32C, bytes. An append is on disk before it returns. A record that
/// was torn by a crash ends the file: it was never acknowledged, and is cut off at the next start. Not thread-safe; the service has one lock.
/// </summary>
public sealed class ControlJournal : IDisposable
{
    /// <summary>Name of the file in the state directory.</summary>
    public const string FileName = "controller.journal";

    private const int HeaderBytes = 8;

    /// <summary>Above any record: texts of at most 255 bytes, and labels of <see cref="Rpc.Messages.Label.OfVolumeMaxBytes"/>.</summary>
    private const int RecordMaxBytes = 16384;

    private static readonly byte[] s_magic = "EFSCTL1\n"u8.ToArray();

    private readonly SafeFileHandle _file;
    private long _length;

    private ControlJournal(SafeFileHandle file, long length, IReadOnlyList<ControlRecord> records, long cutBytes)
    {
        _file = file;
        _length = length;
        Records = records;
        CutBytes = cutBytes;
    }

    /// <summary>What was found at the start, in order.</summary>
    public IReadOnlyList<ControlRecord> Records { get; }

    /// <summary>Bytes of a torn record that were cut off at the start.</summary>
    public long CutBytes { get; }

    /// <summary>Opens or creates the journal. Throws <see cref="InvalidDataException"/> when it is another file or damaged before its end.</summary>
    public static ControlJournal Open(string directory)
    {
        var path = Path.Combine(directory, FileName);
        var file = File.OpenHandle(path, System.IO.FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        try
        {
            var bytes = new byte[RandomAccess.GetLength(file)];
            if (RandomAccess.Read(file, bytes, 0) != bytes.Length)
            {
                throw new InvalidDataException($"{path}: cannot be read whole");
            }

            if (bytes.Length < s_magic.Length)
            {
                // New, or a crash before the first record.
                RandomAccess.SetLength(file, 0);
                RandomAccess.Write(file, s_magic, 0);
                RandomAccess.FlushToDisk(file);
                return new ControlJournal(file, s_magic.Length, [], bytes.Length);
            }

            if (!bytes.AsSpan(0, s_magic.Length).SequenceEqual(s_magic))
            {
                throw new InvalidDataException($"{path} is no controller journal: choose another --state directory or remove the file");
            }

            var records = Parse(bytes, path, out var good);
            if (good < bytes.Length)
            {
                RandomAccess.SetLength(file, good);
                RandomAccess.FlushToDisk(file);
            }

            return new ControlJournal(file, good, records, bytes.Length - good);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Replaces the file by these records, so that it does not grow for ever. Durable when it returns.</summary>
    public static void Rewrite(string directory, IEnumerable<ControlRecord> records)
    {
        var path = Path.Combine(directory, FileName);
        var next = path + ".new";
        using (var stream = new FileStream(next, System.IO.FileMode.Create, FileAccess.Write))
        {
            stream.Write(s_magic);
            foreach (var record in records)
            {
                stream.Write(Encode(record));
            }

            stream.Flush(flushToDisk: true);
        }

        File.Move(next, path, overwrite: true);
        if (DeviceIo.Open(directory, DeviceIo.O_RDONLY | DeviceIo.O_CLOEXEC, out var fd) is var error && error != Errno.OK)
        {
            throw new IOException($"{directory}: cannot be opened to make a rename durable: {error}");
        }

        using var parent = new SafeFileHandle(fd, ownsHandle: true);
        RandomAccess.FlushToDisk(parent);
    }

    /// <summary>Appends records; they are on disk when this returns. After a crash meanwhile the first of them may be there, and the others not.</summary>
    public void Append(params IReadOnlyCollection<ControlRecord> records)
    {
        byte[] bytes = [.. records.SelectMany(record => Encode(record))];
        RandomAccess.Write(_file, bytes, _length);
        RandomAccess.FlushToDisk(_file);
        _length += bytes.Length;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static byte[] Encode(in ControlRecord record)
    {
        var writer = new WireWriter(new byte[128]);
        record.Write(ref writer);
        var bytes = new byte[HeaderBytes + writer.Length];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, writer.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), Crc32C.Compute(writer.Written));
        writer.Written.CopyTo(bytes.AsSpan(HeaderBytes));
        return bytes;
    }

    private static List<ControlRecord> Parse(byte[] bytes, string path, out int good)
    {
        var records = new List<ControlRecord>();
        good = s_magic.Length;
        while (bytes.Length - good >= HeaderBytes)
        {
            var length = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(good));
            var crc = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(good + 4));
            var start = good + HeaderBytes;
            if (length is <= 0 or > RecordMaxBytes || length > bytes.Length - start || Crc32C.Compute(bytes.AsSpan(start, length)) != crc)
            {
                break;
            }

            var reader = new WireReader(bytes.AsMemory(start, length), copy: true);
            var record = ControlRecord.Read(ref reader);
            if (!reader.AtEnd)
            {
                throw new InvalidDataException($"{path}: a record of an unknown form at byte {good}; was it written by a newer version?");
            }

            records.Add(record);
            good = start + length;
        }

        return records;
    }
}
