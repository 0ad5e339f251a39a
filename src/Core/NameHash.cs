using System.Buffers.Binary;
using System.Security.Cryptography;

namespace EphemeralFs.Core;

/// <summary>Hash of names, keyed per process so that nobody can choose names that collide. Never stored and never part of an answer.</summary>
public static class NameHash
{
    private static readonly ulong s_seed = BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(8));
    private static readonly ulong s_factor = BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(8)) | 1;

    /// <summary>The hash of a name.</summary>
    public static uint Of(ReadOnlySpan<byte> name)
    {
        var wide = Wide(name);
        return (uint)(wide ^ (wide >> 32));
    }

    /// <summary>A hash so wide that two names with the same one do not happen.</summary>
    public static ulong Wide(ReadOnlySpan<byte> name)
    {
        var state = s_seed ^ (ulong)name.Length;
        while (name.Length >= 8)
        {
            state = Mix(state ^ BinaryPrimitives.ReadUInt64LittleEndian(name));
            name = name[8..];
        }

        var tail = 0UL;
        for (var i = 0; i < name.Length; i++)
        {
            tail |= (ulong)name[i] << (8 * i);
        }

        return Mix(state ^ tail);
    }

    private static ulong Mix(ulong value)
    {
        var high = Math.BigMul(value ^ s_seed, s_factor ^ 0xA0761D6478BD642F, out var low);
        return high ^ low;
    }
}
