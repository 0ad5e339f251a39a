using Google.Protobuf;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>What a handler knows of its call besides the request.</summary>
/// <param name="Service">Full name, such as <c>csi.v1.Node</c>.</param>
/// <param name="Method">Such as <c>NodePublishVolume</c>.</param>
/// <param name="Metadata">The headers that the client sent; names are compared without regard to case.</param>
/// <param name="Deadline">When the client stops waiting (UTC); null when it gave no time-out.</param>
/// <param name="Cancellation">
/// Cancelled at the deadline, when the client goes away and when the server stops. The call is then answered whether the handler has ended or not;
/// the handler leaves things so that the same call can come again.
/// </param>
public sealed record GrpcCall(
    string Service,
    string Method,
    IReadOnlyDictionary<string, string> Metadata,
    DateTime? Deadline,
    CancellationToken Cancellation)
{
    /// <summary>As on the wire without its first slash: <c>csi.v1.Node/NodePublishVolume</c>.</summary>
    public string FullMethod => $"{Service}/{Method}";
}

/// <summary>A call that has been answered, for <see cref="GrpcServerOptions.Completed"/>.</summary>
/// <param name="FullMethod">As the client asked for it, which may be a method that there is not; made printable.</param>
/// <param name="Request">Null when the call failed before a message was read.</param>
/// <param name="Code">What was answered, or CANCELLED when the client had gone away.</param>
/// <param name="Message">What was answered beside the code; "" when all went well.</param>
/// <param name="Elapsed">From the headers to the answer.</param>
/// <param name="Error">What the handler threw, if it did.</param>
public sealed record GrpcCallReport(
    string FullMethod,
    IMessage? Request,
    GrpcStatusCode Code,
    string Message,
    TimeSpan Elapsed,
    Exception? Error);
