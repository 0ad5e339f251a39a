using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Running;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Ops;

/// <summary>Bytes that are a function of a seed and never zero, so that a lost write cannot look like a hole.</summary>
public static class Pattern
{
    public static byte[] Bytes(int seed, int length)
    {
        var bytes = new byte[length];
        uint state = ((uint)seed * 2654435761u) | 1;
        for (int i = 0; i < length; i++)
        {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            bytes[i] = (byte)(state % 255 + 1);
        }
        return bytes;
    }

    /// <summary>Length and a digest: enough to compare, short enough to print.</summary>
    public static string Show(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length <= 16)
        {
            return $"{bytes.Length} bytes {Convert.ToHexStringLower(bytes)}";
        }
        Span<byte> hash = stackalloc byte[32];
        System.Security.Cryptography.SHA256.HashData(bytes, hash);
        return $"{bytes.Length} bytes {Convert.ToHexStringLower(bytes[..8])}… sha256 {Convert.ToHexStringLower(hash[..8])}";
    }

    /// <summary>Smaller lengths and offsets for the shrinker.</summary>
    internal static IEnumerable<int> Smaller(int value) => value > 1 ? [1, value / 2, value - 1] : [];

    internal static IEnumerable<long> Smaller(long value) => value > 0 ? [0, value / 2, value - 1] : [];
}

/// <summary>write(2) at the handle's position (at the end, if it was opened with O_APPEND).</summary>
public sealed record Write(int Slot, int Length, int Seed) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        long written = tree.Calls.Write(tree.Fd(Slot), Pattern.Bytes(Seed, Length));
        if (written > 0)
        {
            tree.NoteWrite(Slot);
        }
        return Outcome.Of(written);
    }

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Length).Select(length => this with { Length = length }).Concat(base.Simpler());
}

/// <summary>pwrite(2).</summary>
public sealed record WriteAt(int Slot, long Offset, int Length, int Seed) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        long written = tree.Calls.WriteAt(tree.Fd(Slot), Pattern.Bytes(Seed, Length), Offset);
        if (written > 0)
        {
            tree.NoteWrite(Slot);
        }
        return Outcome.Of(written);
    }

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Length).Select(length => (Op)(this with { Length = length }))
        .Concat(Pattern.Smaller(Offset).Select(offset => this with { Offset = offset })).Concat(base.Simpler());
}

/// <summary>read(2) at the handle's position.</summary>
public sealed record Read(int Slot, int Length) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        var buffer = new byte[Length];
        long read = tree.Calls.Read(tree.Fd(Slot), buffer);
        return read < 0 ? Outcome.Of(read) : Outcome.Ok(Pattern.Show(buffer.AsSpan(0, (int)read)));
    }
}

/// <summary>pread(2).</summary>
public sealed record ReadAt(int Slot, long Offset, int Length) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        var buffer = new byte[Length];
        long read = tree.Calls.ReadAt(tree.Fd(Slot), buffer, Offset);
        return read < 0 ? Outcome.Of(read) : Outcome.Ok(Pattern.Show(buffer.AsSpan(0, (int)read)));
    }
}

/// <summary>
/// A store through a shared mapping, within the file as it is: bytes stored after the end in the last page are nobody's promise.
/// </summary>
public sealed record MapWrite(int Slot, long Offset, int Length, int Seed, bool Msync) : Op
{
    private const int PageBytes = 4096;

    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        // What a store into the rest of the last page leaves there when the file grows over it is unspecified: mmap(2), BUGS.
        long offset = tree.Calls.Stat(tree.Fd(Slot), "", AT_EMPTY_PATH, out var status) == 0 && Offset >= status.Size
            ? Math.Max(Offset, (status.Size + PageBytes - 1) / PageBytes * PageBytes)
            : Offset;
        int length = MapRead.Within(tree, Slot, offset, Length);
        long written = tree.Calls.MapWrite(tree.Fd(Slot), offset, Pattern.Bytes(Seed, length), Msync);
        if (written > 0)
        {
            tree.NoteWrite(Slot);
        }
        return Outcome.Of(written);
    }

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Length).Select(length => this with { Length = length }).Concat(base.Simpler());
}

/// <summary>A load through a shared mapping.</summary>
public sealed record MapRead(int Slot, long Offset, int Length) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        var buffer = new byte[Within(tree, Slot, Offset, Length)];
        long read = tree.Calls.MapRead(tree.Fd(Slot), Offset, buffer);
        return read < 0 ? Outcome.Of(read) : Outcome.Ok(Pattern.Show(buffer.AsSpan(0, (int)read)));
    }

    /// <summary>The part of the range that lies in the file; at least one byte, so that a range after the end is tried too.</summary>
    internal static int Within(Tree tree, int slot, long offset, int length) =>
        tree.Calls.Stat(tree.Fd(slot), "", AT_EMPTY_PATH, out var status) == 0
            ? (int)Math.Clamp(status.Size - offset, 1, length)
            : length;
}

/// <summary>lseek(2) with SEEK_SET, SEEK_CUR or SEEK_END.</summary>
public sealed record Seek(int Slot, long Offset, int Whence) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        long position = tree.Calls.Seek(tree.Fd(Slot), Offset, Whence);
        // Positions in directories are the file system's own cookies.
        bool isDirectory = tree.Calls.Stat(tree.Fd(Slot), "", AT_EMPTY_PATH, out var status) == 0 && status.IsDirectory;
        return isDirectory ? Outcome.Ok("directory") : Outcome.Of(position);
    }
}

/// <summary>truncate(2).</summary>
public sealed record Truncate(string Path, long Length) : Op
{
    public override Outcome Apply(Tree tree)
    {
        int result = tree.Calls.Truncate(tree.Path(Node, Path), Length);
        if (result == 0)
        {
            tree.NoteWrite(Node, tree.Path(Node, Path));
        }
        return Outcome.Of(result);
    }

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Length).Select(length => this with { Length = length }).Concat(base.Simpler());
}

/// <summary>ftruncate(2).</summary>
public sealed record TruncateHandle(int Slot, long Length) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int result = tree.Calls.Truncate(tree.Fd(Slot), Length);
        if (result == 0)
        {
            tree.NoteWrite(Slot);
        }
        return Outcome.Of(result);
    }

    public override IEnumerable<Op> Simpler() => Pattern.Smaller(Length).Select(length => this with { Length = length }).Concat(base.Simpler());
}

/// <summary>fallocate(2) with the modes that tmpfs has: 0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE.</summary>
public sealed record Allocate(int Slot, int Mode, long Offset, long Length) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int result = tree.Calls.Allocate(tree.Fd(Slot), Mode, Offset, Length);
        if (result == 0)
        {
            tree.NoteWrite(Slot);
        }
        return Outcome.Of(result);
    }
}

/// <summary>copy_file_range(2) until the range is copied or the source ends: how much one call copies is the file system's choice.</summary>
public sealed record CopyRange(int From, int To, long FromOffset, long ToOffset, int Length) : Op
{
    public override IReadOnlyList<int> UsedSlots() => [From, To];

    public override Outcome Apply(Tree tree)
    {
        long from = FromOffset, to = ToOffset, total = 0;
        while (total < Length)
        {
            long copied = tree.Calls.CopyFileRange(tree.Fd(From), ref from, tree.Fd(To), ref to, Length - total);
            if (copied <= 0)
            {
                return copied < 0 ? Outcome.Of(copied) with { Detail = $"after {total}" } : Outcome.Of(total);
            }
            total += copied;
            tree.NoteWrite(To);
        }
        return Outcome.Of(total);
    }
}

/// <summary>
/// SEEK_DATA and SEEK_HOLE: where holes lie is the file system's choice, but the answers must walk forward to the end, and what
/// is called a hole must read as zeroes.
/// </summary>
public sealed record HolesCheck(int Slot) : Op
{
    private const int MaxExtents = 100_000;

    public override IReadOnlyList<int> UsedSlots() => [Slot];

    public override Outcome Apply(Tree tree)
    {
        int fd = tree.Fd(Slot);
        int result = tree.Calls.Stat(fd, "", AT_EMPTY_PATH, out var status);
        if (result < 0 || !status.IsFile)
        {
            return Outcome.Of(result);
        }
        long before = tree.Calls.Seek(fd, 0, SEEK_CUR);
        var outcome = Walk(tree.Calls, fd, status.Size);
        tree.Calls.Seek(fd, before, SEEK_SET);
        return outcome;
    }

    private static Outcome Walk(Calls calls, int fd, long size)
    {
        if (calls.Seek(fd, size, SEEK_DATA) != -ENXIO || calls.Seek(fd, size, SEEK_HOLE) != -ENXIO)
        {
            return Outcome.Ok("seeking from the end is not ENXIO");
        }
        var buffer = new byte[1 << 20];
        long position = 0;
        for (int i = 0; i < MaxExtents && position < size; i++)
        {
            long data = calls.Seek(fd, position, SEEK_DATA);
            long end = data == -ENXIO ? size : data;
            if (end < position || end > size)
            {
                return Outcome.Ok($"SEEK_DATA from {position} of {size} gives {data}");
            }
            if (!IsZero(calls, fd, buffer, position, end))
            {
                return new Outcome(0, $"bytes {position} to {end} are called a hole and are not zero (or not readable)");
            }
            if (end == size)
            {
                return Outcome.Ok("sane");
            }
            long hole = calls.Seek(fd, end, SEEK_HOLE);
            if (hole <= end || hole > size)
            {
                return Outcome.Ok($"SEEK_HOLE from {end} of {size} gives {hole}");
            }
            position = hole;
        }
        return Outcome.Ok("sane");
    }

    private static bool IsZero(Calls calls, int fd, byte[] buffer, long from, long to)
    {
        while (from < to)
        {
            long read = calls.ReadAt(fd, buffer.AsSpan(0, (int)Math.Min(buffer.Length, to - from)), from);
            // A handle for writing only cannot be checked by reading.
            if (read == -EBADF)
            {
                return true;
            }
            if (read <= 0 || buffer.AsSpan(0, (int)read).ContainsAnyExcept((byte)0))
            {
                return false;
            }
            from += read;
        }
        return true;
    }
}
