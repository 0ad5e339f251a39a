using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>Blocks of headers by hand (RFC 7541): what is replaced, and that nothing else is.</summary>
public sealed class HpackAuthorityTests
{
    /// <summary>A size of the table, POST, http, an indexed path and a literal with two texts; so that each form stands around the field.</summary>
    private const string Before = "3fe11f" + "838684" + "40" + "0161" + "8318c7ff", After = "84" + "0f0d" + "0131";

    [Theory]
    [InlineData("41" + "0d2f746d702f6373692e736f636b", "41" + "0d61616161616161616161616161", "a path as it is, to be indexed")]
    [InlineData("01" + "07756e69783a2f78", "01" + "0761616161616161", "a URI, not to be indexed")]
    [InlineData("11" + "07756e69783a2f78", "11" + "0761616161616161", "a URI, never to be indexed")]
    [InlineData("41" + "896134d6c11065d07275", "41" + "8918c6318c6318c631ff", "a path in Huffman's code")]
    [InlineData("41" + "86b6a379b8c79f", "41" + "8518c6318c7f", "a URI in Huffman's code")]
    [InlineData("41" + "8c5458534d6a8b091065d07275", "41" + "8b18c6318c6318c6318c631f", "a percent-encoded path in Huffman's code")]
    [InlineData("66" + "012f", "66" + "0161", "host, by its index")]
    [InlineData("40" + "0a3a617574686f72697479" + "012f", "40" + "0a3a617574686f72697479" + "0161", "the name spelled out")]
    [InlineData("41" + "033a3830", "41" + "03616161", "a port alone")]
    [InlineData("41" + "04613a6262", "41" + "0461616161", "a port that is none")]
    public void An_authority_that_is_no_host_is_replaced_by_one_of_its_length(string field, string replaced, string what)
    {
        Assert.True(HpackAuthority.TryReplace(Convert.FromHexString(Before + field + After), out var block), what);
        Assert.Equal(Before + replaced + After, Convert.ToHexStringLower(block));

        // Two in a block, and the second behind the first.
        Assert.True(HpackAuthority.TryReplace(Convert.FromHexString(field + Before + field), out block), what);
        Assert.Equal(replaced + Before + replaced, Convert.ToHexStringLower(block));

        // Replaced once, it is a host.
        Assert.False(HpackAuthority.TryReplace(block, out _), what);
    }

    [Theory]
    [InlineData("", "none")]
    [InlineData("81", "one of the static table")]
    [InlineData("be", "one that came before")]
    [InlineData("4100", "empty")]
    [InlineData("41096c6f63616c686f7374", "localhost")]
    [InlineData("41" + "0c6c6f63616c686f73743a3830", "a host with a port")]
    [InlineData("418cf1e3c2e5f23a6ba0ab90f4ff", "www.example.com in Huffman's code (RFC 7541, C.4.1)")]
    [InlineData("4184" + "1ffff01f", "a backslash in Huffman's code: not understood")]
    [InlineData("4182" + "63ff", "padding of more than seven bits")]
    [InlineData("44072f74", "cut off in a value")]
    [InlineData("7f", "cut off in an index")]
    [InlineData("7fffffffffff01", "an index beyond all bounds")]
    [InlineData("410d2f74", "cut off in the authority")]
    [InlineData("50" + "012f", "a path-like value of another field")]
    public void Everything_else_goes_on_as_it_came(string field, string what)
    {
        var block = Convert.FromHexString(Before + field);
        Assert.False(HpackAuthority.TryReplace(block, out _), what);
    }

    [Fact]
    public void A_long_authority_keeps_its_length()
    {
        foreach (var length in new[] { 126, 127, 128, 254, 255, 256, 4000 })
        {
            var field = Http2Wire.Literal(":authority", new string('/', length));
            Assert.True(HpackAuthority.TryReplace(field, out var block));
            Assert.Equal(Http2Wire.Literal(":authority", new string('a', length)), block);
        }
    }

    [Fact]
    public void Bytes_at_random_are_never_more_than_they_were()
    {
        var random = new Random(7541);
        var replaced = 0;
        for (var i = 0; i < 20_000; i++)
        {
            var block = new byte[random.Next(64)];
            random.NextBytes(block);
            if (HpackAuthority.TryReplace(block, out var other))
            {
                replaced++;
                Assert.InRange(other.Length, 1, block.Length);
            }
        }

        Assert.InRange(replaced, 1, 20_000);
    }
}
