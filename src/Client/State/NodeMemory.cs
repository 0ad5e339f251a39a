using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using EphemeralFs.Core;
using EphemeralFs.Interop;

namespace EphemeralFs.Client.State;

/// <summary>
/// The layout of a mount's memory that outlives the daemon: session, slots, open handles and unflushed writes. The daemon maps it,
/// the keeper holds its descriptor, and a successor maps it again and carries on.
/// </summary>
/// <remarks>
/// Fixed places, no pointers, no allocation inside. A record is published by the store of the field that marks it as used
/// (<c>Unique</c>, <c>Handle</c>, <c>State</c>); a daemon that dies before that store has not begun.
/// </remarks>
public sealed unsafe class NodeMemory
{
    /// <summary>Unit of the write-back cache, bytes. A window of a file is this large and aligned.</summary>
    public const int SegmentBytes = 128 << 10;

    /// <summary>Open handles of one mount.</summary>
    public const int HandleCount = 1 << 16;

    private const ulong MagicValue = 0x38_4D_4E_53_46_45; // "EFSNM8"
    private const int HeaderBytes = 4096;

    private readonly byte* _base;

    /// <summary>Keeps the addresses: an answer may come when the mount is gone.</summary>
    private readonly SharedMemory? _owner;

    /// <summary>Uses the zeroed memory of a new mount, or what a predecessor left.</summary>
    /// <param name="memory">At least <see cref="SizeFor"/> bytes.</param>
    public NodeMemory(SharedMemory memory)
        : this(memory.Pointer, memory.Length) => _owner = memory;

    /// <summary>As above, for memory of another kind.</summary>
    /// <param name="memory">At least <see cref="SizeFor"/> bytes, page-aligned; stays mapped as long as this object lives.</param>
    /// <param name="length">Bytes.</param>
    internal NodeMemory(byte* memory, long length)
    {
        _base = memory;
        var fixedBytes = SizeFor(0);
        SegmentCount = (int)((length - fixedBytes) / (SegmentBytes + sizeof(SegmentHeader)));
        if (Header.Magic == 0)
        {
            Header.SegmentCount = SegmentCount;
            Header.Magic = MagicValue;
        }
        else
        {
            IsInherited = true;
            if (Header.Magic != MagicValue || Header.SegmentCount != SegmentCount)
            {
                throw new InvalidDataException("the memory kept for this mount has another layout: it was written by an incompatible version");
            }
        }
    }

    /// <summary>Whether a predecessor used the memory.</summary>
    public bool IsInherited { get; }

    /// <summary>How many segments the write-back cache has.</summary>
    public int SegmentCount { get; }

    public ref StateHeader Header => ref Unsafe.AsRef<StateHeader>(_base);

    public Span<SlotRecord> Slots => new(_base + HeaderBytes, Limits.SlotsPerSession);

    public Span<HandleRecord> Handles => new(_base + HeaderBytes + (sizeof(SlotRecord) * Limits.SlotsPerSession), HandleCount);

    /// <summary>The ring of <see cref="LeaseLog"/>.</summary>
    public Span<byte> Leases => new(_base + HeaderBytes + (sizeof(SlotRecord) * Limits.SlotsPerSession) + (sizeof(HandleRecord) * HandleCount), LeaseLog.Bytes);

    /// <summary>The ring of <see cref="LostLog"/>.</summary>
    public Span<byte> Lost => new(
        _base + HeaderBytes + (sizeof(SlotRecord) * Limits.SlotsPerSession) + (sizeof(HandleRecord) * HandleCount) + LeaseLog.Bytes, LostLog.Bytes);

    /// <summary>The records of <see cref="Files.DeferredCreates"/>.</summary>
    public Span<CreateRecord> Creates => new(
        _base + HeaderBytes + (sizeof(SlotRecord) * Limits.SlotsPerSession) + (sizeof(HandleRecord) * HandleCount) + LeaseLog.Bytes + LostLog.Bytes,
        Limits.DeferredCreates);

    /// <summary>Bytes to map for a write-back cache of <paramref name="cacheBytes"/>.</summary>
    public static long SizeFor(long cacheBytes)
    {
        var segments = cacheBytes / SegmentBytes;
        var tables = HeaderBytes + ((long)sizeof(SlotRecord) * Limits.SlotsPerSession) + ((long)sizeof(HandleRecord) * HandleCount)
            + LeaseLog.Bytes + LostLog.Bytes + (sizeof(CreateRecord) * Limits.DeferredCreates);
        return RoundUp(tables) + (segments * (SegmentBytes + sizeof(SegmentHeader)));
    }

    /// <summary>The header of a segment.</summary>
    public ref SegmentHeader Segment(int index) =>
        ref Unsafe.AsRef<SegmentHeader>(_base + SizeFor(0) + ((long)SegmentCount * SegmentBytes) + ((long)index * sizeof(SegmentHeader)));

    /// <summary>The bytes of a segment.</summary>
    public Span<byte> Data(int index) => new(_base + SizeFor(0) + ((long)index * SegmentBytes), SegmentBytes);

    private static long RoundUp(long value) => (value + Limits.PageSizeBytes - 1) / Limits.PageSizeBytes * Limits.PageSizeBytes;
}

/// <summary>The session and what it was granted.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct StateHeader
{
    public ulong Magic;
    public long SegmentCount;
    public ulong Session;
    public uint Epoch;
    public uint Volume;
    public ulong NextInode;
    public ulong EndInode;
    public ulong NextBlock;
    public ulong EndBlock;

    /// <summary>Quota bytes that were granted and not yet reserved for dirty pages.</summary>
    public long UnusedGrantBytes;

    /// <summary>Handles and segments are numbered from here.</summary>
    public ulong NextSerial;

    /// <summary>First and one past the last byte of <see cref="LeaseLog"/>; they only grow.</summary>
    public ulong LeaseHead, LeaseTail;

    /// <summary><see cref="LeaseLog.LostUntilMs"/>.</summary>
    public long LeaseLostUntilMs;

    /// <summary>How many sessions the mount had before this one: each was ended by the server.</summary>
    public ulong Life;

    /// <summary>How often a session was asked for, on a connection each.</summary>
    public ulong Connections;

    /// <summary>The number with which a session is being opened; 0 while there is one.</summary>
    public ulong Opening;

    /// <summary>What <see cref="LostLog"/> has recorded since the mount was made: files, and bytes of them.</summary>
    public ulong LostFiles, LostBytes;

    /// <summary>One past the highest record of <see cref="NodeMemory.Handles"/>, and the highest segment, that was ever used: to look at one touches its page.</summary>
    public int HandlesEnd, SegmentsEnd;
}

/// <summary>A slot of the session: which kernel request occupies it, and its sequence number.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct SlotRecord
{
    /// <summary>The kernel's <c>unique</c>; 0 = free, <see cref="Background"/> = an operation that no kernel request waits for.</summary>
    public ulong Unique;

    /// <summary>Which of the request's operations; with <see cref="SessionEnded"/> when its session has ended meanwhile.</summary>
    public uint Step;

    /// <summary>Sequence number of the last use.</summary>
    public uint Sequence;

    public const ulong Background = ulong.MaxValue;

    public const uint SessionEnded = 1u << 31;
}

/// <summary>An open handle as the kernel knows it.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct HandleRecord
{
    /// <summary>The handle; its low bits are its place in the table. 0 = free.</summary>
    public ulong Handle;

    public ulong Ino;

    /// <summary>The handle's number at the server: the <c>unique</c> of the kernel request that opened it, so that a resent open registers it once.</summary>
    public ulong OpenId;

    /// <summary><see cref="HandleFlags"/>.</summary>
    public ulong Flags;

    /// <summary>The <c>unique</c> of the kernel request that opened it last: a handle that the server keeps may be opened again without asking it.</summary>
    public ulong Unique;
}

/// <summary>A file that a program has made and the metadata server has not heard of.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct CreateRecord
{
    /// <summary>The file's inode number; 0 = free.</summary>
    public ulong Ino;

    public ulong Parent;

    /// <summary>The handle's number at the server.</summary>
    public ulong OpenId;

    /// <summary>When it was made, nanoseconds since the epoch.</summary>
    public long TimeNs;

    public uint Mode;
    public uint Uid;
    public uint Gid;

    /// <summary>How it is opened: <see cref="Rpc.Messages.OpenFlags"/>.</summary>
    public uint Flags;

    public int NameLength;

    private fixed byte _name[Limits.NameMaxBytes + 1];

    /// <summary>The name in the parent.</summary>
    public readonly byte[] GetName()
    {
        fixed (byte* name = _name)
        {
            return new ReadOnlySpan<byte>(name, NameLength).ToArray();
        }
    }

    public void SetName(ReadOnlySpan<byte> value)
    {
        fixed (byte* name = _name)
        {
            value.CopyTo(new Span<byte>(name, Limits.NameMaxBytes));
        }

        NameLength = value.Length;
    }
}

/// <summary>What an open handle may do.</summary>
[Flags]
public enum HandleFlags : uint
{
    None = 0,
    Write = 1,
    Append = 2,
    Directory = 4,

    /// <summary>O_SYNC or O_DSYNC: a write is answered when it is committed.</summary>
    Sync = 8,

    /// <summary>The kernel has closed it; it stays open at the server for the next open.</summary>
    Parked = 16,

    /// <summary>The kernel has closed it; the server is being told.</summary>
    Closing = 32,

    /// <summary>The session under which it was opened has ended: nothing but close works.</summary>
    Ended = 64,
}

/// <summary>Life of a segment of the write-back cache.</summary>
public enum SegmentState : uint
{
    Free = 0,

    /// <summary>Takes writes.</summary>
    Dirty = 1,

    /// <summary>Being written to storage; later writes to the window go to a newer segment.</summary>
    Frozen = 2,
}

/// <summary>Unflushed bytes of one window of one file.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct SegmentHeader
{
    /// <summary>Most separate dirty ranges of one segment; the next one begins a new segment on top.</summary>
    public const int RangesMax = 24;

    public SegmentState State;

    /// <summary>Number of used <see cref="_ranges"/>.</summary>
    public uint RangeCount;

    public ulong Ino;

    /// <summary>File offset / <see cref="NodeMemory.SegmentBytes"/>.</summary>
    public ulong Window;

    /// <summary>Of two segments of one window the higher one is newer.</summary>
    public ulong Order;

    /// <summary>Time of the last write, nanoseconds since the epoch.</summary>
    public long TimeNs;

    /// <summary>One bit per 4 KiB page that quota was reserved for.</summary>
    public uint ReservedPages;

    /// <summary>Whether set-user-ID and set-group-ID bits are to be cleared.</summary>
    public uint KillSuidgid;

    private fixed uint _ranges[RangesMax * 2];

    /// <summary>The dirty ranges within the window, sorted, without overlap.</summary>
    public readonly (uint Start, uint End) Range(int index) => (_ranges[index * 2], _ranges[(index * 2) + 1]);

    /// <summary>One past the last dirty byte of the window, 0 if none.</summary>
    public readonly uint DirtyEnd => RangeCount == 0 ? 0 : _ranges[(RangeCount * 2) - 1];

    /// <summary>Sum of the dirty ranges.</summary>
    public readonly uint DirtyBytes
    {
        get
        {
            uint sum = 0;
            for (var i = 0; i < RangeCount; i++)
            {
                sum += _ranges[(i * 2) + 1] - _ranges[i * 2];
            }

            return sum;
        }
    }

    /// <summary>Adds a dirty range and joins it with what it touches; false when the table is full.</summary>
    public bool TryAdd(uint start, uint end)
    {
        var first = 0;
        while (first < RangeCount && _ranges[(first * 2) + 1] < start)
        {
            first++;
        }

        var last = first;
        while (last < RangeCount && _ranges[last * 2] <= end)
        {
            start = Math.Min(start, _ranges[last * 2]);
            end = Math.Max(end, _ranges[(last * 2) + 1]);
            last++;
        }

        var joined = last - first;
        if (joined == 0 && RangeCount == RangesMax)
        {
            return false;
        }

        fixed (uint* ranges = _ranges)
        {
            var all = new Span<uint>(ranges, RangesMax * 2);
            all[(last * 2)..(int)(RangeCount * 2)].CopyTo(all[((first + 1) * 2)..]);
            all[first * 2] = start;
            all[(first * 2) + 1] = end;
        }

        RangeCount = (uint)(RangeCount + 1 - joined);
        return true;
    }
}
