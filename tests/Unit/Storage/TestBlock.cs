using EphemeralFs.Core;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Unit.Storage;

/// <summary>A block whose bytes follow from its id and length, so that any reader can tell whether it got the right ones.</summary>
internal sealed record TestBlock(ulong Id, byte[] Data, uint[] Checksums)
{
    public static TestBlock Make(ulong id, int length, int salt = 0)
    {
        var data = new byte[length];
        new Random(unchecked((int)(id * 31) + length + (salt * 7919))).NextBytes(data);
        return new TestBlock(id, data, ChecksumsOf(data));
    }

    public static TestBlock In(uint volume, ulong sequence, int length, int salt = 0) => Make(BlockId.Make(volume, sequence), length, salt);

    public static uint[] ChecksumsOf(ReadOnlySpan<byte> data)
    {
        var checksums = new uint[BlockFormat.Units(data.Length)];
        for (var i = 0; i < checksums.Length; i++)
        {
            var start = i * Limits.ChecksumUnitBytes;
            checksums[i] = Crc32C.Compute(data[start..Math.Min(start + Limits.ChecksumUnitBytes, data.Length)]);
        }

        return checksums;
    }
}
