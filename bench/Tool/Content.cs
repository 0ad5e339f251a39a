using System.Buffers.Binary;

namespace EphemeralFs.Bench;

/// <summary>
/// The bytes of a test file: every 4 KiB begins with a stamp of (seed, offset) over a fixed pseudo-random pattern, so that a stale, shifted or
/// torn page is noticed, and stamping a write costs next to nothing.
/// </summary>
internal static unsafe class Content
{
    public const int StampEvery = 4096;

    private static readonly byte[] Pattern = MakePattern();

    /// <summary>Fills a buffer with what the file of <paramref name="seed"/> holds at <paramref name="offset"/> (a multiple of 4 KiB).</summary>
    public static void Fill(byte* data, long bytes, ulong seed, long offset)
    {
        for (long at = 0; at < bytes; at += StampEvery)
        {
            int length = (int)Math.Min(StampEvery, bytes - at);
            Pattern.AsSpan(0, length).CopyTo(new Span<byte>(data + at, length));
        }

        Stamp(data, bytes, seed, offset);
    }

    /// <summary>Renews only the stamps of a buffer that <see cref="Fill"/> filled once.</summary>
    public static void Stamp(byte* data, long bytes, ulong seed, long offset)
    {
        for (long at = 0; at + sizeof(ulong) <= bytes; at += StampEvery)
        {
            *(ulong*)(data + at) = StampOf(seed, offset + at);
        }
    }

    /// <summary>Whether the stamps are right: cheap enough for a measured loop.</summary>
    public static bool StampsAreRight(byte* data, long bytes, ulong seed, long offset)
    {
        for (long at = 0; at + sizeof(ulong) <= bytes; at += StampEvery)
        {
            if (*(ulong*)(data + at) != StampOf(seed, offset + at))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether every byte is right.</summary>
    public static bool IsRight(byte* data, long bytes, ulong seed, long offset)
    {
        for (long at = 0; at < bytes; at += StampEvery)
        {
            int length = (int)Math.Min(StampEvery, bytes - at);
            if (!new ReadOnlySpan<byte>(data + at + sizeof(ulong), length - sizeof(ulong))
                    .SequenceEqual(Pattern.AsSpan(sizeof(ulong), length - sizeof(ulong))))
            {
                return false;
            }
        }

        return StampsAreRight(data, bytes, seed, offset);
    }

    private static ulong StampOf(ulong seed, long offset)
    {
        ulong z = unchecked((seed * 0x9E3779B97F4A7C15UL) + (ulong)offset);
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EBUL);
        return z ^ (z >> 31);
    }

    private static byte[] MakePattern()
    {
        byte[] pattern = new byte[StampEvery];
        for (int at = 0; at < pattern.Length; at += sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(pattern.AsSpan(at), StampOf(0x7A77E21, at));
        }

        return pattern;
    }
}
