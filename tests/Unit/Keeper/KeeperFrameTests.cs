using System.Buffers.Binary;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Keeper;

namespace EphemeralFs.Tests.Unit.Keeper;

public sealed class KeeperFrameTests
{
    private static byte[] Example() => new KeeperFrame
    {
        Opcode = KeeperOpcode.Put,
        RequestId = 77,
        Status = Errno.EBUSY,
        Argument = 0x1122334455667788,
        Key = "mount:3f2ä"u8,
        Payload = [1, 2, 3],
        FdCount = 2,
    }.ToMessage();

    [Fact]
    public void What_was_written_is_read()
    {
        Assert.Equal(Errno.OK, KeeperFrame.Parse(Example(), 2, out var frame));
        Assert.Equal(KeeperOpcode.Put, frame.Opcode);
        Assert.Equal(77u, frame.RequestId);
        Assert.Equal(Errno.EBUSY, frame.Status);
        Assert.Equal(0x1122334455667788ul, frame.Argument);
        Assert.Equal("mount:3f2ä", Encoding.UTF8.GetString(frame.Key));
        Assert.Equal([1, 2, 3], frame.Payload.ToArray());
        Assert.Equal(2, frame.FdCount);
    }

    [Fact]
    public void The_bytes_are_fixed()
    {
        const string golden = "45464b5001000200" + "4d000000" + "10000000" + "0b00" + "0200" + "03000000" + "8877665544332211";
        Assert.Equal(golden, Convert.ToHexStringLower(Example().AsSpan(0, KeeperFrame.HeaderBytes)));
    }

    [Fact]
    public void Every_truncation_and_every_extension_is_refused()
    {
        var message = Example();
        for (var length = 0; length < message.Length; length++)
        {
            Assert.Equal(Errno.EBADMSG, KeeperFrame.Parse(message.AsSpan(0, length), 2, out _));
        }

        Assert.Equal(Errno.EBADMSG, KeeperFrame.Parse([.. message, 0], 2, out _));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void The_number_of_descriptors_must_be_the_number_received(int received) =>
        Assert.Equal(Errno.EBADMSG, KeeperFrame.Parse(Example(), received, out _));

    [Fact]
    public void Another_version_is_told_apart_from_nonsense()
    {
        var message = Example();
        message[4] = 2;
        Assert.Equal(Errno.EPROTO, KeeperFrame.Parse(message, 2, out _));
        message[0] = 0;
        Assert.Equal(Errno.EBADMSG, KeeperFrame.Parse(message, 2, out _));
    }

    [Fact]
    public void A_payload_length_that_would_overflow_is_refused()
    {
        var message = Example();
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(20), uint.MaxValue);
        Assert.Equal(Errno.EBADMSG, KeeperFrame.Parse(message, 2, out _));
    }

    [Theory]
    [InlineData(0xFF)]
    [InlineData(0x00)]
    public void A_key_that_is_not_utf8_or_has_a_zero_is_refused(byte wrong)
    {
        var message = Example();
        message[KeeperFrame.HeaderBytes + 2] = wrong;
        Assert.Equal(Errno.EBADMSG, KeeperFrame.Parse(message, 2, out _));
    }

    [Fact]
    public void Changed_bytes_never_throw_and_spans_stay_inside()
    {
        var random = new Random(20_26);
        for (var i = 0; i < 20_000; i++)
        {
            var message = Example();
            for (var changes = random.Next(1, 4); changes > 0; changes--)
            {
                message[random.Next(message.Length)] = (byte)random.Next(256);
            }

            if (KeeperFrame.Parse(message, 2, out var frame) == Errno.OK)
            {
                Assert.Equal(message.Length, KeeperFrame.HeaderBytes + frame.Key.Length + frame.Payload.Length);
            }

            _ = KeeperFrame.UnpackCommand(message, out _);
        }
    }

    [Fact]
    public void Too_much_is_not_written()
    {
        Assert.Throws<ArgumentException>(static () => new KeeperFrame { Key = new byte[256] }.ToMessage());
        Assert.Throws<ArgumentException>(static () => new KeeperFrame { Payload = new byte[KeeperLimits.MaxPayloadBytes + 1] }.ToMessage());
        Assert.Throws<ArgumentException>(static () => new KeeperFrame { FdCount = KeeperLimits.MaxFdsPerEntry + 1 }.ToMessage());
        Assert.Throws<ArgumentException>(static () => KeeperFrame.PackCommand([new string('x', KeeperLimits.MaxPayloadBytes)]));
    }

    [Fact]
    public void A_command_line_survives_with_empty_and_foreign_arguments()
    {
        string[] command = ["/usr/bin/ephemeralfs", "node", "", "--state", "/tmp/ünïcode dir\n"];
        Assert.Equal(Errno.OK, KeeperFrame.UnpackCommand(KeeperFrame.PackCommand(command), out var read));
        Assert.Equal(command, read);
        Assert.Equal(Errno.OK, KeeperFrame.UnpackCommand([], out read));
        Assert.Empty(read);
    }

    [Fact]
    public void A_broken_command_line_is_refused()
    {
        var packed = KeeperFrame.PackCommand(["abc", "de"]);
        for (var length = 1; length < packed.Length; length++)
        {
            // Cut after the first argument it is a shorter command line; everywhere else it is none.
            Assert.Equal(length == 7 ? Errno.OK : Errno.EBADMSG, KeeperFrame.UnpackCommand(packed.AsSpan(0, length), out _));
        }

        Assert.Equal(Errno.EBADMSG, KeeperFrame.UnpackCommand(new byte[4 * (KeeperLimits.MaxCommandArguments + 1)], out _));
    }

    [Fact]
    public void The_status_survives()
    {
        var status = new KeeperStatus
        {
            KeeperPid = 12,
            DaemonPid = 13,
            DaemonConnected = true,
            Incarnation = 1UL << 40,
            Restarts = 4,
            FailuresInARow = 5,
            State = KeeperState.Backoff,
            Supervises = true,
            KeeperId = ulong.MaxValue,
            StartedAt = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123),
            ResidentBytes = 1L << 33,
        };
        Assert.Equal(status, KeeperStatus.Unpack(status.Pack())! with { Entries = status.Entries });
        Assert.Null(KeeperStatus.Unpack(new byte[3]));
    }
}
