using System.Globalization;
using System.Text;
using EphemeralFs.Core;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>
/// Names below a tier's directory: <c>vVVVVVV/S/QQQQQQQQQQ-LLLLLL</c>, all hexadecimal: volume, the lowest digit of the block's number, the number, the length of the data.
/// </summary>
/// <remarks>
/// A directory of its own for each volume makes deleting one a single rename. Sixteen directories below it spread the directory locks of concurrent creates;
/// more would cost a short-lived volume more in mkdir than it writes. The length in the name tells a file that was cut short without opening it.
/// </remarks>
public static class BlockPath
{
    /// <summary>Bytes of a path with its final NUL.</summary>
    public const int LengthBytes = 28;

    /// <summary>Directories of a volume.</summary>
    public const int Shards = 16;

    /// <summary>Where volumes that are deleted wait for their removal.</summary>
    public const string Trash = "trash";

    private const int VolumeDigits = 6;
    private const int SequenceDigits = 10;
    private const int LengthDigits = 6;

    /// <summary>The path of a block as UTF-8 with a final NUL.</summary>
    public static void Write(Span<byte> path, ulong blockId, int length)
    {
        var sequence = BlockId.SequenceOf(blockId);
        WriteVolume(path, BlockId.VolumeOf(blockId));
        path[7] = (byte)'/';
        Hex(path[8..9], sequence % Shards);
        path[9] = (byte)'/';
        Hex(path.Slice(10, SequenceDigits), sequence);
        path[20] = (byte)'-';
        Hex(path.Slice(21, LengthDigits), (ulong)length);
        path[27] = 0;
    }

    /// <summary>The directory of a volume as UTF-8, without a final NUL.</summary>
    public static void WriteVolume(Span<byte> path, uint volume)
    {
        path[0] = (byte)'v';
        Hex(path.Slice(1, VolumeDigits), volume);
    }

    /// <summary>The path of a block as text, for log lines and tests.</summary>
    public static string Format(ulong blockId, int length)
    {
        Span<byte> path = stackalloc byte[LengthBytes];
        Write(path, blockId, length);
        return Encoding.ASCII.GetString(path[..^1]);
    }

    /// <summary>Reads the name of a volume's directory.</summary>
    public static bool TryParseVolume(ReadOnlySpan<char> name, out uint volume)
    {
        volume = 0;
        return name.Length == 1 + VolumeDigits && name[0] == 'v' && TryHex(name[1..], out var value) && (volume = (uint)value) != 0;
    }

    /// <summary>Reads the name of a block's file, without its directories.</summary>
    public static bool TryParseFile(ReadOnlySpan<char> name, out ulong sequence, out int length)
    {
        (sequence, length) = (0, 0);
        if (name.Length != SequenceDigits + 1 + LengthDigits || name[SequenceDigits] != '-'
            || !TryHex(name[..SequenceDigits], out sequence) || !TryHex(name[(SequenceDigits + 1)..], out var bytes))
        {
            return false;
        }

        length = (int)bytes;
        return sequence != 0 && length is > 0 and <= Limits.BlockSizeBytes;
    }

    private static void Hex(Span<byte> target, ulong value)
    {
        for (var i = target.Length - 1; i >= 0; i--, value >>= 4)
        {
            target[i] = "0123456789abcdef"u8[(int)(value & 15)];
        }
    }

    private static bool TryHex(ReadOnlySpan<char> text, out ulong value) =>
        ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && !text.ContainsAnyInRange('A', 'F');
}
