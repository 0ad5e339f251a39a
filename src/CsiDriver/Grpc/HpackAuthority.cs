using System.Buffers;
using System.Text;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>Finds the authority in a block of compressed headers (HPACK, RFC 7541) and puts another of the same length in its place. Pure.</summary>
/// <remarks>
/// A block is read without the tables of the connection: of a field that the client refers to by its index alone nothing has to be known, since what is
/// in the table was replaced when it came. As the length stays, client and server go on agreeing about what is in the table and what was evicted.
/// </remarks>
internal static class HpackAuthority
{
    /// <summary>Indices of <c>:authority</c> and <c>host</c> in the static table, which encoders prefer for names (RFC 7541, appendix A).</summary>
    private const int AuthorityIndex = 1, HostIndex = 38;

    /// <summary>What the replacement consists of; in Huffman's code five bits, and no character has fewer: a replacement is never longer.</summary>
    private const byte Filler = (byte)'a';

    private const int FillerCode = 0b00011, ShortestCodeBits = 5, LongestCodeBits = 15;

    /// <summary>
    /// The characters by the number of bits of their codes, in the order of the codes (RFC 7541, appendix B, as far as 15 bits: all printable ASCII but
    /// the backslash). The code is canonical: the first of a length follows from the last of the length before.
    /// </summary>
    private static readonly string[] s_symbols = new string[LongestCodeBits + 1];

    private static readonly int[] s_first = new int[LongestCodeBits + 1];

    private static readonly SearchValues<byte> s_hostName = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"u8);

    static HpackAuthority()
    {
        Array.Fill(s_symbols, "");
        s_symbols[5] = "012aceiost";
        s_symbols[6] = " %-./3456789=A_bdfghlmnpru";
        s_symbols[7] = ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz";
        s_symbols[8] = "&*,;XZ";
        s_symbols[10] = "!\"()?";
        s_symbols[11] = "'+|";
        s_symbols[12] = "#>";
        s_symbols[13] = "\0$@[]~";
        s_symbols[14] = "^}";
        s_symbols[15] = "<`{";
        var code = 0;
        for (var bits = 1; bits <= LongestCodeBits; bits++)
        {
            code <<= 1;
            s_first[bits] = code;
            code += s_symbols[bits].Length;
        }
    }

    /// <summary>Replaces an authority that is no plain host name with a port.</summary>
    /// <param name="block">A whole block.</param>
    /// <param name="replaced">A block that is not longer.</param>
    /// <returns>False when nothing was to be replaced, or the block is not understood: then it goes on as it came, and Kestrel judges it.</returns>
    public static bool TryReplace(ReadOnlySpan<byte> block, out byte[] replaced)
    {
        replaced = [];
        var output = new ArrayBufferWriter<byte>();
        var copied = 0;
        var at = 0;
        while (at < block.Length)
        {
            var first = block[at];
            if ((first & 0x80) != 0)
            {
                if (!TryReadInteger(block, ref at, 7, out _))
                {
                    return false; // indexed field
                }

                continue;
            }

            if ((first & 0xE0) == 0x20)
            {
                if (!TryReadInteger(block, ref at, 5, out _))
                {
                    return false; // size of the table
                }

                continue;
            }

            // A literal: with indexing, or without it.
            if (!TryReadInteger(block, ref at, (first & 0x40) != 0 ? 6 : 4, out var name))
            {
                return false;
            }

            var isAuthority = name is AuthorityIndex or HostIndex;
            if (name == 0)
            {
                if (!TryReadString(block, ref at, out var nameText, out var nameIsHuffman))
                {
                    return false;
                }

                isAuthority = TryDecode(nameText, nameIsHuffman, out var text) && text is ":authority" or "host";
            }

            var start = at;
            if (!TryReadString(block, ref at, out var value, out var isHuffman))
            {
                return false;
            }

            if (isAuthority && TryDecode(value, isHuffman, out var authority) && !IsPlain(authority))
            {
                output.Write(block[copied..start]);
                WriteFiller(output, authority.Length, isHuffman);
                copied = at;
            }
        }

        if (copied == 0)
        {
            return false;
        }

        output.Write(block[copied..]);
        replaced = output.WrittenSpan.ToArray();
        return true;
    }

    /// <summary>What any server takes: letters, digits, dots and dashes, and perhaps a port. Nothing at all is well too.</summary>
    private static bool IsPlain(string authority)
    {
        var host = authority.AsSpan();
        if (host.LastIndexOf(':') is > 0 and var colon && host[(colon + 1)..] is { Length: > 0 and < 6 } port && !port.ContainsAnyExceptInRange('0', '9'))
        {
            host = host[..colon];
        }

        foreach (var c in host)
        {
            if (c > 127 || !s_hostName.Contains((byte)c))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>RFC 7541, 5.1. False when it is cut off or larger than any length here.</summary>
    private static bool TryReadInteger(ReadOnlySpan<byte> block, ref int at, int bits, out int value)
    {
        value = 0;
        if (at >= block.Length)
        {
            return false;
        }

        var most = (1 << bits) - 1;
        value = block[at++] & most;
        if (value < most)
        {
            return true;
        }

        for (var shift = 0; shift <= 14 && at < block.Length; shift += 7)
        {
            var b = block[at++];
            value += (b & 127) << shift;
            if (b < 128)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>RFC 7541, 5.2.</summary>
    private static bool TryReadString(ReadOnlySpan<byte> block, ref int at, out ReadOnlySpan<byte> text, out bool isHuffman)
    {
        text = default;
        isHuffman = at < block.Length && (block[at] & 0x80) != 0;
        if (!TryReadInteger(block, ref at, 7, out var length) || length > block.Length - at)
        {
            return false;
        }

        text = block.Slice(at, length);
        at += length;
        return true;
    }

    /// <summary>False for what no authority has: a character whose code is longer than any of <see cref="s_symbols"/>, bad padding.</summary>
    private static bool TryDecode(ReadOnlySpan<byte> text, bool isHuffman, out string decoded)
    {
        if (!isHuffman)
        {
            decoded = Encoding.Latin1.GetString(text);
            return true;
        }

        decoded = "";
        var characters = new StringBuilder(text.Length * 2);
        int code = 0, bits = 0;
        for (var i = 0; i < text.Length * 8; i++)
        {
            code = (code << 1) | ((text[i >> 3] >> (7 - (i & 7))) & 1);
            if (++bits > LongestCodeBits)
            {
                return false;
            }

            if (code - s_first[bits] is >= 0 and var index && index < s_symbols[bits].Length)
            {
                characters.Append(s_symbols[bits][index]);
                code = bits = 0;
            }
        }

        // The rest is filled with ones, less than a byte of them.
        decoded = characters.ToString();
        return bits < 8 && code == (1 << bits) - 1;
    }

    private static void WriteFiller(ArrayBufferWriter<byte> output, int length, bool isHuffman)
    {
        if (!isHuffman)
        {
            WriteInteger(output, 0, length);
            output.GetSpan(length)[..length].Fill(Filler);
            output.Advance(length);
            return;
        }

        var bytes = ((length * ShortestCodeBits) + 7) / 8;
        WriteInteger(output, 0x80, bytes);
        var span = output.GetSpan(bytes)[..bytes];
        span.Fill(0xFF);
        for (var bit = 0; bit < length * ShortestCodeBits; bit++)
        {
            if (((FillerCode >> (ShortestCodeBits - 1 - (bit % ShortestCodeBits))) & 1) == 0)
            {
                span[bit >> 3] &= (byte)~(0x80 >> (bit & 7));
            }
        }

        output.Advance(bytes);
    }

    private static void WriteInteger(ArrayBufferWriter<byte> output, byte first, int value)
    {
        const int Most = 127;
        if (value < Most)
        {
            output.Write([(byte)(first | value)]);
            return;
        }

        output.Write([(byte)(first | Most)]);
        for (value -= Most; value >= 128; value >>= 7)
        {
            output.Write([(byte)(value | 128)]);
        }

        output.Write([(byte)value]);
    }
}
