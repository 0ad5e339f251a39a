using System.Buffers.Binary;
using System.Text;
using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>One frame on the keeper's socket: a fixed little-endian header, a key, a payload; one frame is one message.</summary>
/// <remarks>
/// Header: magic u32, version u16, opcode u16, request id u32, status i32, key length u16, descriptor count u16, payload length u32,
/// argument u64. The lengths must add up to the message exactly.
/// </remarks>
public readonly ref struct KeeperFrame
{
    /// <summary>Bytes of the header.</summary>
    public const int HeaderBytes = 32;

    /// <summary>"EFKP" in memory order.</summary>
    public const uint Magic = 0x504B4645;

    /// <summary>Version of this format; a peer with another one is refused.</summary>
    public const ushort Version = 1;

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>What it asks or says.</summary>
    public KeeperOpcode Opcode { get; init; }

    /// <summary>Chosen by the asking side, returned in the reply; 0 for what nobody asked for.</summary>
    public uint RequestId { get; init; }

    /// <summary>The result in replies.</summary>
    public Errno Status { get; init; }

    /// <summary>A number that depends on the opcode.</summary>
    public ulong Argument { get; init; }

    /// <summary>Key in UTF-8, empty when the opcode has none.</summary>
    public ReadOnlySpan<byte> Key { get; init; }

    /// <summary>Opaque bytes.</summary>
    public ReadOnlySpan<byte> Payload { get; init; }

    /// <summary>Descriptors that travel with the message.</summary>
    public int FdCount { get; init; }

    /// <summary>Reads one message.</summary>
    /// <param name="message">The whole message.</param>
    /// <param name="receivedFds">How many descriptors came with it.</param>
    /// <param name="frame">The frame; its spans point into <paramref name="message"/>.</param>
    /// <returns>EBADMSG when any length, the magic or the key is wrong; EPROTO for another version.</returns>
    public static Errno Parse(ReadOnlySpan<byte> message, int receivedFds, out KeeperFrame frame)
    {
        frame = default;
        if (message.Length < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(message) != Magic)
        {
            return Errno.EBADMSG;
        }

        if (BinaryPrimitives.ReadUInt16LittleEndian(message[4..]) != Version)
        {
            return Errno.EPROTO;
        }

        int keyLength = BinaryPrimitives.ReadUInt16LittleEndian(message[16..]);
        int fdCount = BinaryPrimitives.ReadUInt16LittleEndian(message[18..]);
        var payloadLength = BinaryPrimitives.ReadUInt32LittleEndian(message[20..]);
        if (keyLength > KeeperLimits.MaxKeyBytes
            || payloadLength > KeeperLimits.MaxPayloadBytes
            || fdCount > KeeperLimits.MaxFdsPerEntry
            || fdCount != receivedFds
            || HeaderBytes + keyLength + (int)payloadLength != message.Length)
        {
            return Errno.EBADMSG;
        }

        var key = message.Slice(HeaderBytes, keyLength);
        if (!System.Text.Unicode.Utf8.IsValid(key) || key.Contains((byte)0))
        {
            return Errno.EBADMSG;
        }

        frame = new KeeperFrame
        {
            Opcode = (KeeperOpcode)BinaryPrimitives.ReadUInt16LittleEndian(message[6..]),
            RequestId = BinaryPrimitives.ReadUInt32LittleEndian(message[8..]),
            Status = (Errno)BinaryPrimitives.ReadInt32LittleEndian(message[12..]),
            Argument = BinaryPrimitives.ReadUInt64LittleEndian(message[24..]),
            Key = key,
            Payload = message[(HeaderBytes + keyLength)..],
            FdCount = fdCount,
        };
        return Errno.OK;
    }

    /// <summary>The message for this frame.</summary>
    /// <exception cref="ArgumentException">A length is beyond <see cref="KeeperLimits"/>: a bug of the caller.</exception>
    public byte[] ToMessage()
    {
        if (Key.Length > KeeperLimits.MaxKeyBytes || Payload.Length > KeeperLimits.MaxPayloadBytes
            || FdCount is < 0 or > KeeperLimits.MaxFdsPerEntry)
        {
            throw new ArgumentException("a key, a payload or the number of descriptors is beyond the keeper's limits");
        }

        var message = new byte[HeaderBytes + Key.Length + Payload.Length];
        var span = message.AsSpan();
        BinaryPrimitives.WriteUInt32LittleEndian(span, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(span[4..], Version);
        BinaryPrimitives.WriteUInt16LittleEndian(span[6..], (ushort)Opcode);
        BinaryPrimitives.WriteUInt32LittleEndian(span[8..], RequestId);
        BinaryPrimitives.WriteInt32LittleEndian(span[12..], (int)Status);
        BinaryPrimitives.WriteUInt16LittleEndian(span[16..], (ushort)Key.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(span[18..], (ushort)FdCount);
        BinaryPrimitives.WriteUInt32LittleEndian(span[20..], (uint)Payload.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(span[24..], Argument);
        Key.CopyTo(span[HeaderBytes..]);
        Payload.CopyTo(span[(HeaderBytes + Key.Length)..]);
        return message;
    }

    /// <summary>A command line as bytes: for each argument its length u32 and UTF-8.</summary>
    /// <exception cref="ArgumentException">More than fits one payload.</exception>
    public static byte[] PackCommand(IReadOnlyList<string> command)
    {
        using var bytes = new MemoryStream();
        Span<byte> length = stackalloc byte[4];
        foreach (var argument in command)
        {
            var text = StrictUtf8.GetBytes(argument);
            BinaryPrimitives.WriteInt32LittleEndian(length, text.Length);
            bytes.Write(length);
            bytes.Write(text);
        }

        if (command.Count > KeeperLimits.MaxCommandArguments || bytes.Length > KeeperLimits.MaxPayloadBytes)
        {
            throw new ArgumentException("the command line is beyond the keeper's limits", nameof(command));
        }

        return bytes.ToArray();
    }

    /// <summary>Reads what <see cref="PackCommand"/> wrote; an empty payload is an empty list.</summary>
    /// <returns>EBADMSG when it is not a command line.</returns>
    public static Errno UnpackCommand(ReadOnlySpan<byte> payload, out string[] command)
    {
        command = [];
        var arguments = new List<string>();
        while (!payload.IsEmpty)
        {
            if (payload.Length < 4 || arguments.Count == KeeperLimits.MaxCommandArguments)
            {
                return Errno.EBADMSG;
            }

            var length = BinaryPrimitives.ReadUInt32LittleEndian(payload);
            payload = payload[4..];
            if (length > payload.Length)
            {
                return Errno.EBADMSG;
            }

            var text = payload[..(int)length];
            if (!System.Text.Unicode.Utf8.IsValid(text) || text.Contains((byte)0))
            {
                return Errno.EBADMSG;
            }

            arguments.Add(StrictUtf8.GetString(text));
            payload = payload[(int)length..];
        }

        command = [.. arguments];
        return Errno.OK;
    }
}
