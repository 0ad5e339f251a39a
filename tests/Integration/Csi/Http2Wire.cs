using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>The frames of HTTP/2 by hand (RFC 9113), for what no HTTP library sends: any <c>:authority</c>, or none.</summary>
internal sealed class Http2Wire : IDisposable
{
    public const byte Data = 0, Headers = 1, Reset = 3, Settings = 4, Ping = 6, GoAway = 7, WindowUpdate = 8, Continuation = 9;
    public const byte EndStream = 1, Acknowledgement = 1, EndHeaders = 4, Padded = 8, Priority = 0x20;

    private readonly NetworkStream _stream;

    public Http2Wire(string socketPath)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(socketPath));
        _stream = new NetworkStream(socket, ownsSocket: true) { ReadTimeout = 60_000 };
        _stream.Write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8);
        Write(Settings, 0, 0, []);
    }

    /// <summary>A field that enters no table, name and value as they are (RFC 7541, 6.2.2).</summary>
    public static byte[] Literal(string name, string value) => [0, .. Text(name), .. Text(value)];

    /// <summary>The head of a call with the authority in the given form; null for none.</summary>
    public static byte[] CallHead(string path, byte[]? authority) =>
    [
        .. Literal(":method", "POST"), .. Literal(":scheme", "http"), .. Literal(":path", path), .. authority ?? [],
        .. Literal("content-type", "application/grpc"), .. Literal("te", "trailers"),
    ];

    public static byte[] Text(string text) => [.. Integer(0, 7, Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    /// <summary>A number behind the bits that its first byte has (RFC 7541, 5.1).</summary>
    public static byte[] Integer(byte first, int bits, int value)
    {
        var most = (1 << bits) - 1;
        if (value < most)
        {
            return [(byte)(first | value)];
        }

        List<byte> bytes = [(byte)(first | most)];
        for (value -= most; value >= 128; value >>= 7)
        {
            bytes.Add((byte)(value | 128));
        }

        bytes.Add((byte)value);
        return [.. bytes];
    }

    public void Write(byte type, byte flags, int stream, ReadOnlySpan<byte> payload)
    {
        Span<byte> head = stackalloc byte[9];
        BinaryPrimitives.WriteInt32BigEndian(head, payload.Length << 8);
        head[3] = type;
        head[4] = flags;
        BinaryPrimitives.WriteInt32BigEndian(head[5..], stream);
        _stream.Write([.. head, .. payload]);
    }

    public (byte Type, byte Flags, int Stream, byte[] Payload) Read()
    {
        Span<byte> head = stackalloc byte[9];
        _stream.ReadExactly(head);
        var payload = new byte[BinaryPrimitives.ReadInt32BigEndian(head) >> 8];
        _stream.ReadExactly(payload);
        return (head[3], head[4], BinaryPrimitives.ReadInt32BigEndian(head[5..]), payload);
    }

    /// <summary>Reads until the stream has ended and gives its data; fails when it was reset.</summary>
    public byte[] ReadAnswer(int stream)
    {
        List<byte> data = [];
        while (true)
        {
            var frame = Read();
            if (frame.Type == Settings && (frame.Flags & Acknowledgement) == 0)
            {
                Write(Settings, Acknowledgement, 0, []);
            }

            if (frame.Type == GoAway)
            {
                Assert.Fail($"the connection was given up: error {frame.Payload[7]} {Encoding.UTF8.GetString(frame.Payload.AsSpan(8))}");
            }

            if (frame.Stream != stream)
            {
                continue;
            }

            Assert.True(frame.Type != Reset, $"the stream was reset: error {(frame.Type == Reset ? frame.Payload[3] : 0)}");
            if (frame.Type == Data)
            {
                data.AddRange(frame.Payload);
            }

            if ((frame.Flags & EndStream) != 0)
            {
                return [.. data];
            }
        }
    }

    public void Dispose() => _stream.Dispose();
}
