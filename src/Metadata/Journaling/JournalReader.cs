using System.Buffers.Binary;
using EphemeralFs.Core;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>The state directory holds something that this program cannot or must not use; the message says what.</summary>
public sealed class DamagedStateException(string message) : Exception(message);

/// <summary>Reads the records of a segment.</summary>
public static class JournalReader
{
    /// <summary>Reads a segment and hands each record's payload to <paramref name="apply"/>, which returns null or what is wrong with it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="volume">Volume that it must belong to.</param>
    /// <param name="number">Its number.</param>
    /// <param name="firstRecord">Number that its first record must have.</param>
    /// <param name="isLast">Whether it is the newest segment: only that one may end in the middle of a record.</param>
    /// <param name="apply">Applies a payload.</param>
    /// <returns>The number after the last record, and the length up to which the file is whole.</returns>
    /// <exception cref="DamagedStateException">A record in the middle is damaged, or the segment does not follow on the state.</exception>
    public static (ulong NextRecord, long Length) Read(
        string path, uint volume, ulong number, ulong firstRecord, bool isLast, Func<ReadOnlyMemory<byte>, string?> apply)
    {
        var bytes = System.IO.File.ReadAllBytes(path);
        if (bytes.Length < JournalSegment.HeaderBytes)
        {
            return isLast ? (firstRecord, 0) : throw new DamagedStateException($"{path}: shorter than its header");
        }

        CheckHeader(path, bytes, volume, number, firstRecord);
        var at = JournalSegment.HeaderBytes;
        var next = firstRecord;
        while (at < bytes.Length)
        {
            var length = RecordAt(bytes, at, out var record);
            if (length < 0)
            {
                if (!isLast || AnyRecordAfter(bytes, at, next))
                {
                    throw new DamagedStateException(
                        $"{path}: the record at byte {at} is damaged and others follow. Restore the directory from a copy, or delete the volume.");
                }

                return (next, at);
            }

            if (record != next)
            {
                throw new DamagedStateException($"{path}: record {next} expected at byte {at}, found {record}");
            }

            var error = apply(bytes.AsMemory(at + JournalSegment.RecordHeaderBytes, length));
            if (error is not null)
            {
                throw new DamagedStateException($"{path}: record {record} at byte {at} does not apply: {error}");
            }

            at += JournalSegment.RecordHeaderBytes + length;
            next++;
        }

        return (next, at);
    }

    private static void CheckHeader(string path, ReadOnlySpan<byte> bytes, uint volume, ulong number, ulong firstRecord)
    {
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes) != JournalSegment.Magic
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes[36..]) != Crc32C.Compute(bytes[..36]))
        {
            throw new DamagedStateException($"{path}: not a journal, or its header is damaged");
        }

        var version = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        if (version != JournalSegment.Version)
        {
            throw new DamagedStateException($"{path}: written in format {version}, this program reads {JournalSegment.Version}");
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) != volume || BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]) != number
            || BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]) != firstRecord)
        {
            throw new DamagedStateException($"{path}: does not follow on the state of volume {volume} (record {firstRecord} is due)");
        }
    }

    /// <summary>Payload length of a whole record, or −1.</summary>
    private static int RecordAt(ReadOnlySpan<byte> bytes, int at, out ulong record)
    {
        record = 0;
        var rest = bytes[at..];
        if (rest.Length < JournalSegment.RecordHeaderBytes)
        {
            return -1;
        }

        var length = BinaryPrimitives.ReadUInt32LittleEndian(rest);
        if (length is 0 or > JournalSegment.PayloadMaxBytes || length > rest.Length - JournalSegment.RecordHeaderBytes
            || BinaryPrimitives.ReadUInt32LittleEndian(rest[4..])
                != Crc32C.Compute(rest[8..(JournalSegment.RecordHeaderBytes + (int)length)]))
        {
            return -1;
        }

        record = BinaryPrimitives.ReadUInt64LittleEndian(rest[8..]);
        return (int)length;
    }

    /// <summary>A torn write leaves nothing whole behind it. Anything whole that has a later number means that the middle is damaged.</summary>
    private static bool AnyRecordAfter(ReadOnlySpan<byte> bytes, int at, ulong next)
    {
        for (var i = at + 1; i < bytes.Length; i++)
        {
            if (RecordAt(bytes, i, out var record) >= 0 && record > next)
            {
                return true;
            }
        }

        return false;
    }
}
