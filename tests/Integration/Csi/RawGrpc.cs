using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using EphemeralFs.CsiDriver.Grpc;
using Google.Protobuf;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>What a server answered, byte by byte.</summary>
internal sealed record RawAnswer(HttpStatusCode Http, GrpcStatusCode Code, string Message, byte[] Body, bool TrailersOnly, HttpResponseHeaders Headers);

/// <summary>Requests that no gRPC library would send: .NET's HTTP/2 over a unix socket.</summary>
internal sealed class RawGrpc : IDisposable
{
    private readonly HttpClient _http;
    private int _connections;

    public RawGrpc(string socket) => _http = new HttpClient(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancellation) =>
        {
            var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), cancellation);
            Interlocked.Increment(ref _connections);
            return new NetworkStream(connection, ownsSocket: true);
        },
    })
    {
        Timeout = TimeSpan.FromMinutes(1),
    };

    /// <summary>How often it had to connect.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>A message behind its prefix.</summary>
    public static byte[] Frame(IMessage message, byte flag = 0)
    {
        var frame = new byte[GrpcFrame.PrefixBytes + message.CalculateSize()];
        frame[0] = flag;
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(1), message.CalculateSize());
        message.ToByteArray().CopyTo(frame, GrpcFrame.PrefixBytes);
        return frame;
    }

    /// <summary>Sends the parts, each flushed, and reads the answer.</summary>
    /// <param name="path">Such as <c>/csi.v1.Node/NodeGetInfo</c>.</param>
    /// <param name="parts">The body. A null part is a pause that never ends.</param>
    /// <param name="contentType">Null for none.</param>
    /// <param name="method">POST unless said.</param>
    /// <param name="headers">Further ones, not checked.</param>
    public async Task<RawAnswer> PostAsync(
        string path, IReadOnlyList<byte[]?> parts, string? contentType = "application/grpc", HttpMethod? method = null, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(method ?? HttpMethod.Post, "http://localhost" + path)
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = method == HttpMethod.Get ? null : new Parts(parts),
        };
        request.Headers.TryAddWithoutValidation("te", "trailers");
        if (contentType is not null)
        {
            request.Content?.Headers.TryAddWithoutValidation("content-type", contentType);
        }

        foreach (var (name, value) in headers)
        {
            Assert.True(request.Headers.TryAddWithoutValidation(name, value));
        }

        using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        var body = await response.Content.ReadAsByteArrayAsync();
        var trailersOnly = response.Headers.Contains(GrpcHeaders.Status);
        Assert.Equal("application/grpc", response.Content.Headers.ContentType?.ToString());
        Assert.Equal([GrpcHeaders.Identity], response.Headers.GetValues(GrpcHeaders.AcceptEncoding));
        var trailers = trailersOnly ? response.Headers : response.TrailingHeaders;
        Assert.False(trailers.Contains("grpc-status-details-bin"));
        return new RawAnswer(
            response.StatusCode,
            (GrpcStatusCode)int.Parse(Assert.Single(trailers.GetValues(GrpcHeaders.Status)), CultureInfo.InvariantCulture),
            trailers.TryGetValues(GrpcHeaders.Message, out var messages) ? Assert.Single(messages) : "",
            body,
            trailersOnly,
            response.Headers);
    }

    public void Dispose() => _http.Dispose();

    private sealed class Parts(IReadOnlyList<byte[]?> parts) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            await stream.FlushAsync(cancellationToken);
            foreach (var part in parts)
            {
                if (part is null)
                {
                    await Task.Delay(Timeout.Infinite, cancellationToken); // the request is left unfinished; it ends with its answer
                }

                await stream.WriteAsync(part, cancellationToken);
                await stream.FlushAsync(cancellationToken);
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
