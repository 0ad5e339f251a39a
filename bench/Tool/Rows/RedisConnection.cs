using System.Buffers.Text;
using System.Net.Sockets;
using System.Text;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>The least that SET, GET and DEL need of Redis's protocol (RESP2), over one blocking unix socket.</summary>
internal sealed unsafe class RedisConnection : IDisposable
{
    private const int HeaderBytes = 128;

    /// <summary>As hiredis reads: small replies in one call, and little of a large one is moved twice.</summary>
    private const long FirstReadBytes = 16 << 10;

    private static readonly byte[] LineEnd = "\r\n"u8.ToArray();

    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly NativeBuffer _frame;
    private readonly int _fd;

    /// <param name="path">Of the server's socket.</param>
    /// <param name="largestValueBytes">Bounds what a reply may carry.</param>
    public RedisConnection(string path, long largestValueBytes)
    {
        try
        {
            _socket.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e)
        {
            throw new BenchException($"redis: {e.Message}");
        }

        _fd = (int)_socket.Handle;
        _frame = new NativeBuffer(largestValueBytes + (2 * HeaderBytes));
    }

    /// <summary>The value of the last <see cref="Get"/>, or where <see cref="Set"/> takes its value from.</summary>
    public byte* Value => _frame.Pointer + HeaderBytes - LineEnd.Length;

    /// <summary>SET: header and value leave in one write, the header ending where the value begins.</summary>
    public void Set(string key, long bytes)
    {
        byte[] header = Encoding.ASCII.GetBytes($"*3\r\n$3\r\nSET\r\n${key.Length}\r\n{key}\r\n${bytes}\r\n");
        byte* start = Value - header.Length;
        header.CopyTo(new Span<byte>(start, header.Length));
        LineEnd.CopyTo(new Span<byte>(Value + bytes, LineEnd.Length));
        Sys.WriteFully(_fd, start, header.Length + bytes + LineEnd.Length);
        byte* reply = stackalloc byte[HeaderBytes];
        ReadLine(reply, "+OK");
    }

    /// <summary>GET into <see cref="Value"/>; returns its length, -1 if there is none.</summary>
    public long Get(string key)
    {
        Send($"*2\r\n$3\r\nGET\r\n${key.Length}\r\n{key}\r\n");
        byte* start = _frame.Pointer;
        long got = 0;
        int line;
        ReadOnlySpan<byte> head;
        do
        {
            got += Read(start + got, Math.Min(FirstReadBytes, _frame.Bytes) - got);
            head = new ReadOnlySpan<byte>(start, (int)Math.Min(got, HeaderBytes / 2));
            line = head.IndexOf((byte)'\n');
        }
        while (line < 0 && got < HeaderBytes / 2);

        if (line < 0 || head[0] != (byte)'$' || !Utf8Parser.TryParse(head[1..], out long bytes, out _))
        {
            throw new BenchException("redis: not a bulk reply");
        }

        if (bytes < 0)
        {
            return -1;
        }

        long body = got - (line + 1);
        if (bytes > _frame.Bytes - (2 * HeaderBytes))
        {
            throw new BenchException($"redis: a value of {bytes} bytes was not expected");
        }

        // The reply's first read holds the header and some of the value: move that where Value begins, read the rest behind it.
        Buffer.MemoryCopy(start + line + 1, Value, _frame.Bytes - HeaderBytes, body);
        while (body < bytes + LineEnd.Length)
        {
            body += Read(Value + body, bytes + LineEnd.Length - body);
        }

        return bytes;
    }

    public void Delete(string key)
    {
        Send($"*2\r\n$3\r\nDEL\r\n${key.Length}\r\n{key}\r\n");
        byte* reply = stackalloc byte[HeaderBytes];
        ReadLine(reply, ":1");
    }

    public void Dispose()
    {
        _socket.Dispose();
        _frame.Dispose();
    }

    private void Send(string command)
    {
        byte* bytes = stackalloc byte[HeaderBytes];
        int length = Encoding.ASCII.GetBytes(command, new Span<byte>(bytes, HeaderBytes));
        Sys.WriteFully(_fd, bytes, length);
    }

    private void ReadLine(byte* reply, string expected)
    {
        nint got = Read(reply, HeaderBytes);
        string line = Encoding.ASCII.GetString(reply, (int)got).TrimEnd();
        if (line != expected)
        {
            throw new BenchException($"redis: {line}");
        }
    }

    private nint Read(byte* to, long count)
    {
        nint got = Libc.Read(_fd, to, (nuint)count);
        return got > 0 ? got : throw Sys.Failed("read", "redis");
    }
}
