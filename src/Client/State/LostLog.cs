using System.Runtime.InteropServices;
using System.Text;

namespace EphemeralFs.Client.State;

/// <summary>Why bytes that a write had been answered for are not in the volume.</summary>
public enum LostReason : uint
{
    /// <summary>The server had ended the node's session before they were committed.</summary>
    SessionEnded = 1,

    /// <summary>They could not be written back: no server took them, or the volume was full.</summary>
    WriteBackFailed = 2,
}

/// <summary>Bytes of a file that were lost.</summary>
/// <param name="TimeNs">When, nanoseconds since 1970.</param>
/// <param name="Ino">The file.</param>
/// <param name="Bytes">How many at most: a commit whose answer did not come may have been executed.</param>
/// <param name="Reason">Why.</param>
/// <param name="Path">Where a program had it open; empty when that is not known.</param>
public readonly record struct LostFile(long TimeNs, ulong Ino, ulong Bytes, LostReason Reason, string Path);

/// <summary>
/// What of the mount was lost, in the memory that outlives the daemon: a ring of records, the oldest of which give way, and sums that count them all.
/// </summary>
/// <param name="memory">The memory of the mount.</param>
public sealed class LostLog(NodeMemory memory)
{
    /// <summary>Records that are kept.</summary>
    public const int Capacity = 1024;

    /// <summary>Bytes of the ring.</summary>
    public const int Bytes = Capacity * RecordBytes;

    private const int RecordBytes = 512;
    private const int PathOffset = 32;
    private const int PathMaxBytes = RecordBytes - PathOffset;

    private readonly Lock _lock = new();

    /// <summary>Files that lost bytes since the mount was made; one that did so twice counts twice.</summary>
    public ulong FileCount => Volatile.Read(ref memory.Header.LostFiles);

    /// <summary>Bytes of them.</summary>
    public ulong ByteCount => Volatile.Read(ref memory.Header.LostBytes);

    /// <summary>Adds a record, or adds to the last one when that has the same file and reason.</summary>
    public void Add(in LostFile lost)
    {
        lock (_lock)
        {
            ref var header = ref memory.Header;
            header.LostBytes += lost.Bytes;
            if (header.LostFiles > 0)
            {
                var last = Record(header.LostFiles - 1);
                var known = Parse(last);
                if (known.Ino == lost.Ino && known.Reason == lost.Reason)
                {
                    MemoryMarshal.Write(last[16..], known.Bytes + lost.Bytes);
                    return;
                }
            }

            var record = Record(header.LostFiles);
            MemoryMarshal.Write(record, lost.TimeNs);
            MemoryMarshal.Write(record[8..], lost.Ino);
            MemoryMarshal.Write(record[16..], lost.Bytes);
            MemoryMarshal.Write(record[24..], (uint)lost.Reason);
            var path = Encoding.UTF8.GetBytes(lost.Path);
            var kept = path.AsSpan(Math.Max(0, path.Length - PathMaxBytes)); // the end of a long one says more
            MemoryMarshal.Write(record[28..], kept.Length);
            kept.CopyTo(record[PathOffset..]);
            Volatile.Write(ref header.LostFiles, header.LostFiles + 1);
        }
    }

    /// <summary>The records that are kept, oldest first.</summary>
    public IReadOnlyList<LostFile> Read()
    {
        lock (_lock)
        {
            var end = memory.Header.LostFiles;
            var records = new List<LostFile>();
            for (var at = end - Math.Min(end, Capacity); at < end; at++)
            {
                records.Add(Parse(Record(at)));
            }

            return records;
        }
    }

    private static LostFile Parse(ReadOnlySpan<byte> record) => new(
        MemoryMarshal.Read<long>(record),
        MemoryMarshal.Read<ulong>(record[8..]),
        MemoryMarshal.Read<ulong>(record[16..]),
        (LostReason)MemoryMarshal.Read<uint>(record[24..]),
        Encoding.UTF8.GetString(record.Slice(PathOffset, Math.Clamp(MemoryMarshal.Read<int>(record[28..]), 0, PathMaxBytes))));

    private Span<byte> Record(ulong number) => memory.Lost.Slice((int)(number % Capacity) * RecordBytes, RecordBytes);
}
