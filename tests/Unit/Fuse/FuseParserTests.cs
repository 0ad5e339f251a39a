using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseParserTests
{
    private static Errno Parse(byte[] message, out FuseParsed parsed, bool compat = false)
    {
        Assert.Equal(Errno.OK, FuseParser.ReadHeader(message, out FuseInHeader header));
        return FuseParser.Parse(message, header, FuseOpcodeTable.Find(header.Opcode)!, compat, out parsed);
    }

    [Fact]
    public void FindsNamesAndPayload()
    {
        byte[] message = FuseMessages.Build(
            FuseOpcode.SETXATTR, 2, 1, new FuseSetxattrIn { Size = 3 }, FuseMessages.Name("user.a"), [1, 0, 3]);
        Assert.Equal(Errno.OK, Parse(message, out FuseParsed parsed));
        Assert.Equal("user.a"u8.ToArray(), message[parsed.NameOffset..(parsed.NameOffset + parsed.NameLength)]);
        Assert.Equal([1, 0, 3], message[parsed.PayloadOffset..(parsed.PayloadOffset + parsed.PayloadLength)]);
    }

    [Fact]
    public void ReadsTheShortSetxattrOfOldKernels()
    {
        byte[] message = FuseMessages.Build(FuseOpcode.SETXATTR, 2, 1, [2, 0, 0, 0, 0, 0, 0, 0, (byte)'x', 0, 8, 9]);
        Assert.Equal(Errno.OK, Parse(message, out FuseParsed parsed, compat: true));
        Assert.Equal((8, 1, 2), (parsed.InputSize, parsed.NameLength, parsed.PayloadLength));
    }

    [Fact]
    public void ExtensionsAreNotTakenForNames()
    {
        byte[] message = FuseMessages.Build(FuseOpcode.MKDIR, 2, 1, new FuseMkdirIn(), FuseMessages.Name("d"), new byte[8]);
        message[36] = 1; // total_extlen: one unit of 8 bytes
        Assert.Equal(Errno.OK, Parse(message, out FuseParsed parsed));
        Assert.Equal(1, parsed.NameLength);
        message[36] = 2; // reaches into the name: nothing terminated is left
        Assert.Equal(Errno.EINVAL, Parse(message, out _));
        message[37] = 0xff; // longer than the message
        Assert.Equal(Errno.EINVAL, Parse(message, out _));
    }

    [Fact]
    public void RefusesNamesWithoutEndAndEmptyNames()
    {
        Assert.Equal(Errno.EINVAL, Parse(FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, "abc"u8), out _));
        Assert.Equal(Errno.EINVAL, Parse(FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, [0]), out _));
        Assert.Equal(Errno.EINVAL, Parse(FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, []), out _));
        Assert.Equal(Errno.EINVAL, Parse(FuseMessages.Build(FuseOpcode.SYMLINK, 2, 1, "a\0b"u8), out _));
    }

    [Fact]
    public void RefusesLongNamesButNotLongTargets()
    {
        string longest = new('n', 255), tooLong = new('n', 256);
        Assert.Equal(Errno.OK, Parse(FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, FuseMessages.Name(longest)), out _));
        Assert.Equal(Errno.ENAMETOOLONG, Parse(FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, FuseMessages.Name(tooLong)), out _));
        Assert.Equal(
            Errno.ENAMETOOLONG, Parse(FuseMessages.Build(FuseOpcode.RENAME, 2, 1, new FuseRenameIn(), FuseMessages.Name("a"), FuseMessages.Name(tooLong)), out _));
        Assert.Equal(Errno.OK, Parse(FuseMessages.Build(FuseOpcode.SYMLINK, 2, 1, [.. FuseMessages.Name("a"), .. FuseMessages.Name(tooLong)]), out _));
    }

    [Fact]
    public void RefusesLengthsThatLie()
    {
        byte[] message = FuseMessages.Valid(FuseOpcodeTable.Find(FuseOpcode.GETATTR)!, 2);
        message[0]++;
        Assert.Equal(Errno.EIO, Parse(message, out _));
        byte[] write = FuseMessages.Build(FuseOpcode.WRITE, 2, 1, new FuseWriteIn { Size = 5 }, [1, 2, 3, 4]);
        Assert.Equal(Errno.EINVAL, Parse(write, out _));
        byte[] forgets = FuseMessages.Build(FuseOpcode.BATCH_FORGET, 2, 1, new FuseBatchForgetIn { Count = uint.MaxValue }, new byte[16]);
        Assert.Equal(Errno.EINVAL, Parse(forgets, out _));
    }

    [Fact]
    public void EveryRowIsRefusedAtEveryShorterLength()
    {
        foreach (FuseOpcodeRow row in FuseOpcodeTable.All)
        {
            byte[] whole = FuseMessages.Valid(row, 2, count: 3);
            Assert.Equal(Errno.OK, Parse(whole, out _));
            for (int length = 40; length < whole.Length; length++)
            {
                byte[] cut = whole[..length];
                cut[0] = (byte)length; // even if its header agrees
                Assert.True(Parse(cut, out _) == Errno.EINVAL, $"{row.Name} of {length} bytes");
            }
        }
        Assert.Equal(Errno.EINVAL, FuseParser.ReadHeader(new byte[39], out _));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(20260101)]
    public void RandomMessagesNeverThrowAndNeverPointOutside(int seed)
    {
        var random = new Random(seed);
        FuseOpcodeRow[] rows = [.. FuseOpcodeTable.All];
        int accepted = 0;
        for (int i = 0; i < 100_000; i++)
        {
            byte[] message = Mutate(random, rows[random.Next(rows.Length)]);
            if (FuseParser.ReadHeader(message, out FuseInHeader header) != Errno.OK)
            {
                Assert.True(message.Length < 40);
                continue;
            }
            if (FuseOpcodeTable.Find(header.Opcode) is not { } row)
            {
                continue;
            }
            if (FuseParser.Parse(message, header, row, random.Next(2) == 0, out FuseParsed p) != Errno.OK)
            {
                continue;
            }
            accepted++;
            Assert.InRange(40 + p.InputSize, 40, message.Length);
            Inside(message, p.NameOffset, p.NameLength);
            Inside(message, p.Name2Offset, p.Name2Length);
            Inside(message, p.PayloadOffset, p.PayloadLength);
            Assert.Equal(-1, message.AsSpan(p.NameOffset, p.NameLength).IndexOf((byte)0));
            Assert.True(row.Names == 0 || p.NameLength > 0);
        }
        // Otherwise this tested nothing but the first check.
        Assert.InRange(accepted, 5_000, 99_000);
    }

    private static void Inside(byte[] message, int offset, int length)
    {
        Assert.InRange(offset, 0, message.Length);
        Assert.InRange(length, 0, message.Length - offset);
    }

    /// <summary>A request of a row, whole, cut, stretched, or with bytes changed; now and then noise.</summary>
    internal static byte[] Mutate(Random random, FuseOpcodeRow row, ulong unique = 2)
    {
        byte[] message = FuseMessages.Valid(row, unique, (uint)random.Next(0, 5));
        switch (random.Next(6))
        {
            case 0:
                message = message[..random.Next(message.Length + 1)];
                FixLength(random, message);
                break;
            case 1:
                Array.Resize(ref message, message.Length + random.Next(1, 200));
                FixLength(random, message);
                break;
            case 2:
                for (int i = random.Next(1, 8); i > 0; i--)
                {
                    message[random.Next(message.Length)] = (byte)random.Next(256);
                }
                break;
            case 3:
                // Behind the header only, so that deeper checks are reached.
                random.NextBytes(message.AsSpan(Math.Min(40, message.Length)));
                break;
            case 4 when random.Next(4) == 0:
                message = new byte[random.Next(0, 300)];
                random.NextBytes(message);
                break;
        }
        return message;
    }

    private static void FixLength(Random random, byte[] message)
    {
        if (message.Length >= 4 && random.Next(2) == 0)
        {
            BitConverter.TryWriteBytes(message, (uint)message.Length);
        }
    }
}
