using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using Google.Protobuf;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>One message in a body: a flag, four bytes of length in network order, the message (gRPC, <c>doc/PROTOCOL-HTTP2.md</c>).</summary>
/// <remarks>
/// Codes are those of grpc-go's server, which is what sidecars and csi-sanity are written against. For a number of messages other than one
/// that is INTERNAL (so in grpc-java), though gRPC's table of status codes has UNIMPLEMENTED; whether it stays there is open upstream.
/// </remarks>
internal static class GrpcFrame
{
    public const int PrefixBytes = 5;

    /// <summary>Reads a body that has to be exactly one message.</summary>
    /// <param name="body">The request's body.</param>
    /// <param name="parser">Of the request.</param>
    /// <param name="maxBytes">Longest message that is accepted; a longer one is refused at its prefix, before its bytes are read.</param>
    /// <param name="encoding">What <c>grpc-encoding</c> says; "" when there is none.</param>
    /// <param name="cancellation">Ends the wait for more bytes.</param>
    /// <exception cref="GrpcException">RESOURCE_EXHAUSTED too long; UNIMPLEMENTED compressed; INTERNAL everything else.</exception>
    public static async Task<IMessage> ReadAsync(PipeReader body, MessageParser parser, int maxBytes, string encoding, CancellationToken cancellation)
    {
        IMessage? message = null;
        while (true)
        {
            var result = await body.ReadAsync(cancellation).ConfigureAwait(false);
            var buffer = result.Buffer;
            if (result.IsCanceled)
            {
                throw new OperationCanceledException("the read of the request was cancelled");
            }

            if (message is not null && !buffer.IsEmpty)
            {
                throw new GrpcException(GrpcStatusCode.Internal, "more than one request message, or bytes behind it");
            }

            if (message is null && TryParse(buffer, parser, maxBytes, encoding, out message, out var end))
            {
                buffer = buffer.Slice(end);
                if (!buffer.IsEmpty)
                {
                    throw new GrpcException(GrpcStatusCode.Internal, "more than one request message, or bytes behind it");
                }
            }

            if (result.IsCompleted)
            {
                return message ?? throw new GrpcException(
                    GrpcStatusCode.Internal,
                    buffer.IsEmpty ? "no request message" : "the request ends within its message (unexpected EOF)");
            }

            // What is no whole message yet stays in the pipe until there is more.
            body.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>Writes a message behind its prefix.</summary>
    public static void Write(IBufferWriter<byte> output, IMessage message)
    {
        var length = message.CalculateSize();
        var prefix = output.GetSpan(PrefixBytes);
        prefix[0] = 0; // not compressed
        BinaryPrimitives.WriteInt32BigEndian(prefix[1..], length);
        output.Advance(PrefixBytes);
        message.WriteTo(output);
    }

    private static bool TryParse(
        ReadOnlySequence<byte> buffer, MessageParser parser, int maxBytes, string encoding, out IMessage? message, out SequencePosition end)
    {
        message = null;
        end = buffer.Start;
        if (buffer.Length < PrefixBytes)
        {
            return false;
        }

        Span<byte> prefix = stackalloc byte[PrefixBytes];
        buffer.Slice(0, PrefixBytes).CopyTo(prefix);
        switch (prefix[0])
        {
            case 0:
                break;
            case 1 when encoding.Length > 0 && encoding != GrpcHeaders.Identity:
                throw new GrpcException(GrpcStatusCode.Unimplemented, $"messages compressed with {encoding} are not understood: send them as they are");
            case 1:
                throw new GrpcException(GrpcStatusCode.Internal, "the message is marked compressed, but no grpc-encoding says how");
            default:
                throw new GrpcException(GrpcStatusCode.Internal, $"the message has the unknown flag {prefix[0]}");
        }

        var length = BinaryPrimitives.ReadUInt32BigEndian(prefix[1..]);
        if (length > (uint)maxBytes)
        {
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"the request has {length} bytes; at most {maxBytes} are accepted");
        }

        if (buffer.Length < PrefixBytes + length)
        {
            return false;
        }

        try
        {
            var payload = buffer.Slice(PrefixBytes, length);
            message = parser.ParseFrom(payload);
            end = payload.End;
            return true;
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new GrpcException(GrpcStatusCode.Internal, $"the request is no message of its type: {e.Message}", e);
        }
    }
}
