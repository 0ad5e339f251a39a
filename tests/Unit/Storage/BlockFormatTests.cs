using EphemeralFs.Core;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Unit.Storage;

public sealed class BlockFormatTests
{
    [Theory]
    [InlineData(1, 1, 4096)]
    [InlineData(4060, 1, 4096)]
    [InlineData(4061, 1, 8192)]
    [InlineData(65536, 1, 69632)]
    [InlineData(65537, 2, 69632)]
    [InlineData(1 << 20, 16, (1 << 20) + 4096)]
    public void ChargesWholePagesWithTheTrailer(int length, int units, long charge)
    {
        Assert.Equal(units, BlockFormat.Units(length));
        Assert.Equal(charge, BlockFormat.Charge(length));
    }

    [Fact]
    public void EveryChangedBitOfATrailerIsNoticed()
    {
        var block = TestBlock.In(3, 77, 200_000);
        var trailer = new byte[BlockFormat.TrailerLength(block.Data.Length)];
        BlockFormat.WriteTrailer(trailer, block.Id, block.Data.Length, block.Checksums);
        var read = new uint[2];
        Assert.True(BlockFormat.TryReadTrailer(trailer, block.Id, block.Data.Length, 1, read));
        Assert.Equal(block.Checksums[1..3], read);
        for (var bit = 0; bit < trailer.Length * 8; bit++)
        {
            trailer[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(BlockFormat.TryReadTrailer(trailer, block.Id, block.Data.Length, 1, read));
            trailer[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        Assert.False(BlockFormat.TryReadTrailer(trailer, block.Id + 1, block.Data.Length, 1, read));
    }

    [Fact]
    public void PathsRoundTrip()
    {
        var random = new Random(5);
        for (var i = 0; i < 1000; i++)
        {
            var volume = (uint)random.Next(1, 1 << 24);
            var sequence = (ulong)random.NextInt64(1, 1L << 40);
            var length = random.Next(1, Limits.BlockSizeBytes + 1);
            var parts = BlockPath.Format(BlockId.Make(volume, sequence), length).Split('/');
            Assert.True(BlockPath.TryParseVolume(parts[0], out var v));
            Assert.True(BlockPath.TryParseFile(parts[2], out var s, out var l));
            Assert.Equal((volume, sequence, length), (v, s, l));
            Assert.Equal($"{sequence % 16:x}", parts[1]);
        }
    }

    [Theory]
    [InlineData("0000000001-000000")]
    [InlineData("0000000000-000001")]
    [InlineData("0000000001-100001")]
    [InlineData("0000000001-00000g")]
    [InlineData("000000000A-000001")]
    [InlineData("+000000001-000001")]
    [InlineData("0000000001_000001")]
    [InlineData("tier")]
    public void OtherNamesAreNoBlocks(string name) => Assert.False(BlockPath.TryParseFile(name, out _, out _));
}
