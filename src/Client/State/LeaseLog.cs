using System.Runtime.InteropServices;

namespace EphemeralFs.Client.State;

/// <summary>
/// What the kernel was told with a time-out, in the memory that outlives the daemon: a ring of records, the oldest of which give way. A successor reads it, so
/// that it knows what its kernel may use without asking.
/// </summary>
/// <remarks>A record is there when the tail has moved past it, and gone when the head has; positions only grow. One writer.</remarks>
/// <param name="memory">The memory of the mount.</param>
public sealed class LeaseLog(NodeMemory memory)
{
    /// <summary>Bytes of the ring: some 20,000 names at a time.</summary>
    public const int Bytes = 1 << 20;

    private const int HeaderBytes = 24;
    private const uint SkipsToTheEnd = uint.MaxValue;

    /// <summary>Until when the kernel may use something that gave way, milliseconds of the monotonic clock.</summary>
    public long LostUntilMs => memory.Header.LeaseLostUntilMs;

    /// <summary>Adds a record.</summary>
    /// <param name="untilMs">Until when the kernel may use it.</param>
    /// <param name="number">A directory, or with an empty name an inode whose attributes were told.</param>
    /// <param name="name">The name.</param>
    public void Add(long untilMs, ulong number, ReadOnlySpan<byte> name)
    {
        ref var state = ref memory.Header;
        var length = HeaderBytes + ((name.Length + 7) & ~7);
        var left = Bytes - (int)(state.LeaseTail % Bytes);
        if (left < length)
        {
            MakeRoom(left);
            if (left >= HeaderBytes)
            {
                Write(0, 0, SkipsToTheEnd, default);
            }

            Volatile.Write(ref state.LeaseTail, state.LeaseTail + (ulong)left);
        }

        MakeRoom(length);
        Write(untilMs, number, (uint)name.Length, name);
        Volatile.Write(ref state.LeaseTail, state.LeaseTail + (ulong)length);
    }

    /// <summary>All records, oldest first.</summary>
    public IEnumerable<(long UntilMs, ulong Number, byte[] Name)> Read()
    {
        for (var at = memory.Header.LeaseHead; at < memory.Header.LeaseTail;)
        {
            at += Next(at, out var record);
            if (record is { } found)
            {
                yield return found;
            }
        }
    }

    private void MakeRoom(int bytes)
    {
        ref var state = ref memory.Header;
        while (state.LeaseTail + (ulong)bytes - state.LeaseHead > Bytes)
        {
            var length = Next(state.LeaseHead, out var oldest);
            if (oldest is { } lost)
            {
                state.LeaseLostUntilMs = Math.Max(state.LeaseLostUntilMs, lost.UntilMs);
            }

            Volatile.Write(ref state.LeaseHead, state.LeaseHead + length);
        }
    }

    private void Write(long untilMs, ulong number, uint length, ReadOnlySpan<byte> name)
    {
        var place = memory.Leases[(int)(memory.Header.LeaseTail % Bytes)..];
        MemoryMarshal.Write(place, untilMs);
        MemoryMarshal.Write(place[8..], number);
        MemoryMarshal.Write(place[16..], length);
        name.CopyTo(place[HeaderBytes..]);
    }

    /// <summary>The record at a position, null for the gap at the end of the ring; returns how far the next one is.</summary>
    private ulong Next(ulong at, out (long UntilMs, ulong Number, byte[] Name)? record)
    {
        record = null;
        var offset = (int)(at % Bytes);
        var left = Bytes - offset;
        if (left < HeaderBytes)
        {
            return (ulong)left;
        }

        var place = memory.Leases[offset..];
        var length = MemoryMarshal.Read<uint>(place[16..]);
        if (length > left - HeaderBytes)
        {
            return (ulong)left;
        }

        record = (MemoryMarshal.Read<long>(place), MemoryMarshal.Read<ulong>(place[8..]), place.Slice(HeaderBytes, (int)length).ToArray());
        return (ulong)(HeaderBytes + ((length + 7) & ~7));
    }
}
