using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>Lets clients name a unix socket as they like: replaces an <c>:authority</c> that is no host name before Kestrel sees it.</summary>
/// <remarks>
/// grpc-go, and with it kubelets before 1.26 and many sidecars, sends the path of the socket, as it is or percent-encoded. Kestrel resets such a stream with
/// PROTOCOL_ERROR and has no option against it (dotnet/aspnetcore issues 18522 and 47043). Nothing here looks at the authority: a socket has one.
/// Only frames of headers are touched, and of those only such as have to be.
/// </remarks>
internal static class AnyAuthority
{
    private const int FrameHeadBytes = 9;

    /// <summary>Longest frame that Kestrel takes with the settings of this server (RFC 9113, 6.5.2: the default).</summary>
    private const int MaxFrameBytes = 16384;

    /// <summary>Longest block of headers that is looked at. Kestrel refuses more than 32 KiB when decompressed.</summary>
    private const int MaxBlockBytes = 65536;

    private const byte Headers = 1, Continuation = 9;
    private const byte EndHeaders = 4, Padded = 8, Priority = 0x20;
    private const int PriorityBytes = 5;

    private static ReadOnlySpan<byte> Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8;

    /// <summary>A middleware of connections.</summary>
    public static ConnectionDelegate Use(ConnectionDelegate next) => async connection =>
    {
        var transport = connection.Transport;
        var pipe = new Pipe();
        connection.Transport = new Duplex(pipe.Reader, transport.Output);
        var pump = PumpAsync(transport.Input, pipe.Writer);
        try
        {
            await next(connection).ConfigureAwait(false);
        }
        finally
        {
            connection.Transport = transport;
            await pipe.Reader.CompleteAsync().ConfigureAwait(false);
            transport.Input.CancelPendingRead();
            await pump.ConfigureAwait(false);
        }
    };

    private static async Task PumpAsync(PipeReader input, PipeWriter output)
    {
        var state = new Frames();
        Exception? error = null;
        try
        {
            while (true)
            {
                var result = await input.ReadAsync().ConfigureAwait(false);
                var rest = state.Pass(result.Buffer, output);
                if (result.IsCompleted)
                {
                    // What is no whole frame and never will be.
                    foreach (var segment in result.Buffer.Slice(rest))
                    {
                        output.Write(segment.Span);
                    }
                }

                input.AdvanceTo(rest, result.Buffer.End);
                var flushed = await output.FlushAsync().ConfigureAwait(false);
                if (result.IsCompleted || result.IsCanceled || flushed.IsCompleted)
                {
                    break;
                }
            }
        }
        catch (Exception e)
        {
            error = e; // Kestrel reads it as the end of its input
        }

        await output.CompleteAsync(error).ConfigureAwait(false);
    }

    /// <summary>Where in the stream of a connection the frames are.</summary>
    private sealed class Frames
    {
        private readonly ArrayBufferWriter<byte> _block = new();
        private readonly ArrayBufferWriter<byte> _asTheyCame = new();
        private bool _begun;
        private bool _blind; // not HTTP/2, or not as it should be: everything goes on as it comes
        private byte[] _head = []; // of the HEADERS frame whose block is being collected, with its priority

        /// <summary>Passes on whole frames and gives the position behind the last one.</summary>
        public SequencePosition Pass(ReadOnlySequence<byte> buffer, PipeWriter output)
        {
            if (!_begun && !_blind)
            {
                if (buffer.Length < Preface.Length)
                {
                    return buffer.Start;
                }

                _begun = true;
                var preface = buffer.Slice(0, Preface.Length).ToArray();
                _blind = !Preface.SequenceEqual(preface);
                output.Write(preface);
                buffer = buffer.Slice(Preface.Length);
            }

            Span<byte> head = stackalloc byte[FrameHeadBytes];
            while (!_blind && buffer.Length >= FrameHeadBytes)
            {
                buffer.Slice(0, FrameHeadBytes).CopyTo(head);
                var length = BinaryPrimitives.ReadInt32BigEndian(head) >>> 8;
                if (length > MaxFrameBytes)
                {
                    GiveUp(output);
                    break;
                }

                if (buffer.Length < FrameHeadBytes + length)
                {
                    return buffer.Start;
                }

                PassFrame(buffer.Slice(0, FrameHeadBytes + length).ToArray(), output);
                buffer = buffer.Slice(FrameHeadBytes + length);
            }

            if (_blind)
            {
                foreach (var segment in buffer)
                {
                    output.Write(segment.Span);
                }

                return buffer.End;
            }

            return buffer.Start;
        }

        private void PassFrame(ReadOnlySpan<byte> frame, PipeWriter output)
        {
            var (type, flags) = (frame[3], frame[4]);
            var isCollecting = _head.Length > 0;
            if (type != Headers && type != Continuation && !isCollecting)
            {
                output.Write(frame);
                return;
            }

            _asTheyCame.Write(frame);
            if (isCollecting != (type == Continuation) || !TryCollect(frame, isCollecting) || _block.WrittenCount > MaxBlockBytes)
            {
                GiveUp(output);
                return;
            }

            if ((flags & EndHeaders) == 0)
            {
                return;
            }

            if (HpackAuthority.TryReplace(_block.WrittenSpan, out var replaced))
            {
                WriteHeaders(replaced, output);
            }
            else
            {
                output.Write(_asTheyCame.WrittenSpan);
            }

            Clear();
        }

        private bool TryCollect(ReadOnlySpan<byte> frame, bool isContinuation)
        {
            var payload = frame[FrameHeadBytes..];
            if (isContinuation)
            {
                _block.Write(payload);
                return frame[5..FrameHeadBytes].SequenceEqual(_head.AsSpan(5, 4)); // of the same stream
            }

            var flags = frame[4];
            if ((flags & Padded) != 0)
            {
                if (payload.Length < 1 || payload[0] > payload.Length - 1)
                {
                    return false;
                }

                payload = payload[1..^payload[0]];
            }

            var priority = (flags & Priority) != 0 ? PriorityBytes : 0;
            if (payload.Length < priority)
            {
                return false;
            }

            _head = [.. frame[..FrameHeadBytes], .. payload[..priority]];
            _block.Write(payload[priority..]);
            return true;
        }

        /// <summary>The block as one frame of headers and as many continuations as it takes, without padding.</summary>
        private void WriteHeaders(ReadOnlySpan<byte> block, PipeWriter output)
        {
            var first = block[..Math.Min(block.Length, MaxFrameBytes - (_head.Length - FrameHeadBytes))];
            var rest = block[first.Length..];
            var flags = (byte)(_head[4] & ~(Padded | EndHeaders));
            WriteHead(output, Headers, rest.IsEmpty ? (byte)(flags | EndHeaders) : flags, _head.Length - FrameHeadBytes + first.Length);
            output.Write(_head.AsSpan(FrameHeadBytes));
            output.Write(first);
            while (!rest.IsEmpty)
            {
                var part = rest[..Math.Min(rest.Length, MaxFrameBytes)];
                rest = rest[part.Length..];
                WriteHead(output, Continuation, rest.IsEmpty ? EndHeaders : (byte)0, part.Length);
                output.Write(part);
            }
        }

        private void WriteHead(PipeWriter output, byte type, byte flags, int length)
        {
            var head = output.GetSpan(FrameHeadBytes);
            BinaryPrimitives.WriteInt32BigEndian(head, length << 8);
            head[3] = type;
            head[4] = flags;
            _head.AsSpan(5, 4).CopyTo(head[5..]); // the stream
            output.Advance(FrameHeadBytes);
        }

        /// <summary>A client that breaks the protocol is Kestrel's to answer.</summary>
        private void GiveUp(PipeWriter output)
        {
            output.Write(_asTheyCame.WrittenSpan);
            Clear();
            _blind = true;
        }

        private void Clear()
        {
            _head = [];
            _block.ResetWrittenCount();
            _asTheyCame.ResetWrittenCount();
        }
    }

    private sealed record Duplex(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
