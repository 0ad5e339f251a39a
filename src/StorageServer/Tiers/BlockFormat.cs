using System.Buffers.Binary;
using EphemeralFs.Core;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>
/// How a block lies in its file: the data, one CRC32C (32 bits) for each unit of <see cref="Limits.ChecksumUnitBytes"/>, and a footer of
/// <see cref="FooterBytes"/>. Little-endian. The data come first, so that they are aligned; the footer is last, so that a file cut short has none.
/// </summary>
/// <remarks>Footer: magic 4, version 2, log2 of the unit 2, block id 8, data length 4, number of units 4, zero 4, CRC32C of the checksums and the footer up to here 4.</remarks>
public static class BlockFormat
{
    /// <summary>Bytes of the footer.</summary>
    public const int FooterBytes = 32;

    /// <summary>Longest trailer: checksums of a full block and the footer.</summary>
    public const int TrailerMaxBytes = (Limits.BlockSizeBytes / Limits.ChecksumUnitBytes * sizeof(uint)) + FooterBytes;

    private const uint Magic = 0x42534645; // "EFSB"
    private const ushort Version = 1;
    private const ushort UnitShift = 16;

    /// <summary>Units that <paramref name="length"/> bytes of data take, the last one possibly short.</summary>
    public static int Units(int length) => (length + Limits.ChecksumUnitBytes - 1) / Limits.ChecksumUnitBytes;

    /// <summary>Bytes that follow <paramref name="length"/> bytes of data.</summary>
    public static int TrailerLength(int length) => (Units(length) * sizeof(uint)) + FooterBytes;

    /// <summary>Bytes of the file of a block.</summary>
    public static int FileLength(int length) => length + TrailerLength(length);

    /// <summary>What a block takes of its tier's capacity: whole pages, the trailer included.</summary>
    public static long Charge(int length) => (FileLength(length) + Limits.PageSizeBytes - 1L) & -Limits.PageSizeBytes;

    /// <summary>Checks each unit of <paramref name="data"/> against its checksum.</summary>
    public static bool Verify(ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums)
    {
        if (checksums.Length != Units(data.Length))
        {
            return false;
        }

        foreach (var checksum in checksums)
        {
            var unit = data[..Math.Min(data.Length, Limits.ChecksumUnitBytes)];
            if (Crc32C.Compute(unit) != checksum)
            {
                return false;
            }

            data = data[unit.Length..];
        }

        return true;
    }

    /// <summary>Fills <paramref name="trailer"/>, which has <see cref="TrailerLength"/> bytes.</summary>
    public static void WriteTrailer(Span<byte> trailer, ulong blockId, int length, ReadOnlySpan<uint> checksums)
    {
        for (var i = 0; i < checksums.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(trailer[(i * sizeof(uint))..], checksums[i]);
        }

        var footer = trailer[(checksums.Length * sizeof(uint))..];
        BinaryPrimitives.WriteUInt32LittleEndian(footer, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(footer[4..], Version);
        BinaryPrimitives.WriteUInt16LittleEndian(footer[6..], UnitShift);
        BinaryPrimitives.WriteUInt64LittleEndian(footer[8..], blockId);
        BinaryPrimitives.WriteInt32LittleEndian(footer[16..], length);
        BinaryPrimitives.WriteInt32LittleEndian(footer[20..], checksums.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(footer[24..], 0);
        BinaryPrimitives.WriteUInt32LittleEndian(footer[28..], Crc32C.Compute(trailer[..^4]));
    }

    /// <summary>
    /// Whether <paramref name="trailer"/> is whole and belongs to this block; then <paramref name="checksums"/> gets those of the units from
    /// <paramref name="firstUnit"/> on, as many as fit.
    /// </summary>
    public static bool TryReadTrailer(ReadOnlySpan<byte> trailer, ulong blockId, int length, int firstUnit, Span<uint> checksums)
    {
        var units = Units(length);
        var footer = trailer[(units * sizeof(uint))..];
        if (BinaryPrimitives.ReadUInt32LittleEndian(footer) != Magic
            || BinaryPrimitives.ReadUInt16LittleEndian(footer[4..]) != Version
            || BinaryPrimitives.ReadUInt16LittleEndian(footer[6..]) != UnitShift
            || BinaryPrimitives.ReadUInt64LittleEndian(footer[8..]) != blockId
            || BinaryPrimitives.ReadInt32LittleEndian(footer[16..]) != length
            || BinaryPrimitives.ReadInt32LittleEndian(footer[20..]) != units
            || BinaryPrimitives.ReadUInt32LittleEndian(footer[28..]) != Crc32C.Compute(trailer[..^4]))
        {
            return false;
        }

        for (var i = 0; i < checksums.Length; i++)
        {
            checksums[i] = BinaryPrimitives.ReadUInt32LittleEndian(trailer[((firstUnit + i) * sizeof(uint))..]);
        }

        return true;
    }
}
